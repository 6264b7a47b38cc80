"""Made-up devices that behave like real ones. Pure: time and chance are arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import cos, pi, radians, sin
from random import Random

from telemetryctl.files.points import Json, Point, Tags, Value

MICROSECONDS = 1_000_000
DAY_S = 86_400
FAULTS = ("silence", "late", "spike")
# Chances for each reading, and how long the trouble lasts.
SILENCE_CHANCE, SILENCE_S = 0.002, (60.0, 600.0)
LATE_CHANCE, LATE_S = 0.03, (5.0, 90.0)
SPIKE_CHANCE, SPIKE_FACTOR = 0.005, (8.0, 20.0)

Readings = dict[str, tuple[Value, str | None]]


@dataclass(slots=True)
class Device:
    """One made-up device. `state` is what it remembers between readings, by name."""

    device_id: str
    number: int
    random: Random
    tags: Tags = ()
    state: dict[str, float] = field(default_factory=dict)
    read_us: int = 0
    silent_until_us: int = 0

    def drift(self, name: str, *, low: float, high: float, step: float) -> float:
        """A value that wanders between bounds and tends back to the middle."""
        middle = (low + high) / 2
        value = self.state.setdefault(name, self.random.uniform(low, high))
        pull = (middle - value) * 0.02
        value = min(max(value + pull + self.random.gauss(0, step), low), high)
        self.state[name] = value
        return value


def _daily(time_us: int, *, peak_hour: float) -> float:
    """How busy it is: 0 at night, 1 at the peak, by UTC."""
    hour = time_us / MICROSECONDS % DAY_S / 3600
    return (1 + cos((hour - peak_hour) / 24 * 2 * pi)) / 2


def _bus(device: Device, time_us: int, elapsed_s: float) -> Readings:
    """Drives along a wandering course, stops now and then, burns fuel."""
    state = device.state
    stop_s = state.get("stop_s", 0.0) - elapsed_s
    if stop_s <= 0 and device.random.random() < elapsed_s / 90:
        stop_s = device.random.uniform(10, 60)
    state["stop_s"] = max(stop_s, 0.0)
    speed = 0.0 if stop_s > 0 else device.drift("speed", low=5, high=60, step=4)
    course = state.get("course", device.number * 0.7) + device.random.gauss(0, 0.2)
    km = speed * elapsed_s / 3600
    lat = state.get("lat", 30.27 + device.random.uniform(-0.1, 0.1)) + km / 111 * cos(course)
    lon = state.get("lon", -97.74 + device.random.uniform(-0.1, 0.1))
    lon += km / (111 * cos(radians(lat))) * sin(course)
    fuel = state.get("fuel", device.random.uniform(30, 100)) - km * 0.4
    state |= {"course": course, "lat": lat, "lon": lon, "fuel": fuel if fuel > 5 else 100.0}
    place: dict[str, Json] = {"lat": round(lat, 6), "lon": round(lon, 6)}
    return {
        "speed": (round(speed, 1), "km/h"),
        "position": (place, None),
        "fuel_level": (round(state["fuel"], 1), "percent"),
    }


def _machine(device: Device, time_us: int, elapsed_s: float) -> Readings:
    """A training machine: free or in use, more often in the evening."""
    busy = _daily(time_us, peak_hour=18)
    is_used = device.state.get("used", 0.0) > 0
    chance = elapsed_s / (600 if is_used else 1800 - 1500 * busy)
    if device.random.random() < chance:
        is_used = not is_used
    device.state["used"] = float(is_used)
    power = device.drift("power", low=80, high=260, step=12) if is_used else 4.0
    return {
        "status": ("in_use" if is_used else "available", None),
        "power": (round(power, 1), "watt"),
        "temperature": (
            round(device.drift("temperature", low=19, high=26, step=0.1), 2),
            "celsius",
        ),
    }


def _server(device: Device, time_us: int, elapsed_s: float) -> Readings:
    """A host whose load follows the day; requests are a counter that a restart resets."""
    load = 20 + 50 * _daily(time_us, peak_hour=14)
    cpu = min(max(load + device.drift("noise", low=-20, high=20, step=3), 0.5), 100.0)
    requests = device.state.get("requests", 0.0)
    requests += cpu * 3 * elapsed_s * device.random.uniform(0.8, 1.2)
    if device.random.random() < elapsed_s / DAY_S:
        requests = 0.0
    device.state["requests"] = requests
    return {
        "cpu_percent": (round(cpu, 2), "percent"),
        "memory_percent": (
            round(device.drift("memory", low=30, high=92, step=0.5), 2),
            "percent",
        ),
        "requests_total": (int(requests), None),
        "is_healthy": (cpu < 97, None),
    }


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of device: how it is called, what it measures, and the types of its metrics."""

    name_prefix: str
    read: Callable[[Device, int, float], Readings]
    types: dict[str, tuple[str, str | None]]
    tag: tuple[str, tuple[str, ...]]


PROFILES = {
    "fleet": Profile(
        "bus_",
        _bus,
        {
            "speed": ("numeric", "km/h"),
            "position": ("geolocation", None),
            "fuel_level": ("numeric", "percent"),
        },
        ("route", ("1", "7", "10", "20", "801", "803")),
    ),
    "gym": Profile(
        "machine_",
        _machine,
        {
            "status": ("string", None),
            "power": ("numeric", "watt"),
            "temperature": ("numeric", "celsius"),
        },
        ("room", ("cardio", "weights", "studio")),
    ),
    "servers": Profile(
        "server_",
        _server,
        {
            "cpu_percent": ("numeric", "percent"),
            "memory_percent": ("numeric", "percent"),
            "requests_total": ("numeric", None),
            "is_healthy": ("boolean", None),
        },
        ("zone", ("a", "b", "c")),
    ),
}


class World:
    """All devices of a simulation, which report in turn. The same seed gives the same values."""

    def __init__(
        self, profile: Profile, *, devices: int, faults: frozenset[str] = frozenset(), seed: int = 0
    ) -> None:
        self._profile = profile
        self._faults = faults
        self._random = Random(seed)
        self._late: list[tuple[int, int, Point]] = []
        self._turn = self._held = 0
        width = max(3, len(str(devices)))
        key, values = profile.tag
        self._devices = [
            Device(
                f"{profile.name_prefix}{i:0{width}d}",
                i,
                Random(f"{seed}-{i}"),
                ((key, values[i % len(values)]),),
            )
            for i in range(1, devices + 1)
        ]

    @property
    def points_per_reading(self) -> int:
        return len(self._profile.types)

    def step(self, readings: int, *, at_us: int) -> list[Point]:
        """The points of the next devices in turn, and those held back until now.

        Silent devices take their turn and say nothing.
        """
        points = []
        for _ in range(readings):
            device = self._devices[self._turn % len(self._devices)]
            self._turn += 1
            points += self._reading(device, at_us)
        while self._late and self._late[0][0] <= at_us:
            points.append(heappop(self._late)[2])
        return points

    def _reading(self, device: Device, at_us: int) -> list[Point]:
        elapsed_s = (at_us - device.read_us) / MICROSECONDS if device.read_us else 10.0
        device.read_us = at_us
        values = self._profile.read(device, at_us, min(elapsed_s, 600.0))
        if at_us < device.silent_until_us:
            return []
        if self._strikes("silence", SILENCE_CHANCE):
            device.silent_until_us = at_us + self._span_us(SILENCE_S)
            return []
        points = [
            Point(device.device_id, name, at_us, self._spiked(value), unit, device.tags, 0)
            for name, (value, unit) in values.items()
        ]
        if self._strikes("late", LATE_CHANCE):
            due_us = at_us + self._span_us(LATE_S)
            for point in points:
                self._turn_late(due_us, point)
            return []
        return points

    def _turn_late(self, due_us: int, point: Point) -> None:
        self._held += 1
        heappush(self._late, (due_us, self._held, point))

    def _spiked(self, value: Value) -> Value:
        if isinstance(value, float) and self._strikes("spike", SPIKE_CHANCE):
            return round(value * self._random.uniform(*SPIKE_FACTOR), 2)
        return value

    def _strikes(self, fault: str, chance: float) -> bool:
        return fault in self._faults and self._random.random() < chance

    def _span_us(self, bounds_s: tuple[float, float]) -> int:
        return int(self._random.uniform(*bounds_s) * MICROSECONDS)
