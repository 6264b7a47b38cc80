"""Where history and the stream meet: whatever is committed while history is read, each point is
told once, and a correction after what it corrects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.client.doors import Frame, Wanted
from telemetryctl.client.follow import Batch, Loss
from telemetryctl.client.stream_poll import PollDoor
from telemetryctl.client.wire import Wire
from telemetryctl.failures import TryLater
from telemetryctl.transfer import seam as seam_module
from telemetryctl.transfer.seam import Page, Seam

NOWHERE = Wire("http://127.0.0.1:9")
Commit = tuple[int, int]
"""A time and a value."""


def point(time: int, value: int) -> dict[str, Any]:
    stamp = f"2026-11-21T10:{time // 60:02d}:{time % 60:02d}Z"
    return {"timestamp": stamp, "device_id": "d", "metric_name": "m", "value": value}


@dataclass
class Table:
    """What is stored: a journal of commits, and the newest value at each time.

    `coming` holds what others commit before each answer; `asked` counts answers.
    """

    journal: list[Commit] = field(default_factory=list)
    coming: list[list[Commit]] = field(default_factory=list)
    page_points: int = 2

    def pass_time(self) -> None:
        if self.coming:
            self.journal += self.coming.pop(0)

    def history(self, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """A page by time behind the cursor, which is a time."""
        self.pass_time()
        values = dict(self.journal)
        times = sorted(t for t in values if cursor is None or t > int(cursor))
        page = times[: self.page_points]
        more = str(page[-1]) if len(times) > len(page) else None
        return [point(t, values[t]) for t in page], more

    def changes(self, after: int) -> tuple[list[dict[str, Any]], int]:
        self.pass_time()
        found = self.journal[after:]
        return [point(*commit) for commit in found], len(self.journal)


class TableDoor(PollDoor):
    """A polling door whose answers come from the table instead of a server."""

    table: Table
    gap: Frame | None

    def _page(self, wait_s: float) -> Frame | None:
        points, end = self.table.changes(int(self.cursor))
        before, self.cursor = self.cursor, str(end)
        self._is_more = False
        frame = Frame("update", self.cursor, {"data_points": points})
        if self.gap is not None:
            gap, self.gap, self._held = self.gap, None, frame
            return gap
        return frame if points or before != self.cursor else None


def told(table: Table, *, gap: Frame | None = None) -> tuple[list[Commit], str, list[Loss]]:
    """What the seam tells of the table, the cursor behind it, and the losses."""
    door = TableDoor(NOWHERE, Wanted())
    door.table, door.gap = table, gap
    seam = Seam(table.history, door, str(len(table.journal)))
    events = list(seam.events())
    points: Sequence[dict[str, Any]] = [
        p for event in events if isinstance(event, Batch) for p in event.points
    ]
    commits = [(seconds_of(p["timestamp"]), p["value"]) for p in points]
    return commits, seam.cursor, [event for event in events if isinstance(event, Loss)]


def seconds_of(stamp: str) -> int:
    return int(stamp[14:16]) * 60 + int(stamp[17:19])


def test_history_alone_is_told_in_order_of_time() -> None:
    commits, cursor, _ = told(Table([(3, 0), (1, 0), (2, 0)]))

    assert commits == [(1, 0), (2, 0), (3, 0)]
    assert cursor == "3"


def test_what_comes_while_history_is_read_is_told_once() -> None:
    table = Table([(1, 0), (2, 0), (3, 0)], coming=[[], [(4, 0)], [(5, 0)], [(0, 9)]])

    commits, cursor, _ = told(table)

    assert sorted(commits) == [(0, 9), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]
    assert cursor == "6"


def test_a_correction_of_what_was_told_comes_after_it() -> None:
    commits, _, _ = told(Table([(1, 0), (2, 0), (3, 0)], coming=[[], [(1, 7), (1, 8)]]))

    assert commits == [(1, 0), (2, 0), (3, 0), (1, 7), (1, 8)]


def test_what_a_page_shows_already_corrected_is_not_told_again() -> None:
    commits, _, _ = told(Table([(1, 0), (2, 0), (3, 0)], coming=[[(3, 5), (3, 6)]]))

    assert commits == [(1, 0), (2, 0), (3, 6)]


TIMES = st.integers(0, 6)
COMMITS = st.lists(TIMES, max_size=5)


@given(st.lists(COMMITS, max_size=3), st.lists(COMMITS, max_size=12))
def test_whatever_comes_when_the_newest_value_of_each_time_is_told_last_and_nothing_twice(
    before: list[list[int]], coming: list[list[int]]
) -> None:
    numbers = iter(range(1_000))
    journal = [(time, next(numbers)) for part in before for time in part]
    table = Table(list(journal), [[(t, next(numbers)) for t in part] for part in coming])

    commits, cursor, _ = told(table)

    seen = table.journal[: int(cursor)]
    assert len(set(commits)) == len(commits)
    assert set(commits) <= set(seen)
    assert dict(commits) == dict(seen)
    # Everything that came is told, but for what a page showed as overwritten already.
    for time, value in seen[len(journal) :]:
        later = [v for t, v in commits if t == time]
        assert later
        assert value in later or max(later) > value


def test_pages_say_where_history_goes_on_and_where_the_stream_does() -> None:
    door = TableDoor(NOWHERE, Wanted())
    door.table, door.gap = Table([(1, 0), (2, 0), (3, 0)]), None

    pages = [e for e in Seam(door.table.history, door, "3").events() if isinstance(e, Page)]

    assert [(len(p.points), p.cursor, p.page, p.is_last) for p in pages] == [
        (0, "3", None, False), (2, "3", "2", False), (1, "3", None, True),
    ]  # fmt: skip


def test_what_is_lost_meanwhile_is_told_after_history() -> None:
    gap = Frame("gap", "1", {"from": "0", "to": "1", "reason": "expired"})

    _, _, losses = told(Table([(1, 0)]), gap=gap)

    assert losses == [Loss("0", "1", "expired")]


def test_a_seam_that_grows_without_bound_ends_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seam_module, "SEAM_POINTS_MAX", 3)
    table = Table([(1, 0)], coming=[[], [(t, 0) for t in range(2, 7)]])

    with pytest.raises(TryLater, match="faster than history"):
        told(table)
