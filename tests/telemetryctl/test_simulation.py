"""Made-up devices."""

from itertools import pairwise

import pytest

from telemetryctl.files.points import Point
from telemetryctl.simulation import MICROSECONDS, PROFILES, World

NOON_US = 1_795_176_000 * MICROSECONDS


def run(world: World, *, steps: int = 200, readings: int = 10) -> list[Point]:
    points = []
    for second in range(steps):
        points += world.step(readings, at_us=NOON_US + second * MICROSECONDS)
    return points


@pytest.mark.parametrize("name", PROFILES)
def test_the_same_seed_gives_the_same_values(name: str) -> None:
    faults = frozenset({"silence", "late", "spike"})
    first = run(World(PROFILES[name], devices=5, faults=faults, seed=1))
    second = run(World(PROFILES[name], devices=5, faults=faults, seed=1))
    other = run(World(PROFILES[name], devices=5, faults=faults, seed=2))

    assert first == second
    assert first != other


@pytest.mark.parametrize("name", PROFILES)
def test_values_are_of_the_defined_types(name: str) -> None:
    types = {"numeric": (int, float), "string": str, "boolean": bool, "geolocation": dict}
    profile = PROFILES[name]

    for point in run(World(profile, devices=5)):
        kind, unit = profile.types[point.metric_name]
        assert isinstance(point.value, types[kind])  # type: ignore[arg-type]
        assert point.unit == unit


def test_devices_report_in_turn() -> None:
    world = World(PROFILES["servers"], devices=3)

    points = world.step(4, at_us=NOON_US)

    devices = [point.device_id for point in points[:: world.points_per_reading]]
    assert devices == ["server_001", "server_002", "server_003", "server_001"]


def test_a_silent_device_says_nothing_for_a_while() -> None:
    points = run(World(PROFILES["gym"], devices=2, faults=frozenset({"silence"})), steps=3000)

    seconds = sorted({p.time_us for p in points if p.device_id == "machine_001"})
    gaps_s = [(b - a) // MICROSECONDS for a, b in pairwise(seconds)]
    assert max(gaps_s) >= 60


def test_late_points_keep_the_time_they_were_measured() -> None:
    world = World(PROFILES["gym"], devices=2, faults=frozenset({"late"}))
    delays_s = set()
    for second in range(500):
        at_us = NOON_US + second * MICROSECONDS
        delays_s |= {(at_us - p.time_us) // MICROSECONDS for p in world.step(10, at_us=at_us)}

    assert 0 in delays_s
    assert max(delays_s) >= 5


def test_a_spike_is_far_out_of_the_usual() -> None:
    points = run(World(PROFILES["gym"], devices=2, faults=frozenset({"spike"})), steps=1000)

    temperatures = [p.value for p in points if p.metric_name == "temperature"]
    assert max(t for t in temperatures if isinstance(t, float)) > 150
