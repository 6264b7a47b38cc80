"""One tail from its first point to its end: history, the stream, the position that is kept."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType

from telemetryctl.client.doors import Lost
from telemetryctl.client.follow import Batch, Event, Follower, Loss, Notice
from telemetryctl.failures import ExitCode, GapFound, TryLater
from telemetryctl.files.tail_state import Place, TailState
from telemetryctl.output.lines import Lines
from telemetryctl.transfer.seam import Page, Seam

SAVE_S = 0.25
"""The position is written to disk so often at most; a killed tail repeats what came since."""


@dataclass(slots=True)
class Stop:
    """When a tail has had enough. Times are of the monotonic clock; `idle_s` is a length."""

    count: int | None = None
    end_s: float | None = None
    idle_s: float | None = None
    is_history_only: bool = False

    def left_s(self, *, quiet_since_s: float, now_s: float) -> float:
        """Seconds until it ends by time; infinite when it doesn't."""
        ends = [] if self.end_s is None else [self.end_s - now_s]
        if self.idle_s is not None:
            ends.append(quiet_since_s + self.idle_s - now_s)
        return min(ends, default=float("inf"))


class Signalled(Exception):
    """The user, or whoever runs us, wants it to end now."""


@dataclass(slots=True)
class Signals:
    """SIGINT and SIGTERM end a wait at once, but printing only between two points.

    So the position that is kept is exact, to the point. A second signal ends it where it stands,
    even if nobody takes what it prints.
    """

    number: int = 0
    is_waiting: bool = False

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number
        if self.is_waiting:
            raise Signalled

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Take the signals for the block."""
        before = {n: signal.signal(n, self._on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(frozen=True, slots=True)
class Teller:
    """Where things are said: `tell` to the person at the terminal, `detail` only with -v.

    `flush` hands on what was printed.
    """

    tell: Callable[[str], None]
    detail: Callable[[str], None]
    flush: Callable[[], None]


@dataclass(slots=True)
class Tailing:
    """Prints events until one of the ends. `printed` counts points, `place` is behind them."""

    follower: Follower
    lines: Lines
    stop: Stop
    teller: Teller
    seam: Seam | None = None
    place: Place = field(default_factory=Place)
    state: TailState | None = None
    is_strict: bool = False
    printed: int = 0
    _signals: Signals = field(default_factory=Signals)
    _is_heard: bool = False
    _quiet_since_s: float = 0.0
    _saved_s: float = float("-inf")
    _clock_s: Callable[[], float] = field(default=time.monotonic, repr=False)

    def run(self) -> int:
        """Print until the end and return the exit code. Raises Failure."""
        self.follower.cursor = self.place.cursor
        self._quiet_since_s = self._clock_s()
        with self._signals.caught():
            events = self._events()
            try:
                self._take(events)
            except Signalled:
                pass
            except BrokenPipeError:
                # Nobody reads: neither the end of a document nor a position is worth writing.
                raise
            except BaseException:
                self._finish()
                raise
            else:
                self._check_connection()
            finally:
                events.close()
            self._finish()
        return 128 + self._signals.number if self._signals.number else ExitCode.DONE

    def _finish(self) -> None:
        self.lines.finish(self.place.cursor)
        self.teller.flush()
        self._save(is_due=True)

    def _check_connection(self) -> None:
        """Raises TryLater when the time was over while there was no connection, or none yet: no
        place is known that the next run could go on from."""
        is_ended_by_time = self._left_s() <= 0 and not self._is_counted_out
        is_away = self.follower.failures and not self.follower.is_connected
        if is_ended_by_time and (is_away or not self._is_heard):
            self._finish()
            raise TryLater("it ended without a connection", hint="telemetryctl status")

    # -- events ------------------------------------------------------------------------------

    def _events(self) -> Generator[Event, None, None]:
        if self.seam is not None:
            try:
                yield from self.seam.events()
            except Lost as lost:
                raise TryLater("history can't be read", why=lost.reason) from lost
            self.follower.cursor = self.seam.cursor
            if self.stop.is_history_only:
                return
        yield from self.follower.events(self._left_s)

    def _take(self, events: Iterator[Event]) -> None:
        while True:
            self._signals.is_waiting = True
            event = next(events, self)
            self._signals.is_waiting = False
            match event:
                case Tailing():
                    return
                case Batch():
                    self._print(event)
                case Loss():
                    self._tell_loss(event)
                case Notice():
                    self.teller.tell(event.text)
                    if event.why:
                        self.teller.detail(event.why)
            if not (self._is_heard and self.follower.is_connected):
                # Only a stream that is open can be quiet, from its first word on.
                self._quiet_since_s = self._clock_s()
                self._is_heard = self._is_heard or isinstance(event, Batch)
            self._save(is_due=self._clock_s() - self._saved_s >= SAVE_S)
            if self._signals.number or self._is_counted_out or self._left_s() <= 0:
                return

    def _left_s(self) -> float:
        left_s = self.stop.left_s(quiet_since_s=self._quiet_since_s, now_s=self._clock_s())
        if self.state is not None and self.state.place != self.place:
            left_s = min(left_s, SAVE_S) if left_s > 0 else left_s
        return left_s

    @property
    def _is_counted_out(self) -> bool:
        return self.stop.count is not None and self.printed >= self.stop.count

    def _print(self, batch: Batch) -> None:
        """Write the points that were not written yet, and move the place behind the last one."""
        points = batch.points
        skipped = min(self.place.skip, len(points))
        for index in range(skipped, len(points)):
            if self._signals.number or self._is_counted_out:
                self.place = replace(self.place, skip=index)
                break
            self.lines.point(points[index])
            self.printed += 1
        else:
            self.place = self._behind(batch, skip=self.place.skip - skipped)
        if len(points) > skipped:
            self.teller.flush()
            self._quiet_since_s = self._clock_s()

    def _behind(self, batch: Batch, *, skip: int) -> Place:
        if isinstance(batch, Page) and not batch.is_last:
            return Place(batch.cursor, skip, self.place.since, batch.page or "")
        return Place(batch.cursor, skip)

    def _tell_loss(self, loss: Loss) -> None:
        """Say what is lost. Raises GapFound when that is to end it; the place stays before it."""
        points = f", {loss.points:,} points" if loss.points is not None else ""
        text = f"gap {loss.start} .. {loss.end}{points} lost ({loss.reason})"
        if self.is_strict:
            raise GapFound(text, hint="telemetryctl export csv has what was compacted meanwhile")
        self.teller.tell(text)

    def _save(self, *, is_due: bool) -> None:
        if self.state is not None and is_due and self.place.cursor:
            self.state.save(self.place)
            self._saved_s = self._clock_s()
