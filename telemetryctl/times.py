"""Times and durations as people type and read them; the command line's only reader of the clock."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from telemetryctl.failures import UsageFailure

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_CALENDAR_UNIT = re.compile(r"\d+(?:mo|y|mon|months?|years?)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_MILLISECONDS_FROM = 100_000_000_000
_GRAMMAR_HINT = "a time is 15m, 2h30m, 7d, now, today, 2026-11-20T10:00, RFC 3339 or @epoch"


def now() -> datetime:
    """Return the present instant in UTC."""
    return datetime.now(UTC)  # noqa: TID251, RUF100 - this is the one place


def parse_duration(text: str) -> timedelta:
    """Return the duration of text such as `15m`, `2h30m`, `7d`, `1.5h` or `500ms`.

    A day has 24 hours and a week 7 days. Raises UsageFailure, also for months and years, since
    their length depends on where they begin.
    """
    text = text.strip()
    if _CALENDAR_UNIT.fullmatch(text):
        raise UsageFailure(
            f'"{text}" is ambiguous: months and years have no fixed length',
            hint="say it in days or weeks, such as 30d or 52w",
        )
    if not _DURATION.fullmatch(text):
        raise UsageFailure(f'"{text}" is not a duration', hint="such as 15m, 2h30m, 7d or 4w")
    try:
        return timedelta(
            seconds=sum(float(n) * _UNITS_S[unit] for n, unit in _DURATION_PART.findall(text))
        )
    except OverflowError as error:
        raise UsageFailure(f'"{text}" is too long a duration') from error


def parse_zone(name: str) -> tzinfo | None:
    """Return the zone named `utc`, `local` (None: the system's) or `Area/City`."""
    match name.lower():
        case "utc" | "z":
            return UTC
        case "" | "local":
            return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageFailure(
            f'"{name}" is not a time zone', hint="utc, local, or a name such as Europe/Berlin"
        ) from error


def parse_time(text: str, *, at: datetime, zone: tzinfo | None = None) -> datetime:
    """Return the UTC instant of the text, as seen at `at`; a duration lies before it.

    Stamps without an offset are in `zone`, None being the system's. Raises UsageFailure.
    """
    text = text.strip()
    if text == "now":
        return at
    if text in ("today", "yesterday"):
        day = at.astimezone(zone).date() - timedelta(days=text == "yesterday")
        return _in_utc(datetime.combine(day, time.min), zone=zone)
    if text.startswith("@"):
        return _parse_epoch(text)
    if _DURATION.fullmatch(text) or _CALENDAR_UNIT.fullmatch(text):
        try:
            return at - parse_duration(text)
        except OverflowError as error:
            raise UsageFailure(f'"{text}" lies before the year 1') from error
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageFailure(f'"{text}" is not a time', hint=_GRAMMAR_HINT) from error
    return _in_utc(stamp, zone=zone)


def _in_utc(stamp: datetime, *, zone: tzinfo | None) -> datetime:
    if stamp.tzinfo is None and zone is not None:
        stamp = stamp.replace(tzinfo=zone)
    try:
        return stamp.astimezone(UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise UsageFailure(f'"{stamp.isoformat()}" is out of range') from error


def _parse_epoch(text: str) -> datetime:
    try:
        number = float(text[1:])
        seconds = number / 1000 if abs(number) >= _EPOCH_MILLISECONDS_FROM else number
        return _EPOCH + timedelta(seconds=seconds)
    except (ValueError, OverflowError) as error:
        raise UsageFailure(
            f'"{text}" is not an epoch time', hint="seconds or milliseconds, such as @1763719200"
        ) from error


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open span of time `[start, end)`, both in UTC."""

    start: datetime
    end: datetime

    def describe(self) -> str:
        """Return the line that is echoed on stderr, so that nobody guesses what was asked."""
        span = format_duration(self.end - self.start)
        return f"window {format_rfc3339(self.start)} .. {format_rfc3339(self.end)} ({span})"


def parse_window(
    since: str, *, until: str = "now", at: datetime, zone: tzinfo | None = None
) -> Window:
    """Return the window between two times. Raises UsageFailure unless it begins before it ends."""
    window = Window(
        start=parse_time(since, at=at, zone=zone), end=parse_time(until, at=at, zone=zone)
    )
    if window.start >= window.end:
        raise UsageFailure(
            "the window is empty: it begins at or after its end",
            why=f"{format_rfc3339(window.start)} .. {format_rfc3339(window.end)}",
            hint="--since must be earlier than --until",
        )
    return window


def format_rfc3339(instant: datetime) -> str:
    """Return RFC 3339 in UTC with `Z`, with microseconds only when there are any."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def format_for_eyes(text: str, *, zone: tzinfo | None) -> str:
    """Return the API's stamp as `2026-11-21 10:14:02` in the zone; other text as it is."""
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            return text
        local = instant.astimezone(zone)
    except (ValueError, OverflowError):
        return text
    digits = "milliseconds" if local.microsecond else "seconds"
    return local.replace(tzinfo=None).isoformat(sep=" ", timespec=digits)


def format_duration(duration: timedelta) -> str:
    """Return the two largest units that matter, such as `10h 12m`, `12d 04h` or `3.2s`."""
    seconds = duration.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    for size, name, next_size, next_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            count, rest = divmod(whole, size)
            smaller = rest // next_size
            return f"{count}{name} {smaller:02d}{next_name}" if smaller else f"{count}{name}"
    return f"{whole}s"


def local_day(instant: datetime, *, zone: tzinfo | None) -> date:
    """Return the calendar day of the instant in the zone."""
    return instant.astimezone(zone).date()
