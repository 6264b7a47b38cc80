"""How much goes through this process: points a second, requests, their duration and failures."""

from __future__ import annotations

from daemon.clock import Clock
from daemon.domain.figures import RouteFigures

POINT_SECONDS = 60
REQUEST_SECONDS = 300
COUNTED_AT_ONCE = 256

Sender = tuple[str, str]
"""The id of a key, and its name."""
Kind = tuple[tuple[str, str], int, int, Sender | None, int]
"""Template of the route and method, status and (monotonic) second of a request, who sent its points
and how many."""


class _Ring:
    """Sums by second over the last `seconds`; one second costs one list entry."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._stamps = [-1] * seconds
        self._sums = [0.0] * seconds

    def add(self, second: int, amount: float) -> None:
        at = second % self._seconds
        if self._stamps[at] != second:
            self._stamps[at], self._sums[at] = second, 0.0
        self._sums[at] += amount

    def total(self, second: int) -> float:
        oldest = second - self._seconds
        return sum(s for stamp, s in zip(self._stamps, self._sums, strict=True) if stamp > oldest)


class _Answers:
    """Requests, their failures and how long they took, by second over the last five minutes."""

    def __init__(self) -> None:
        self._stamps = [-1] * REQUEST_SECONDS
        self._requests = [0] * REQUEST_SECONDS
        self._failures = [0] * REQUEST_SECONDS
        self._busy_s = [0.0] * REQUEST_SECONDS

    def add(self, second: int, busy_s: float, *, requests: int, failures: int) -> None:
        at = second % REQUEST_SECONDS
        if self._stamps[at] != second:
            self._stamps[at] = second
            self._requests[at] = self._failures[at] = 0
            self._busy_s[at] = 0.0
        self._requests[at] += requests
        self._failures[at] += failures
        self._busy_s[at] += busy_s

    def totals(self, second: int) -> tuple[int, int, float]:
        """Requests, failures and seconds."""
        oldest = second - REQUEST_SECONDS
        recent = [at for at, stamp in enumerate(self._stamps) if stamp > oldest]
        return (
            sum(self._requests[at] for at in recent),
            sum(self._failures[at] for at in recent),
            sum(self._busy_s[at] for at in recent),
        )


class _Senders:
    """Points by sender and second over the last minute; a sender costs a dict entry a second."""

    def __init__(self) -> None:
        self._stamps = [-1] * POINT_SECONDS
        self._points: list[dict[str, int]] = [{} for _ in range(POINT_SECONDS)]
        self._labels: dict[str, str] = {}

    def add(self, second: int, sender: str, *, label: str, points: int) -> None:
        at = second % POINT_SECONDS
        if self._stamps[at] != second:
            self._stamps[at], self._points[at] = second, {}
        known = self._points[at]
        known[sender] = known.get(sender, 0) + points
        self._labels[sender] = label

    def sums(self, second: int, seconds: int) -> list[tuple[str, int, str]]:
        """Sender, points and label in the `seconds` whole seconds before this one."""
        sums: dict[str, int] = {}
        for stamp, points in zip(self._stamps, self._points, strict=True):
            if second - seconds <= stamp < second:
                for sender, n in points.items():
                    sums[sender] = sums.get(sender, 0) + n
        return [(sender, n, self._labels[sender]) for sender, n in sums.items()]


class Traffic:
    """Counters since the start and over the last minutes.

    All calls are cheap enough for hot routes: requests are kept as they are told, and counted many
    at a time, when somebody reads or COUNTED_AT_ONCE are there. `in_flight` are those under way.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._points = _Ring(POINT_SECONDS)
        self._senders = _Senders()
        self._answers = _Answers()
        self._started_s = clock.monotonic_s()
        self._told: list[tuple[Kind, float]] = []
        self._requests = self._failures = 0
        self._routes = RouteFigures()
        self.points_total = 0
        self.in_flight = 0

    def count_points(self, points: int) -> None:
        """Points that were committed, by this process or one that it follows."""
        self.points_total += points
        self._points.add(int(self._clock.monotonic_s()), points)

    def senders(self, seconds: int) -> list[tuple[str, int, str]]:
        """Key, points and the key's name in the last so many whole seconds, at most 59."""
        self._settle()
        return self._senders.sums(int(self._clock.monotonic_s()), seconds)

    def count_request(self, kind: Kind, duration_s: float) -> None:
        """A request that was answered; 5xx count as failures. With a sender, its points count
        too."""
        told = self._told
        told.append((kind, duration_s))
        if len(told) >= COUNTED_AT_ONCE:
            self._settle()

    def _settle(self) -> None:
        told, self._told = self._told, []
        durations: dict[Kind, list[float]] = {}
        for kind, duration_s in told:
            known = durations.get(kind)
            if known is None:
                durations[kind] = [duration_s]
            else:
                known.append(duration_s)
        for (call, status, second, sender, points), took_s in durations.items():
            requests = len(took_s)
            failures = requests if status >= 500 else 0
            self._requests += requests
            self._failures += failures
            self._routes.count(call, status=status, durations_s=took_s)
            self._answers.add(second, sum(took_s), requests=requests, failures=failures)
            if sender is not None:
                self._senders.add(second, sender[0], label=sender[1], points=points * requests)

    @property
    def routes(self) -> RouteFigures:
        self._settle()
        return self._routes

    @property
    def requests_total(self) -> int:
        self._settle()
        return self._requests

    @property
    def failures_total(self) -> int:
        self._settle()
        return self._failures

    @property
    def uptime_s(self) -> float:
        return self._clock.monotonic_s() - self._started_s

    @property
    def points_per_second(self) -> float:
        """Mean of the last minute, or of the uptime when that is shorter."""
        now_s = self._clock.monotonic_s()
        seconds = min(float(POINT_SECONDS), max(1.0, self.uptime_s))
        return self._points.total(int(now_s)) / seconds

    @property
    def latency_ms_avg(self) -> float:
        """Milliseconds a request over the last five minutes; 0 without requests."""
        self._settle()
        requests, _, busy_s = self._answers.totals(int(self._clock.monotonic_s()))
        return busy_s * 1000 / requests if requests else 0.0

    @property
    def error_rate(self) -> float:
        """Share of 5xx answers in the last five minutes, 0 to 1."""
        self._settle()
        requests, failures, _ = self._answers.totals(int(self._clock.monotonic_s()))
        return failures / requests if requests else 0.0
