"""Which file a row belongs to."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.files.targets import Targets

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def test_without_a_split_the_whole_window_is_one_file() -> None:
    targets = Targets("data/%Y-%m-%d.csv")

    assert list(targets.windows(NOON, NOON + timedelta(days=3))) == [
        (Path("data/2026-11-20.csv"), NOON, NOON + timedelta(days=3))
    ]


def test_a_window_is_cut_at_midnight() -> None:
    targets = Targets("%d.csv", split=timedelta(days=1))
    midnight = NOON + timedelta(hours=12)

    assert list(targets.windows(NOON, NOON + timedelta(days=1))) == [
        (Path("20.csv"), NOON, midnight),
        (Path("21.csv"), midnight, NOON + timedelta(days=1)),
    ]


def test_midnight_is_the_zones_also_when_clocks_change() -> None:
    targets = Targets("%Y-%m-%d.csv", zone=BERLIN, split=timedelta(days=1))
    start = datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight, on the day that has 25 hours

    windows = list(targets.windows(start, start + timedelta(hours=26)))

    assert [(str(path), until - begin) for path, begin, until in windows] == [
        ("2026-10-25.csv", timedelta(hours=25)),
        ("2026-10-26.csv", timedelta(hours=1)),
    ]
    assert targets.at(start + timedelta(hours=24, minutes=30)) == Path("2026-10-25.csv")


def test_spans_with_one_name_are_one_file() -> None:
    targets = Targets("%Y-%m-%d.csv", split=timedelta(hours=1))

    windows = list(targets.windows(NOON, NOON + timedelta(hours=13)))

    assert [path.name for path, _, _ in windows] == ["2026-11-20.csv", "2026-11-21.csv"]


def test_gzip_is_in_the_name_once() -> None:
    assert Targets("a.csv", is_gzip=True).at(NOON) == Path("a.csv.gz")
    assert Targets("a.csv.gz", is_gzip=True).at(NOON) == Path("a.csv.gz")


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.integers(1, 400),
    st.sampled_from([timedelta(hours=1), timedelta(days=1), timedelta(days=7)]),
    st.sampled_from([UTC, BERLIN]),
)
def test_windows_are_seamless_and_name_the_file_of_each_instant(
    start: datetime, hours: int, split: timedelta, zone: ZoneInfo
) -> None:
    targets = Targets("%Y-%m-%dT%H.csv", zone=zone, split=split)
    end = start + timedelta(hours=hours)

    windows = list(targets.windows(start, end))

    assert windows[0][1] == start
    assert windows[-1][2] == end
    assert all(a[2] == b[1] for a, b in pairwise(windows))
    for path, begin, until in windows:
        assert targets.at(begin) == targets.at(until - timedelta(microseconds=1)) == path
