"""Where the buckets of an aggregation lie in time.

What is computed in them is decided in domain/aggregates.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from daemon.domain.errors import Invalid

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
DAY_S = 86_400
DAY_US = DAY_S * SECOND_US
BUCKETS_MAX = 1_000_000
_HOURS = range(25)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Grid:
    """Bucket i is [starts_us[i], starts_us[i + 1]), the last one ends after the range.

    starts_us  int64 (m,), ascending; the first is at or before the start of the range
    step_us    the distance of all starts, None where they are uneven
    """

    starts_us: npt.NDArray[np.int64]
    step_us: int | None = None

    def __len__(self) -> int:
        return len(self.starts_us)

    def bucket_of(self, times_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Index of the bucket of each time of the range."""
        if len(self.starts_us) <= 1:
            return np.zeros(len(times_us), np.int64)
        if self.step_us is not None:
            return np.asarray((times_us - self.starts_us[0]) // self.step_us, np.int64)
        return np.asarray(np.searchsorted(self.starts_us, times_us, side="right") - 1, np.int64)

    def part(self, first: int, end: int) -> Grid:
        """The buckets [first, end) of these."""
        return Grid(self.starts_us[first:end], self.step_us)

    @property
    def is_hourly(self) -> bool:
        """Whether no bucket but the first begins inside an hour of UTC, so that hourly rollups
        fit.
        """
        return not bool((self.starts_us[1:] % HOUR_US).any())


def whole(start_us: int) -> Grid:
    """One bucket, which begins where the range begins."""
    return Grid(np.array([start_us], np.int64))


def epoch_grid(start_us: int, end_us: int, *, interval_s: int) -> Grid:
    """Buckets at multiples of the interval since 1970 UTC. Raises Invalid over BUCKETS_MAX."""
    step_us = interval_s * SECOND_US
    first = start_us // step_us
    last = (end_us - 1) // step_us
    _check_count(last - first + 1)
    return Grid(np.arange(first, last + 1, dtype=np.int64) * step_us, step_us)


def local_grid(start_us: int, end_us: int, *, interval_s: int, zone: ZoneInfo) -> Grid:
    """A bucket begins whenever the clock of the zone shows midnight plus a multiple of the
    interval.

    From a day on, every interval // day-th midnight since 1970. So a day is 23 or 25 hours when
    the clocks change, an hour that is repeated is two buckets, and the last bucket of a day ends
    at midnight even when it is short. Raises Invalid over BUCKETS_MAX, and for an interval over a
    day that is no whole number of days.
    """
    _check_count((end_us - start_us) // (interval_s * SECOND_US) + 2)
    if interval_s > DAY_S and interval_s % DAY_S:
        raise Invalid(
            "with a timezone an interval over a day must be whole days", code="bad_interval"
        )
    days = max(1, interval_s // DAY_S)
    offsets_s = range(0, DAY_S, interval_s) if interval_s < DAY_S else range(1)
    try:
        day = _local_day(start_us, zone) - 1
        end_day = _local_day(end_us, zone)
        starts: set[int] = set()
        day -= day % days
        while day <= end_day:
            starts.update(_day_starts(day, offsets_s, zone))
            day += days
    except (OverflowError, ValueError) as error:
        raise Invalid("the range is too close to the end of the calendar") from error
    column = np.array(sorted(starts), np.int64)
    at = max(0, int(np.searchsorted(column, start_us, side="right")) - 1)
    return Grid(column[at : int(np.searchsorted(column, end_us, side="left"))])


def _local_day(time_us: int, zone: ZoneInfo) -> int:
    """Days since 1970 on the calendar of the zone."""
    at = _EPOCH + timedelta(microseconds=time_us)
    return at.astimezone(zone).date().toordinal() - _EPOCH_DAY


def _day_starts(day: int, offsets_s: range, zone: ZoneInfo) -> set[int]:
    midnight = datetime.combine(date.fromordinal(day + _EPOCH_DAY), time.min)
    if len(offsets_s) > len(_HOURS) and _is_even(midnight, zone):
        first = midnight.replace(tzinfo=zone).astimezone(UTC)
        first_us = (first - _EPOCH) // timedelta(microseconds=1)
        return {first_us + offset_s * SECOND_US for offset_s in offsets_s}
    starts = set()
    for offset_s in offsets_s:
        shown = midnight + timedelta(seconds=offset_s)
        # A time that the clock shows twice begins two buckets; one that it skips begins where the
        # gap ends (PEP 495).
        for fold in (0, 1):
            at = shown.replace(tzinfo=zone, fold=fold).astimezone(UTC)
            if at.astimezone(zone).replace(tzinfo=None) == shown or fold == 0:
                starts.add((at - _EPOCH) // timedelta(microseconds=1))
    return starts


def _is_even(midnight: datetime, zone: ZoneInfo) -> bool:
    """Whether the clock of the zone runs through this day without a change; no zone has two that
    undo each other within an hour."""
    shown = (midnight + timedelta(hours=hour) for hour in _HOURS)
    offsets = {at.replace(tzinfo=zone, fold=fold).utcoffset() for at in shown for fold in (0, 1)}
    return len(offsets) == 1


def _check_count(count: int) -> None:
    if count > BUCKETS_MAX:
        raise Invalid(
            f"{count} buckets are more than {BUCKETS_MAX}; "
            "take a longer interval or a shorter range",
            code="too_many_buckets",
        )
