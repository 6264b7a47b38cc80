"""The newest point: how old it may be, what it was before, and what changes its version."""

from __future__ import annotations

import pytest
from history_builder import NOON_US, READER, a_registry, points

from daemon.clock import ManualClock
from daemon.domain.access import Principal
from daemon.domain.catalog import SeriesRow
from daemon.domain.errors import NotFound
from daemon.domain.kinds import Kind
from daemon.live.latest import Latest
from daemon.service.latest import LatestReads, NewestQuery

S = 1_000_000
HOUR_US = 3600 * S


@pytest.fixture
def latest() -> Latest:
    return Latest()


@pytest.fixture
def reads(latest: Latest) -> LatestReads:
    registry = a_registry()
    registry.add([SeriesRow(5, "bus-2", "position", Kind.GEOLOCATION)])
    return LatestReads(latest, registry=registry, clock=ManualClock(NOON_US))


def test_the_newest_point_says_how_old_it_is_and_what_was_before(
    reads: LatestReads, latest: Latest
) -> None:
    latest.append(1, points((1, NOON_US - 9 * S, 7.0), (1, NOON_US - 5 * S, 8.5)))
    latest.append(2, points((1, NOON_US - 2 * S, 8.5)))

    found = reads.one(READER, device_id="bus-1", metric_name="speed")

    assert (found.value, found.age_s, found.previous_value) == (8.5, 2.0, 7)
    assert (found.time_us, found.changed_at_us) == (NOON_US - 2 * S, NOON_US - 5 * S)
    assert not found.is_stale


def test_a_point_beyond_the_lookback_is_not_found(reads: LatestReads, latest: Latest) -> None:
    latest.append(1, points((1, NOON_US - 25 * HOUR_US, 7.0)))

    with pytest.raises(NotFound):
        reads.one(READER, device_id="bus-1", metric_name="speed")
    found = reads.one(READER, device_id="bus-1", metric_name="speed", lookback_us=0)
    assert found.is_stale


def test_a_point_beyond_retention_is_never_found(reads: LatestReads, latest: Latest) -> None:
    latest.append(1, points((1, NOON_US - 91 * 24 * HOUR_US, 7.0)))

    with pytest.raises(NotFound):
        reads.one(READER, device_id="bus-1", metric_name="speed", lookback_us=0)


def test_a_correction_changes_the_version(reads: LatestReads, latest: Latest) -> None:
    latest.append(1, points((1, NOON_US, 7.0)))
    before = reads.one(READER, device_id="bus-1", metric_name="speed").version
    again = reads.one(READER, device_id="bus-1", metric_name="speed").version

    latest.append(2, points((1, NOON_US, 7.5)))

    after = reads.one(READER, device_id="bus-1", metric_name="speed")
    assert before == again != after.version
    assert after.value == 7.5


def test_values_read_as_they_were_written(reads: LatestReads, latest: Latest) -> None:
    latest.append(1, points((3, NOON_US, 1.0), (4, NOON_US, "42"), (1, NOON_US, 3.0)))

    found = reads.many(READER, NewestQuery())

    values = {row.metric_name: row.value for row in found["bus-1"]}
    assert values == {"door": True, "route": "42", "speed": 3}
    assert isinstance(values["speed"], int)


def test_several_devices_are_answered_at_once(reads: LatestReads, latest: Latest) -> None:
    latest.append(1, points((1, NOON_US, 1.5), (2, NOON_US - 30 * HOUR_US, 2.5)))

    found = reads.many(READER, NewestQuery(devices=["bus-1", "bus-2", "bus-9"]))
    old = reads.many(READER, NewestQuery(devices=["bus-2"], metrics=["speed"], lookback_us=0))

    assert list(found) == ["bus-1"]
    assert [row.value for row in old["bus-2"]] == [2.5]


def test_what_a_key_may_not_see_does_not_exist(reads: LatestReads, latest: Latest) -> None:
    latest.append(1, points((1, NOON_US, 1.5), (3, NOON_US, 1.0)))
    narrow = Principal("key_2", "narrow", frozenset({"read"}), metrics=("do*",))

    assert [r.metric_name for r in reads.many(narrow, NewestQuery())["bus-1"]] == ["door"]
    with pytest.raises(NotFound) as refused:
        reads.one(narrow, device_id="bus-1", metric_name="speed")
    with pytest.raises(NotFound) as unknown:
        reads.one(READER, device_id="bus-1", metric_name="nothing")
    assert refused.value.error_code == unknown.value.error_code


def test_devices_are_found_by_where_they_are_now(reads: LatestReads, latest: Latest) -> None:
    latest.append(1, points((5, NOON_US, {"lat": 30.2, "lon": -97.7})))

    assert reads.devices_within(READER, (-98.0, 30.0, -97.0, 31.0)) == ["bus-2"]
    assert reads.devices_within(READER, (-97.0, 30.0, -96.0, 31.0)) == []
