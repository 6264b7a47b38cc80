"""All reads of one daemon, wired over its live views."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.clock import Clock
from daemon.service.changes import Changes
from daemon.service.export import Exports
from daemon.service.history import History
from daemon.service.latest import LatestReads
from daemon.service.series import Series
from daemon.service.tail import Tail
from daemon.store.pool import Database


@dataclass(frozen=True, slots=True)
class Reads:
    """One of each."""

    series: Series
    latest: LatestReads
    changes: Changes
    exports: Exports


def make_reads(database: Database, *, tail: Tail, clock: Clock) -> Reads:
    """The reads over what the tail keeps level with the journal."""
    registry = tail.registry
    history = History(database, registry, tail.head, clock)
    changes = Changes(database, journal=tail.journal, tail=tail, clock=clock)
    return Reads(
        Series(history),
        LatestReads(tail.latest, registry=registry, clock=clock),
        changes,
        Exports(history, changes=changes, journal=tail.journal, clock=clock),
    )
