"""How long statements take, by the name that they have in `sql/queries`."""

from __future__ import annotations

from asyncpg.connection import LoggedQuery

from daemon.domain.figures import Histogram
from daemon.log import get_logger
from daemon.store.named_sql import NAMES

SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5)
"""Few bounds: there are some two hundred statements."""
SLOW_S = 1.0
OTHER = "other"
"""What begins and ends transactions, and what is put together from parts."""

log = get_logger()


class QueryTimes:
    """`durations` of what was run since the start of this process, as its caller saw them."""

    def __init__(self) -> None:
        self.durations: dict[str, Histogram] = {}

    def note(self, query: LoggedQuery) -> None:
        """A statement has ended, well or not; one that took long is told, without its values."""
        name = NAMES.get(query.query, OTHER)
        took = self.durations.get(name)
        if took is None:
            took = self.durations[name] = Histogram(SECONDS)
        took.observe(query.elapsed)
        if query.elapsed >= SLOW_S:
            log.info("slow_query", query=name, ms=round(query.elapsed * 1000))
