"""A telemetryd with one protection taken out: what proves that a fault test can fail."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0


def ack_before_commit() -> None:
    """Answer 2xx as soon as a group is taken from the queue."""
    from daemon.service.ingest import Ingest, Waiting

    flush = Ingest._flush

    async def hasty(self: Ingest, group: Sequence[Waiting]) -> None:
        for waiting in group:
            waiting.done.set_result(0)
        # The answers leave the process.
        await asyncio.sleep(0.05)
        await flush(self, group)

    Ingest._flush = hasty  # type: ignore[method-assign]


def forget_batches() -> None:
    """Commit batches without their ids."""
    from daemon.store.journal import JournalStore

    append = JournalStore.append

    async def forgetful(self: JournalStore, body: bytes, **options: Any) -> int:
        return await append(self, body, **options | {"batches": ()})

    JournalStore.append = forgetful  # type: ignore[method-assign]


def position_first() -> None:
    """Let the compactor move its position before it writes history."""
    from daemon.workers import child

    keep = child.keep

    async def keep_sabotaged(_module: str, standing: child.Standing) -> None:
        os.environ["PYTHONPATH"] = str(Path(__file__).parent)
        await keep("sabotage", standing)

    child.keep = keep_sabotaged  # type: ignore[assignment]


def _compact_position_first() -> None:
    """The same, in the process of the compactor."""
    from daemon import compactor
    from daemon.store import compaction, leases

    move, write = leases.move, compaction.write

    async def nothing(*_: Any, **__: Any) -> None:
        """The position has moved already."""

    async def early(database: Any, grant: Any, changes: Any, *, position: int, to: int) -> None:
        async with database.transaction("control") as connection:
            await move(connection, grant, position=position, to=to)
        await write(database, grant, changes, position=position, to=to)

    compaction.write = early
    leases.move = nothing
    compactor.main()


def no_bisection() -> None:
    """Fail everybody in a group when one block of it is bad."""
    from daemon.service import ingest

    async def all_or_nothing(self: ingest.Ingest, group: Sequence[ingest.Waiting]) -> None:
        # A slow commit, so that the bad block shares its group.
        await asyncio.sleep(0.05)
        try:
            seq, block = await self._append(group)
        except Exception as error:
            ingest._fail(group, error)
            return
        self.on_commit(seq, block)
        for waiting in group:
            if not waiting.done.done():
                waiting.done.set_result(seq)

    ingest.Ingest._flush = all_or_nothing  # type: ignore[method-assign]


def no_drain() -> None:
    """Leave at once on SIGTERM."""
    from daemon import serving

    async def leave(*_: Any) -> None:
        raise SystemExit(1)

    serving._close_the_port = leave  # type: ignore[assignment]


def deaf_follower() -> None:
    """Never look at what other daemons commit."""
    from daemon.service.tail import Tail

    async def nothing(_: Tail) -> int:
        return 0

    Tail.turn = nothing  # type: ignore[assignment,method-assign]


def no_decoded_cap() -> None:
    """Decompress whatever comes."""
    from daemon.transport import bodies

    bodies.DECODED_BYTES_MAX = 2**40


def cursors_not_held() -> None:
    """Let messages of one subscription say a cursor that another has not reached."""
    from daemon.live.connection import Connection
    from daemon.live.dispatch import Dispatch
    from daemon.live.ring import Place

    def lowest(self: Dispatch, connection: Connection) -> Place:
        places = [self.place_of(line) for line in connection.lines]
        return min(places, default=(self.swept, 0))

    Dispatch._lowest = lowest  # type: ignore[method-assign]


def _freeze(owner: Any, name: str, *, loop: str) -> None:
    """Let a call never end, from its third time on; its loop is judged after two seconds."""
    from daemon.workers import pulse

    pulse._ALLOWED_S[loop] = 2.0
    call = getattr(owner, name)
    calls = 0

    async def frozen(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2:
            await asyncio.Event().wait()
        return await call(*given, **named)

    setattr(owner, name, frozen)


def frozen_follower() -> None:
    """Stop following the journal."""
    from daemon.service.tail import Tail

    _freeze(Tail, "turn", loop="follower.run")


def frozen_evaluator() -> None:
    """Stop judging."""
    from daemon.workers.evaluator import Evaluator

    _freeze(Evaluator, "_turn", loop="evaluator.run")


def frozen_hub() -> None:
    """Stop sweeping the streams."""
    from daemon.live.hub import Hub

    _freeze(Hub, "turn", loop="hub.run")


def frozen_keys() -> None:
    """Stop writing down when keys were used."""
    from daemon.service.key_uses import KeyUses

    _freeze(KeyUses, "write", loop="key_uses")
    from daemon import serving

    # It goes well for some seconds, in which others do what they do.
    serving.KEY_USES_EVERY_S = 1.0


def frozen_notifier() -> None:
    """Stop taking messages."""
    from daemon.service.notifying import Notifying

    _freeze(Notifying, "take", loop="notifier.run")


def frozen_digests() -> None:
    """Stop gathering digests."""
    from daemon.service.notifying import Notifying
    from daemon.workers import notifier

    notifier.GATHER_EVERY_S = 0.1
    _freeze(Notifying, "gather", loop="notifier.gather")


def frozen_jobs() -> None:
    """Stop doing jobs."""
    from daemon.service.jobs import Jobs

    _freeze(Jobs, "do_next", loop="job_runner.run")


def frozen_scheduler() -> None:
    """Let no time pass for the rules."""
    from daemon.workers import evaluator

    evaluator.TICKLESS_MAX_S = 2.0

    def nothing(self: evaluator.Evaluator) -> None:
        """Time stands still."""

    evaluator.Evaluator._let_tick = nothing  # type: ignore[method-assign]


def impatient_parent() -> None:
    """No protection is taken out: a child is missed after some of its beats."""
    from daemon.workers import pulse

    pulse._ALLOWED_S["child.keep"] = 6.0


def patient() -> None:
    """No protection is taken out: a database that is slow to answer, on a busy machine, is waited
    for, so that budgets stay exact. In siblings, too (tests/patient_sibling)."""
    from daemon import app, serving
    from daemon.config import Config
    from daemon.service import limits
    from daemon.store.pool import PoolLimits
    from daemon.workers import child

    keep, pool_limits = child.keep, serving.pool_limits

    async def keep_patient(module: str, standing: child.Standing, **options: Any) -> None:
        os.environ["PYTHONPATH"] = str(Path(__file__).parent)
        await keep("patient_sibling" if module == "daemon.sibling" else module, standing, **options)

    def patient_limits(config: Config) -> PoolLimits:
        return replace(pool_limits(config), acquire_timeout_s=PATIENCE_S)

    limits.ASK_TIMEOUT_S = PATIENCE_S
    child.keep = keep_patient
    app.__dict__["pool_limits"] = serving.pool_limits = patient_limits


def no_redaction() -> None:
    """Leave secrets in what is logged."""
    from daemon import log

    log.__dict__["redact"] = lambda text: text


def tell_connections() -> None:
    """No protection is taken out: each address that is connected to is a line of $CONNECTIONS."""
    # uvloop connects beside Python, where no hook sees it.
    sys.modules["uvloop"] = None  # type: ignore[assignment]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            with Path(os.environ["CONNECTIONS"]).open("a") as told:
                told.write(f"{arguments[1]!r}\n")

    sys.addaudithook(hook)


def no_gate() -> None:
    """Take single points of anybody, unlimited, unlogged and uncounted: what the gate is measured
    against."""
    from daemon.domain.access import Principal
    from daemon.transport.limits import Gate
    from daemon.transport.quick_points import QuickPoints

    anybody = Principal("key_anybody", "anybody", frozenset({"ingest"}), "enterprise")
    taken_out: dict[str, Any] = {
        "principal_of": lambda *_: anybody,
        "count": lambda *_: True,
        "note": lambda *_, **__: None,
    }
    for name, nothing in taken_out.items():
        setattr(QuickPoints, name, nothing)
    Gate.lines_of = lambda *_: b""  # type: ignore[method-assign]


PROTECTIONS: dict[str, Callable[[], None]] = {
    taken_out.__name__: taken_out
    for taken_out in (
        ack_before_commit,
        forget_batches,
        position_first,
        no_bisection,
        no_drain,
        deaf_follower,
        no_decoded_cap,
        cursors_not_held,
        frozen_follower,
        frozen_evaluator,
        frozen_hub,
        frozen_keys,
        frozen_notifier,
        frozen_digests,
        frozen_jobs,
        frozen_scheduler,
        impatient_parent,
        no_gate,
        patient,
        no_redaction,
        tell_connections,
    )
}

if __name__ == "__main__":
    if len(sys.argv) > 1:
        PROTECTIONS[sys.argv.pop(1)]()
        from daemon.__main__ import main

        main()
    else:
        _compact_position_first()
