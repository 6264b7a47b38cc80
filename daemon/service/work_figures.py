"""Figures of work inside a process, beside those of what comes and goes (service/figures)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from daemon.domain.alert_record import Status
from daemon.domain.figures import Figure, FigureKind, Histogram, counter, histogram
from daemon.domain.rules import Level
from daemon.service.figures import Source, by_label


def of_queries(durations: Callable[[], Mapping[str, Histogram]]) -> Source:
    """Statements to the database."""

    def read() -> Iterable[Figure]:
        yield Figure(
            "telemetry_db_query_duration_seconds",
            FigureKind.HISTOGRAM,
            "From a statement to its answer, by its name in sql/queries.",
            histograms=[((("query", name),), took) for name, took in durations().items()],
        )

    return read


def of_judging(outcomes: Callable[[], Mapping[str, int]], delay: Histogram) -> Source:
    """How the rules are held against the points, by this process."""

    def read() -> Iterable[Figure]:
        yield Figure(
            "telemetry_alert_evaluations_total",
            FigureKind.COUNTER,
            "Turns in which rules were held against what was new.",
            by_label("outcome", outcomes()),
        )
        yield histogram(
            "telemetry_alert_evaluation_delay_seconds",
            "From the commit of points to the commit of what the rules made of them.",
            delay,
        )

    return read


def of_open_alerts(counted: Callable[[], Mapping[tuple[str, str], int]]) -> Source:
    """What is wrong now; the same from every process."""

    def read() -> Iterable[Figure]:
        found = counted()
        yield Figure(
            "telemetry_alerts",
            FigureKind.GAUGE,
            "Open alerts that are not shadows.",
            [
                ((("level", level), ("state", state)), float(found.get((level, state), 0)))
                for level in Level
                for state in (Status.ACTIVE, Status.ACKNOWLEDGED)
            ],
        )

    return read


def of_credentials(lookups: Callable[[], Mapping[str, int]]) -> Source:
    """Whether who asks is remembered."""

    def read() -> Iterable[Figure]:
        yield Figure(
            "telemetry_cache_lookups_total",
            FigureKind.COUNTER,
            "Credentials that were remembered for seconds, and those that were looked up.",
            [
                ((("cache", "credentials"), ("outcome", outcome)), float(count))
                for outcome, count in lookups().items()
            ],
        )

    return read


def of_lines(dropped: Callable[[], int]) -> Source:
    """The log itself."""

    def read() -> Iterable[Figure]:
        yield counter(
            "telemetry_log_dropped_lines_total",
            "Lines of requests that were not written, since nobody read the log.",
            dropped(),
        )

    return read


def of_delivery(delay: Histogram) -> Source:
    """How soon streams are served."""

    def read() -> Iterable[Figure]:
        yield histogram(
            "telemetry_stream_delivery_delay_seconds",
            "From points being known to this process to their messages being with the sockets.",
            delay,
        )

    return read
