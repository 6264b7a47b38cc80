"""Times as files write them, to and from microseconds. The grammar of `--since` lives in times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from math import isfinite

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

# By magnitude, as the contract reads them: seconds until the year 5138, then ms, then µs.
SECONDS_BELOW = 1e11
MILLISECONDS_BELOW = 1e14
MICROSECONDS_BELOW = 1e17


class BadStamp(ValueError):
    """The text is no time, or names no zone and none was given."""


def parse_stamp_us(text: object, *, zone: tzinfo | None = None) -> int:
    """Microseconds since 1970 UTC of an ISO 8601 text or an epoch number.

    `zone` is for stamps without an offset; without it they are refused, as a guess would move the
    data by hours. Raises BadStamp.
    """
    if isinstance(text, str):
        text = text.strip()
        if text.isdigit():  # fromisoformat would read "20151218" as a date
            return _from_number(text)
        try:
            stamp = datetime.fromisoformat(text)
        except ValueError:
            return _from_number(text)
        return _from_datetime(stamp, text, zone)
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return _from_number(text)
    raise BadStamp(f"{text!r} is not a time")


def _from_datetime(stamp: datetime, text: str, zone: tzinfo | None) -> int:
    if stamp.tzinfo is None:
        if zone is None:
            raise BadStamp(f"{text!r} names no time zone")
        stamp = stamp.replace(tzinfo=zone)
    try:
        return (stamp - EPOCH) // MICROSECOND
    except OverflowError as error:
        raise BadStamp(f"{text!r} is out of range") from error


def _from_number(number: str | float) -> int:
    try:
        exact = int(number) if isinstance(number, int) or str(number).isdigit() else None
        size = float(number)
    except (ValueError, OverflowError) as error:
        raise BadStamp(f"{number!r} is not a time") from error
    if not isfinite(size) or abs(size) >= MICROSECONDS_BELOW:
        raise BadStamp(f"{number!r} is not a time")
    scale = _scale(abs(size))
    return exact * scale if exact is not None else round(size * scale)


def _scale(size: float) -> int:
    """Microseconds in the unit that a number of this size must be in."""
    if size < SECONDS_BELOW:
        return 1_000_000
    return 1_000 if size < MILLISECONDS_BELOW else 1


def format_stamp(time_us: int) -> str:
    """RFC 3339 in UTC with `Z`; microseconds only when present."""
    stamp = EPOCH + timedelta(microseconds=time_us)
    return stamp.replace(tzinfo=None).isoformat() + "Z"
