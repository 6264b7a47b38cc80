"""How far behind the judging of the fleet is, and whether anybody judges, compacts and keeps house.

All of it is the database's, so that every process says the same: a monitor that reaches one of
several must not take it for all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from daemon.clock import Clock
from daemon.domain.errors import TryLater
from daemon.domain.figures import Figure, FigureKind, counter, gauge
from daemon.store.figures import FigureStore, Work

WATCH_EVERY_S = 1.0
LEVEL_WITHIN_S = 8.0
"""The stored position is moved once a second under load, and at the next tick (5 s) without."""
HEADS_MAX = 3_600
"""Over it, newer positions of the journal are not noted: the oldest one says how long it waits."""

_NOT_BEGUN = Work(0, is_led=False)


class JudgingWatch:
    """Looks each second, so that a scrape knows since when rules are behind.

    `judge` is the evaluator of this process, `name` that of its row; `stored` the position of what
    somebody sent last.
    """

    def __init__(
        self,
        store: FigureStore,
        clock: Clock,
        *,
        name: str,
        head: Callable[[], int],
        stored: Callable[[], int],
        judge: Any,
    ) -> None:
        self._store = store
        self._clock = clock
        self._name = name
        self._head = head
        self._stored = stored
        self._judge = judge
        self._works: dict[str, Work] = {}
        self._seen = head()
        self._seen_stored = stored()
        self._stored_at_s = clock.monotonic_s()
        # When which position was the newest, of those that are not judged.
        self._waiting = deque([(self._stored_at_s, self._seen)])

    async def look(self) -> None:
        now_s = self._clock.monotonic_s()
        head = self._head()
        if head != self._seen:
            self._seen = head
            if len(self._waiting) < HEADS_MAX:
                self._waiting.append((now_s, head))
        if self._stored() != self._seen_stored:
            self._seen_stored, self._stored_at_s = self._stored(), now_s
        try:
            self._works = await self._store.works()
        except TryLater:
            # An outage leaves the last known; that there is one, others say.
            return
        while self._waiting and self._waiting[0][1] <= self._judging.position:
            self._waiting.popleft()

    @property
    def _judging(self) -> Work:
        return self._works.get(self._name, _NOT_BEGUN)

    @property
    def lag_s(self) -> float:
        """How long rules have been behind the points; 0 while they keep up."""
        if not self._waiting:
            return 0.0
        behind_s = self._clock.monotonic_s() - self._waiting[0][0]
        return behind_s if behind_s > LEVEL_WITHIN_S else 0.0

    def read(self) -> Iterable[Figure]:
        yield gauge(
            "telemetry_scheduler_leader",
            "Whether a process judges the rules; telemetry_leader says whether this one does.",
            float(self._judging.is_led),
        )
        yield Figure(
            "telemetry_work_led",
            FigureKind.GAUGE,
            "Whether a process of the fleet does this work; one that is switched off stays 0.",
            [((("work", name),), float(work.is_led)) for name, work in sorted(self._works.items())],
        )
        yield gauge(
            "telemetry_journal_idle_seconds",
            "How long nothing was stored but the daemon's own health, as this process saw.",
            self._clock.monotonic_s() - self._stored_at_s,
        )
        yield gauge(
            "telemetry_scheduler_lag_seconds",
            "How long rules have been behind the points, whichever process judges them.",
            self.lag_s,
        )
        yield counter(
            "telemetry_alert_evaluated_points_total",
            "Points that rules were held against, by this process.",
            self._judge.judged_points,
        )
