"""Samples warnings that repeat: the first of each minute are written, the others counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

WRITTEN_MAX = 20
"""Lines of one event in a minute; information is not sampled, nor is the first of anything."""
WINDOW_S = 60.0
EVENTS_MAX = 500
_SAMPLED = ("warning", "error", "critical", "exception")


@dataclass(slots=True)
class _Seen:
    began_s: float
    written: int = 0
    left_out: int = 0


class Repeats:
    """A processor of structlog; names of events are ours, so that they are few."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._seen: dict[str, _Seen] = {}

    def processor(self, _logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        """Raises DropEvent for what has been said often enough.

        The first line of the next minute says as `repeats_left_out` how many were not written.
        """
        if method not in _SAMPLED:
            return event
        now_s, name = self._now_s(), str(event.get("event"))
        seen = self._seen.get(name)
        if seen is None or now_s - seen.began_s >= WINDOW_S:
            if seen is None and len(self._seen) >= EVENTS_MAX:
                self._seen.clear()
            left_out = 0 if seen is None else seen.left_out
            self._seen[name] = seen = _Seen(now_s)
            if left_out:
                event["repeats_left_out"] = left_out
        if seen.written >= WRITTEN_MAX:
            seen.left_out += 1
            raise structlog.DropEvent
        seen.written += 1
        return event

    def is_written(self, record: logging.LogRecord) -> bool:
        """The same as a filter of the standard library; what repeats is the text before its values
        are put in."""
        try:
            line = self.processor(None, record.levelname.lower(), {"event": record.msg})
        except structlog.DropEvent:
            return False
        if "repeats_left_out" in line:
            record.msg = f"{record.msg} ({line['repeats_left_out']} repeats were left out)"
        return True
