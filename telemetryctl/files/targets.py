"""Which file a row belongs to: `data/%Y-%m-%d.csv.gz`, split by its time or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path

from telemetryctl.files.stamps import EPOCH

DAY = timedelta(days=1)
_FIRST_DAY = EPOCH.date()
_FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Targets:
    """The pattern of `-O` with strftime directives, in a zone.

    split   the span of time of a file; None: one file for a run
    """

    pattern: str
    zone: tzinfo = UTC
    split: timedelta | None = None
    is_gzip: bool = False

    def at(self, instant: datetime) -> Path:
        """The file of an instant: of the row's time when splitting, else of the run."""
        local = self.start_of(instant).astimezone(self.zone)
        name = local.strftime(self.pattern) if "%" in self.pattern else self.pattern
        path = Path(name).expanduser()
        if self.is_gzip and path.suffix != ".gz":
            path = path.with_name(path.name + ".gz")
        return path

    def start_of(self, instant: datetime) -> datetime:
        """When the span that holds the instant began.

        Spans of whole days begin at midnight of the zone, shorter ones at multiples since 1970.
        """
        if self.split is None:
            return instant
        if self.split % DAY:
            return EPOCH + (instant - EPOCH) // self.split * self.split
        day = instant.astimezone(self.zone).date()
        days = self.split // DAY
        return self._midnight(_FIRST_DAY + (day - _FIRST_DAY) // (days * DAY) * days * DAY)

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time.min, tzinfo=self.zone).astimezone(UTC)

    def windows(self, start: datetime, end: datetime) -> Iterator[tuple[Path, datetime, datetime]]:
        """The files of a window and the part of it that each holds, in order.

        Neighbours whose names come out equal are one file.
        """
        begin = start
        while begin < end:
            target = self.at(begin)
            until = self._next(begin, end)
            while until < end and self.at(until) == target:
                until = self._next(until, end)
            yield target, begin, until
            begin = until

    def span_of(self, instant: datetime) -> tuple[datetime, datetime]:
        """When the span that holds the instant begins and ends."""
        return self.start_of(instant), self._next(instant, _FOREVER)

    def _next(self, instant: datetime, end: datetime) -> datetime:
        if self.split is None:
            return end
        if self.split % DAY:
            return min(self.start_of(instant) + self.split, end)
        # Local days have 23 to 25 hours, so the next one is found on the calendar.
        first = self.start_of(instant).astimezone(self.zone).date()
        return min(self._midnight(first + self.split), end)
