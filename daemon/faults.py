"""Named points at which a test may kill, fail or hold up this process.

Nothing happens at any of them unless `$TELEMETRY_FAULT` names one: `point:action`, or
`point:action:N` for the N-th time it is passed. Which test stands for which point is proved in
tests/faults.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from enum import StrEnum

VARIABLE = "TELEMETRY_FAULT"
DELAY_S = 1.0


class Point(StrEnum):
    """Where a crash would hurt most; the names say what has happened already."""

    INGEST_BEFORE_APPEND = "ingest.before_append"
    INGEST_AFTER_COMMIT = "ingest.after_commit"
    INGEST_BEFORE_ANSWER = "ingest.before_answer"
    SERIES_REGISTERED = "series.registered"
    COMPACTION_AFTER_DELETE = "compaction.after_delete"
    COMPACTION_AFTER_CHUNKS = "compaction.after_chunks"
    COMPACTION_BEFORE_POSITION = "compaction.before_position"
    COMPACTION_AFTER_COMMIT = "compaction.after_commit"
    MERGE_BEFORE_COMMIT = "merge.before_commit"
    EVALUATION_BEFORE_COMMIT = "evaluation.before_commit"
    EVALUATION_AFTER_COMMIT = "evaluation.after_commit"
    NOTIFICATION_BEFORE_RECORD = "notification.before_record"
    REQUEST_BEFORE_CHANGE = "request.before_change"
    REQUEST_AFTER_CHANGE = "request.after_change"
    RELAY_BEFORE_POSITION = "relay.before_position"
    MIGRATION_BEFORE_COMMIT = "migration.before_commit"
    MIGRATION_AFTER_COMMIT = "migration.after_commit"


class Action(StrEnum):
    """What happens there."""

    KILL = "kill"
    FAIL = "fail"
    DELAY = "delay"


class FaultInjected(Exception):
    """A test asked for this failure."""


@dataclass(slots=True)
class Fault:
    """One point, what happens there, and how often it is passed before."""

    point: Point
    action: Action
    passes_left: int

    def reached(self) -> None:
        """Raises FaultInjected, waits, or does not return."""
        self.passes_left -= 1
        if self.passes_left != 0:
            return
        match self.action:
            case Action.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Action.FAIL:
                raise FaultInjected(self.point)
            case Action.DELAY:
                time.sleep(DELAY_S)


def parse(text: str) -> Fault | None:
    """The fault that the variable names; None for an empty text. Raises ValueError."""
    if not text:
        return None
    name, action, *count = text.split(":")
    return Fault(Point(name), Action(action), int(count[0]) if count else 1)


_armed = parse(os.environ.get(VARIABLE, ""))


def point(name: Point) -> None:
    """Pass a point."""
    if _armed is not None and _armed.point is name:
        _armed.reached()
