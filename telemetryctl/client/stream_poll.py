"""The stream by polling: `GET /changes`, held back by the server until something comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from telemetryctl.client.calls import BASE
from telemetryctl.client.doors import Frame, Lost, Point, Wanted, seconds_of
from telemetryctl.client.errors import ServerProblem
from telemetryctl.client.wire import Call, Document, Wire
from telemetryctl.failures import TryLater

WAIT_S = 30.0
PAGE_POINTS = 5_000
NOW = "now"
_PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})


@dataclass(slots=True)
class PollDoor:
    """A page is an `update`; what the server lost is a `gap`, before the page that follows it.

    Between two requests that found everything lie `pause_s` at least, twice as much each time up
    to `pause_max_s`: each of them counts against the key's budget.
    """

    wire: Wire
    wanted: Wanted
    pause_s: float = 1.0
    pause_max_s: float = 1.0
    name: str = "poll"
    cursor: str = ""
    _is_more: bool = True
    _next_s: float = 0.0
    _pause_s: float = 0.0
    _held: Frame | None = None
    _clock_s: Callable[[], float] = field(default=time.monotonic, repr=False)

    def open(self, after: str) -> Frame:
        """Without a cursor: ask where the newest point is, and begin behind it."""
        self.cursor, self._is_more, self._held = after, True, None
        self._pause_s = self.pause_s
        if not after:
            self.cursor = str(self._ask(NOW, wait_s=0, limit=1)["cursor"])
        return Frame("subscribed", self.cursor, {"recovered": bool(after)})

    def receive(self, timeout_s: float) -> Frame | None:
        """The next page; None when there was nothing within the time."""
        if self._held is not None:
            held, self._held = self._held, None
            return held
        left_s = timeout_s
        if not self._is_more and (pause_s := self._next_s - self._clock_s()) > 0:
            time.sleep(max(min(pause_s, timeout_s), 0.0))
            if pause_s >= timeout_s:
                return None
            left_s -= pause_s
        wait_s = 0.0 if self._is_more else min(max(left_s, 0.0), WAIT_S)
        frame = self._page(wait_s) if self.wanted.every_ms is None else self._conflated(wait_s)
        if not self._is_more:
            every_s = (self.wanted.every_ms or 0) / 1000
            self._next_s = self._clock_s() + max(self._pause_s, every_s)
            self._pause_s = min(self._pause_s * 2, self.pause_max_s)
        return frame

    @property
    def is_level(self) -> bool:
        """Whether the last page was the newest."""
        return not self._is_more and self._held is None

    def close(self) -> None:
        """Nothing is open between two requests."""

    def _page(self, wait_s: float) -> Frame | None:
        page = self._ask(self.cursor, wait_s=wait_s, limit=PAGE_POINTS)
        before, self.cursor = self.cursor, str(page["cursor"])
        points: list[Point] = page["data_points"]
        self._is_more = len(points) >= PAGE_POINTS or (not points and before != self.cursor)
        frame = Frame("update", self.cursor, {"data_points": points})
        if page.get("gap"):
            self._held = frame
            return Frame("gap", str(page["gap"].get("to") or ""), dict(page["gap"]))
        return frame if points or before != self.cursor else None

    def _conflated(self, wait_s: float) -> Frame | None:
        """The newest point of each series among all that is there, as the hub does it."""
        frame = self._page(wait_s)
        newest: dict[tuple[str, str], Point] = {}
        while frame is not None and frame.kind == "update":
            _keep_newest(newest, frame)
            if not self._is_more:
                break
            frame = self._page(0.0)
        if frame is not None and frame.kind == "gap":
            if newest:
                raise Lost("the server let go of what was being read")
            return frame
        if frame is None and not newest:
            return None
        return Frame("update", self.cursor, {"data_points": list(newest.values())})

    def _ask(self, after: str, *, wait_s: float, limit: int) -> Document:
        params = {**self.wanted.params(), "after": after, "limit": limit}
        if wait_s > 0:
            params["wait"] = f"{wait_s:.3f}"
        try:
            return self.wire.request(
                Call("GET", f"{BASE}/changes", params=params), tries=1
            ).document()
        except ServerProblem as problem:
            if problem.status not in _PASSING_STATUSES:
                raise
            after_s = seconds_of(problem.problem.get("retry_after"))
            raise Lost(problem.detail, retry_after_s=after_s) from problem
        except TryLater as failure:
            raise Lost(failure.why or failure.what) from failure


def _keep_newest(newest: dict[tuple[str, str], Point], frame: Frame) -> None:
    for point in frame.points:
        key = (point["device_id"], point["metric_name"])
        known = newest.get(key)
        # Without the Z, as whole seconds have no fraction: ten sorts before ten and a half.
        if known is None or point["timestamp"][:-1] >= known["timestamp"][:-1]:
            # Taken out and put back: the order of the answer is that of arrival.
            newest.pop(key, None)
            newest[key] = point
