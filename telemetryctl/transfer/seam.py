"""History up to a place in the stream, without a hole or a double point where the two meet.

The stream's position is taken first, then history is read, a page at a time, then the stream from
that position on. So nothing is missed; but what was committed while history was read may be in
both. These points, the seam, are read after every page and compared with it: one that the page
shows is taken out of the seam, with all that it had overwritten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from telemetryctl.client.follow import Batch, Event, Loss
from telemetryctl.client.stream_poll import PollDoor
from telemetryctl.failures import TryLater

SEAM_POINTS_MAX = 500_000
"""More that comes while history is read can't be held; the command ends with what to do."""
Point = dict[str, Any]
Key = tuple[str, str, str]


class History(Protocol):
    """Pages of `POST /query` by time; see transfer.history."""

    def __call__(self, cursor: str | None) -> tuple[list[Point], str | None]:
        """The points of a page, and the cursor of the next one or None."""


@dataclass(frozen=True, slots=True)
class Page(Batch):
    """A page of history; `cursor` is the place in the stream, `page` the page that comes next."""

    page: str | None = None
    is_last: bool = False


@dataclass(slots=True)
class Seam:
    """`cursor` is where the stream goes on once all events are taken; `page` where history does."""

    history: History
    poll: PollDoor
    cursor: str = ""
    page: str | None = None
    _points: list[Point | None] = field(default_factory=list)
    _rows_of: dict[Key, list[int]] = field(default_factory=dict)
    _losses: list[Loss] = field(default_factory=list)

    def events(self) -> Iterator[Event]:
        """History, then what came meanwhile. Raises Failure, and Lost when the server went away."""
        # Each page is compared with what was committed by then, so every question is asked.
        self.poll.pause_s = self.poll.pause_max_s = 0.0
        start = self.cursor = self.poll.open(self.cursor).cursor
        yield Page((), start, self.page)
        is_last = False
        while not is_last:
            points, self.page = self.history(self.page)
            self._read_seam()
            self._take_out(points)
            is_last = self.page is None
            yield Page(points, start, self.page, is_last)
        yield from self._losses
        rest = [point for point in self._points if point is not None]
        yield Batch(rest, self.cursor)

    def _read_seam(self) -> None:
        """All that was committed up to now, so that the page read before has nothing newer."""
        while True:
            frame = self.poll.receive(0.0)
            if frame is not None and frame.kind == "gap":
                said = frame.data
                self._losses.append(Loss(said["from"], said["to"], said["reason"]))
                continue
            for point in frame.points if frame is not None else ():
                self._rows_of.setdefault(key_of(point), []).append(len(self._points))
                self._points.append(point)
            if len(self._points) > SEAM_POINTS_MAX:
                raise TryLater(
                    "points come faster than history can be read",
                    hint="a shorter --since, or fewer series: -d, -m, --tag",
                )
            if self.poll.is_level:
                self.cursor = self.poll.cursor
                return

    def _take_out(self, page: Sequence[Point]) -> None:
        if not self._rows_of:
            return
        for shown in page:
            rows = self._rows_of.get(key_of(shown))
            if rows is None:
                continue
            same = [row for row in rows if _is_same(self._points[row], shown)]
            for row in rows:
                # Later ones overwrite what the page shows, so they are still to be told.
                if same and row <= same[-1]:
                    self._points[row] = None


def key_of(point: Point) -> Key:
    return (point["device_id"], point["metric_name"], point["timestamp"])


def _is_same(point: Point | None, shown: Point) -> bool:
    return (
        point is not None
        and point["value"] == shown["value"]
        and point.get("tags") == shown.get("tags")
    )
