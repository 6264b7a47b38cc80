"""A warning that repeats is written some times, then counted."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import structlog

from daemon.repeats import EVENTS_MAX, WINDOW_S, WRITTEN_MAX, Repeats


class Written:
    """A processor at a time that moves when told."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._repeats = Repeats(lambda: self.now_s)

    def say(self, event: str, method: str = "warning") -> dict[str, Any] | None:
        try:
            return self._repeats.processor(None, method, {"event": event})
        except structlog.DropEvent:
            return None


@pytest.fixture
def written() -> Written:
    return Written()


def test_the_first_ones_are_written_and_the_next_minute_says_how_many_were_not(
    written: Written,
) -> None:
    first = [written.say("disk_full") for _ in range(WRITTEN_MAX + 5)]
    written.now_s = WINDOW_S

    assert sum(line is not None for line in first) == WRITTEN_MAX
    assert written.say("disk_full") == {"event": "disk_full", "repeats_left_out": 5}
    assert written.say("disk_full") == {"event": "disk_full"}


def test_another_event_is_counted_for_itself(written: Written) -> None:
    for _ in range(WRITTEN_MAX + 1):
        written.say("disk_full")

    assert written.say("disk_gone") is not None


def test_information_is_never_left_out(written: Written) -> None:
    assert all(written.say("request", "info") for _ in range(10 * WRITTEN_MAX))


def test_lines_of_libraries_are_sampled_by_their_text(written: Written) -> None:
    repeats = written._repeats

    def is_written(value: int) -> tuple[bool, str]:
        record = logging.LogRecord("uvicorn", logging.WARNING, "", 0, "bad %d", (value,), None)
        return repeats.is_written(record), record.getMessage()

    first = [is_written(value)[0] for value in range(WRITTEN_MAX + 3)]
    written.now_s = WINDOW_S

    assert sum(first) == WRITTEN_MAX
    assert is_written(7) == (True, "bad 7 (3 repeats were left out)")


def test_what_is_remembered_is_bounded(written: Written) -> None:
    for number in range(3 * EVENTS_MAX):
        written.say(f"event_{number}")

    assert len(written._repeats._seen) <= EVENTS_MAX
