"""Whether this daemon can do its work; a background probe finds out, so that asking never waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.clock import Clock
from daemon.domain.errors import TryLater
from daemon.live.traffic import Traffic
from daemon.log import get_logger
from daemon.store.health import DatabaseFacts, HealthStore

PROBE_EVERY_S = 1.0
# A probe that hangs is as bad as one that fails; three turns, so that one slow second is not an
# outage.
PROBE_AGE_MAX_S = 3.0
SECTIONS = (
    "data_ingestion",
    "time_series_db",
    "alert_engine",
    "real_time_stream",
    "performance",
)

Section = Callable[[], Mapping[str, Any]]

log = get_logger()


@dataclass(frozen=True, slots=True)
class HealthView:
    """`state` is by dependency, `reasons` say why the daemon is not ready."""

    is_healthy: bool
    is_ready: bool
    dependencies: dict[str, str]
    reasons: list[str]


class Health:
    """`sections` give the numbers of a part, for holders of a key.

    A part without one is not there yet. `process` says which of the daemon's processes this is.
    """

    def __init__(
        self,
        store: HealthStore,
        *,
        clock: Clock,
        traffic: Traffic,
        sections: Mapping[str, Section] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._traffic = traffic
        self._sections = {name: [section] for name, section in (sections or {}).items()}
        self._facts: DatabaseFacts | None = None
        self._is_up = False
        self._probed_at_s = float("-inf")
        self._latency_ms = 0.0
        self._dependencies: dict[str, Callable[[], bool]] = {}
        self._is_started = False
        self._is_draining = False
        self.process = {"number": 1, "of": 1}

    async def probe(self) -> None:
        """One background turn; at most PROBE_EVERY_S apart."""
        began_s = self._clock.monotonic_s()
        try:
            facts = await self._store.probe()
        except TryLater as error:
            self._note(is_up=False, code=error.error_code)
        else:
            if facts != self._facts:
                _warn_of_settings(facts, self._facts)
            self._facts = facts
            self._latency_ms = (self._clock.monotonic_s() - began_s) * 1000
            self._note(is_up=True, code=None)
        self._probed_at_s = self._clock.monotonic_s()

    def _note(self, *, is_up: bool, code: str | None) -> None:
        if is_up != self._is_up:
            if is_up:
                log.info("database_up", latency_ms=round(self._latency_ms, 2))
            else:
                log.error("database_down", code=code)
        self._is_up = is_up

    def started(self) -> None:
        """Everything is loaded; requests may come."""
        self._is_started = True

    def draining(self) -> None:
        """No more requests should be sent here."""
        self._is_draining = True

    def add_dependency(self, name: str, is_up: Callable[[], bool]) -> None:
        """Show something that others need of this daemon, while it goes on without it."""
        self._dependencies[name] = is_up

    def add_section(self, name: str, section: Section) -> None:
        """Give numbers of one part of `SECTIONS`, beside those that others give."""
        self._sections.setdefault(name, []).append(section)

    def close(self) -> None:
        self._store.close()

    @property
    def is_database_up(self) -> bool:
        is_recent = self._clock.monotonic_s() - self._probed_at_s <= PROBE_AGE_MAX_S
        return self._is_up and is_recent

    def view(self) -> HealthView:
        """The state now; costs no I/O."""
        is_up = self.is_database_up
        reasons = []
        if not is_up:
            reasons.append("the database does not answer")
        if not self._is_started:
            reasons.append("the daemon is starting")
        if self._is_draining:
            reasons.append("the daemon is stopping")
        found = {"database": is_up} | {name: check() for name, check in self._dependencies.items()}
        dependencies = {name: "up" if is_up else "down" for name, is_up in found.items()}
        return HealthView(is_up, not reasons, dependencies, reasons)

    def states(self) -> dict[str, dict[str, Any]]:
        """Whether each part works, without a number: for everybody."""
        is_up = self.is_database_up
        found: dict[str, dict[str, Any]] = {}
        for name in SECTIONS:
            is_there = name in self._sections or name in ("time_series_db", "performance")
            state = "up" if is_up or name == "performance" else "down"
            found[name] = {"status": state if is_there else "absent"}
        return found

    def details(self) -> dict[str, dict[str, Any]]:
        """The same with the numbers behind it: for holders of a key."""
        found = self.states()
        found["time_series_db"] |= self._database_numbers()
        found["performance"] |= {
            "uptime_s": round(self._traffic.uptime_s, 1),
            "requests_total": self._traffic.requests_total,
            "failures_total": self._traffic.failures_total,
            "latency_ms_avg": round(self._traffic.latency_ms_avg, 3),
            "error_rate": round(self._traffic.error_rate, 6),
            "points_per_second": round(self._traffic.points_per_second, 3),
        }
        for name, sections in self._sections.items():
            for section in sections:
                found[name] |= dict(section())
        return found

    def _database_numbers(self) -> dict[str, Any]:
        facts = self._facts
        if facts is None:
            return {}
        return {
            "probe_latency_ms": round(self._latency_ms, 3),
            "server_version": facts.server_version,
            "database_bytes": facts.database_bytes,
            "lock_wait_s": round(facts.lock_wait_s, 1),
            "durable_commits": not _weak_settings(facts),
            "settings": {
                "fsync": facts.fsync,
                "full_page_writes": facts.full_page_writes,
                "synchronous_commit": facts.synchronous_commit,
                "data_checksums": facts.data_checksums,
            },
            "is_standby": facts.is_standby,
        }


def _weak_settings(facts: DatabaseFacts) -> list[str]:
    """Settings under which an acknowledged point could be lost."""
    return [
        name
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if getattr(facts, name) in ("off", "local")
    ]


def _warn_of_settings(facts: DatabaseFacts, before: DatabaseFacts | None) -> None:
    weak = _weak_settings(facts)
    if weak and (before is None or _weak_settings(before) != weak):
        log.error("commits_not_durable", settings=weak)
    if before is None and facts.data_checksums == "off":
        log.warning("data_checksums_off")
