"""`telemetryctl simulate`: made-up devices that send live."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from telemetryctl import times
from telemetryctl.failures import Failure, UsageFailure
from telemetryctl.files.batches import Batch, refusals_in, requests_of
from telemetryctl.files.points import Point
from telemetryctl.files.stamps import EPOCH, MICROSECOND
from telemetryctl.options import command, single
from telemetryctl.output.exit_codes import ExitCode
from telemetryctl.output.progress import Progress
from telemetryctl.session import Session
from telemetryctl.simulation import FAULTS, PROFILES, World
from telemetryctl.transfer.definitions import Definition, define_metrics
from telemetryctl.transfer.pace import parse_rate

TICKS_PER_S = 4
READINGS_MAX = 5_000  # of one tick, so that a body stays below the server's bounds
DEVICES_MAX = 100_000

app = single()


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """What is made up."""

    profile: Annotated[str, typer.Option("--profile", help=f"One of {', '.join(PROFILES)}.")] = (
        "fleet"
    )
    devices: Annotated[int, typer.Option("--devices", help="How many devices.")] = 50
    rate: Annotated[str, typer.Option("--rate", help="Points of all together: 10/s, 5k/s.")] = (
        "10/s"
    )
    fault: Annotated[str | None, typer.Option("--fault", help=f"Any of {','.join(FAULTS)}.")] = None
    seed: Annotated[
        int | None, typer.Option("--seed", help="The same values for the same seed.")
    ] = None


EXAMPLE = """
telemetryctl simulate
telemetryctl simulate --profile servers --devices 200 --rate 2k/s --duration 5m
telemetryctl simulate --profile gym --fault silence,late,spike --seed 1
"""


@command(app, name="simulate", example=EXAMPLE)
def simulate(
    session: Session,
    *,
    options: WorldOptions,
    duration: Annotated[
        str | None, typer.Option("--duration", help="Stop after: 30s, 5m. [Ctrl-C]")
    ] = None,
) -> None:
    """Send plausible data of made-up devices, stamped now, until Ctrl-C."""
    world = _world(options)
    rate = parse_rate(options.rate)
    until_s = times.parse_duration(duration).total_seconds() if duration is not None else None
    profile = PROFILES[options.profile]
    types = profile.types.items()
    definitions = [Definition(name, kind, unit) for name, (kind, unit) in types]
    define_metrics(session.client, definitions, note=session.console.note)
    progress = Progress(session.console)
    sender = _Sender(session)
    try:
        for readings in _ticks(rate / world.points_per_reading, until_s=until_s):
            at_us = (times.now() - EPOCH) // MICROSECOND
            sender.send(world.step(readings, at_us=at_us))
            progress.update(f"{sender.stored:,} points sent, {sender.lost:,} lost")
    finally:
        progress.clear()
        session.console.note(sender.summary(progress.elapsed_s))


def _world(options: WorldOptions) -> World:
    if options.profile not in PROFILES:
        raise UsageFailure(f'"{options.profile}" is not one of {", ".join(PROFILES)}')
    if not 1 <= options.devices <= DEVICES_MAX:
        raise UsageFailure(f"--devices is 1 to {DEVICES_MAX:,}")
    faults = frozenset(filter(None, (options.fault or "").replace(" ", "").split(",")))
    if unknown := faults - set(FAULTS):
        raise UsageFailure(f'"{", ".join(sorted(unknown))}" is not one of {", ".join(FAULTS)}')
    seed = options.seed if options.seed is not None else random.randrange(2**32)
    return World(PROFILES[options.profile], devices=options.devices, faults=faults, seed=seed)


def _ticks(readings_per_s: float, *, until_s: float | None) -> Iterator[int]:
    """How many readings are due, several times a second; what a stall delayed is not made up."""
    began_s = last_s = time.monotonic()
    due = 0.0
    while until_s is None or last_s - began_s < until_s:
        now_s = time.monotonic()
        due = min(due + (now_s - last_s) * readings_per_s, readings_per_s + 1, READINGS_MAX)
        last_s = now_s
        if due >= 1:
            yield int(due)
            due -= int(due)
        rest_s = 1 / TICKS_PER_S - (time.monotonic() - now_s)
        time.sleep(max(min(rest_s, until_s - (now_s - began_s) if until_s else rest_s), 0))


class _Sender:
    """Sends points and survives a server that is away for a while."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._prefix = f"sim_{secrets.token_hex(6)}"
        self._count = 0
        self.stored = self.lost = self.refused = 0

    def send(self, points: list[Point]) -> None:
        """Send what a tick gave. Raises Failure for what waiting doesn't heal."""
        batch = Batch(row_from=self._count, row_to=self._count + 1)
        self._count += 1
        for point in points:
            batch.add(point)
        for request in requests_of(batch, prefix=self._prefix):
            try:
                if request.kind == "columns":
                    answer = self._session.client.send_columns(
                        request.body["series"],  # type: ignore[arg-type]
                        batch_id=request.batch_id,
                    )
                else:
                    answer = self._session.client.send_bulk(request.body)  # type: ignore[arg-type]
            except Failure as failure:
                if failure.exit_code != ExitCode.TRY_LATER or not self.stored:
                    raise
                self.lost += request.points
                continue
            self.stored += int(answer.get("ingested_count") or 0)
            self.refused += len(refusals_in(request, answer))

    def summary(self, seconds: float) -> str:
        parts = [f"{self.stored:,} points sent in {seconds:.1f} s"]
        parts += [f"{self.refused:,} refused"] if self.refused else []
        parts += [f"{self.lost:,} lost while the server was away"] if self.lost else []
        return ", ".join(parts)
