"""The newest values of devices."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.commands.status import parse_interval
from telemetryctl.completion import complete_devices, complete_groups, complete_metrics
from telemetryctl.failures import Failure, NothingThere, UsageFailure
from telemetryctl.options import command, single
from telemetryctl.output.exit_codes import ExitCode
from telemetryctl.output.render import Column
from telemetryctl.output.watch import watch
from telemetryctl.session import Session

app = single()

DEVICES_A_REQUEST = 100
COLUMNS = (
    Column("device_id", title="DEVICE", is_fixed=True),
    Column("metric_name", title="METRIC", is_fixed=True),
    Column("value", is_right=True),
    Column("unit"),
    Column("timestamp", title="TIME", is_time=True),
    Column("age_seconds", title="AGE S", is_right=True),
    Column("tags"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which values."""

    devices: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DEVICE|METRIC",
            help="Devices; names that only metrics have choose metrics.",
            autocompletion=complete_devices,
        ),
    ] = None
    metrics: Annotated[
        list[str] | None,
        typer.Option("-m", "--metric", help="Only these metrics.", autocompletion=complete_metrics),
    ] = None
    group: Annotated[
        str | None, typer.Option(help="Devices of this group.", autocompletion=complete_groups)
    ] = None
    device_type: Annotated[str | None, typer.Option("--type", help="Devices of this type.")] = None
    lookback: Annotated[str, typer.Option(help="Nothing older than this.")] = "24h"


@command(
    app,
    example="""telemetryctl latest device_001
    telemetryctl latest device_001 temperature
    telemetryctl latest device_001 device_002 -m temperature --lookback 7d
    telemetryctl latest device_001 --watch 2s""",
)
def latest(
    session: Session,
    *,
    asked: Asked,
    interval: Annotated[
        str | None, typer.Option("--watch", metavar="INTERVAL", help="Draw it again: 2s.")
    ] = None,
) -> None:
    """Show the newest values. Exits with 3 when there are none."""
    if not (asked.devices or asked.group or asked.device_type):
        raise UsageFailure("no devices are named", hint="telemetryctl latest DEVICE...")
    times.parse_duration(asked.lookback)
    if interval is None:
        draw(session, asked)
        return
    every = parse_interval(interval)
    watch(session.console, lambda: _draw_again(session, asked), every=every)


def _draw_again(session: Session, asked: Asked) -> None:
    try:
        draw(session, asked)
    except Failure as failure:
        # A device that has not sent yet may send while we watch.
        if failure.exit_code != ExitCode.NOTHING:
            raise
        session.console.write(f"-- {failure.what} --\n")


def draw(session: Session, asked: Asked) -> None:
    """Print the values. Raises NothingThere after it when no device has any."""
    document = read(session, asked)
    if session.renderer.is_document:
        session.renderer.item(document, columns=COLUMNS)
    else:
        session.renderer.rows(rows_of(document), columns=COLUMNS)
    if document["missing"] and document["latest"]:
        session.console.note(f"no values: {', '.join(document['missing'])}")
    if not document["latest"]:
        raise NothingThere(
            f"no values in the last {asked.lookback}",
            hint="--lookback 7d looks further back; telemetryctl device ls",
        )


def read(session: Session, asked: Asked) -> dict[str, Any]:
    """Return the API's answer, put together from as many requests as the devices need."""
    devices = list(dict.fromkeys(asked.devices or ()))
    merged: dict[str, Any] = {"latest": {}, "missing": [], "count": 0, "cursor": None}
    for start in range(0, max(len(devices), 1), DEVICES_A_REQUEST):
        part = devices[start : start + DEVICES_A_REQUEST]
        answer = session.client.list_latest(
            device_ids=",".join(part) or None,
            metric_names=",".join(asked.metrics or ()) or None,
            group=asked.group,
            type=asked.device_type,
            lookback=asked.lookback,
        )
        merged["latest"] |= {d: found for d, found in answer.get("latest", {}).items() if found}
        merged["missing"] += answer.get("missing", [])
        # The oldest cursor misses nothing that any part has seen.
        merged["cursor"] = merged["cursor"] or answer.get("cursor")
    if not asked.metrics:
        choose_metrics(merged, words=devices)
    merged["count"] = sum(map(len, merged["latest"].values()))
    return merged


def choose_metrics(document: dict[str, Any], *, words: list[str]) -> None:
    """Take words that are no devices, but metrics of the devices found, as a choice of metrics."""
    seen = {name for metrics in document["latest"].values() for name in metrics}
    chosen = [word for word in words[1:] if word in document["missing"] and word in seen]
    if not chosen:
        return
    document["missing"] = [word for word in document["missing"] if word not in chosen]
    for device_id, metrics in list(document["latest"].items()):
        kept = {name: point for name, point in metrics.items() if name in chosen}
        document["latest"][device_id] = kept
    document["latest"] = {d: metrics for d, metrics in document["latest"].items() if metrics}


def rows_of(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row for each device and metric."""
    for device_id, metrics in document["latest"].items():
        for metric_name, point in metrics.items():
            yield {"device_id": device_id, "metric_name": metric_name} | point
