"""Reads the configuration again while the daemon runs; what can't change then is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from daemon.config import BadConfig, Config
from daemon.domain.bearer import Issuer
from daemon.domain.errors import DomainError
from daemon.log import get_logger, set_level
from daemon.parts import (
    Parts,
    ingest_limits,
    keep_of,
    limit_settings,
    log_wish,
    session_settings_of,
    set_places,
)
from daemon.workers.systemd import ServiceManager

log = get_logger()

AT_ONCE = frozenset(
    {
        "compaction.age",
        "compaction.points",
        "events.keep",
        "http.cors_origins",
        "ingest.batch_answers_keep",
        "ingest.flush_points_max",
        "ingest.future_tolerance",
        "ingest.queue_age_max",
        "ingest.queue_bytes_max",
        "ingest.queue_points_max",
        "journal.keep",
        "journal.keep_bytes",
        "limits.anonymous_per_hour",
        "limits.enterprise",
        "limits.exempt_networks",
        "limits.exports_at_once",
        "limits.free",
        "limits.pro",
        "limits.queries_at_once",
        "limits.refused_per_hour",
        "limits.wait_for_place",
        "log.level",
        "log.requests",
        "log.slow",
        "metrics.allow",
        "server.drain_delay_s",
        "server.drain_timeout_s",
        "server.trusted_proxies",
    }
)
"""Settings that take effect with a reload, in the process that is told to."""


def reload(parts: Parts, read: Callable[[], Config], manager: ServiceManager) -> bool:
    """Take over what `read` gives, and say whether that was done; an error in it leaves everything
    as it is. Whatever happens, the service manager hears the end of it."""
    manager.reloading()
    try:
        wanted = read()
        issuers = session_settings_of(parts.config, makes=False).issuers
        take_over(parts, wanted)
        _trust(parts, issuers)
    except (BadConfig, DomainError) as error:
        return _keep(manager, str(error))
    except Exception as error:
        log.error("reload_failed", exc_info=True)
        return _keep(manager, type(error).__name__)
    finally:
        manager.ready()
    return True


def _keep(manager: ServiceManager, reason: str) -> bool:
    log.error("config_not_reloaded", reason=reason)
    manager.status("the configuration has an error, the former one is in force")
    return False


def _trust(parts: Parts, issuers: Sequence[Issuer]) -> None:
    """The keys in the files of other issuers, which change while their names stay."""
    parts.services.sessions.trust(issuers)
    for issuer in issuers:
        log.info("issuer_keys_read", issuer=issuer.name, keys=len(issuer.keys))


def take_over(parts: Parts, wanted: Config) -> None:
    """Let what can change at once be as it is wanted, and name what can't."""
    changed = differences(parts.config, wanted)
    at_once = [name for name in changed if name in AT_ONCE]
    for name in at_once:
        section, _, setting = name.partition(".")
        value = getattr(getattr(wanted, section), setting)
        newer = getattr(parts.config, section).model_copy(update={setting: value})
        parts.config = parts.config.model_copy(update={section: newer})
    set_level(parts.config.log.level)
    parts.services.access.configure(
        log_wish(parts.config, process=parts.services.health.process["number"])
    )
    parts.services.figures.allow = parts.config.metrics.allow
    parts.services.limits.configure(limit_settings(parts.config))
    set_places(parts.config, parts.services)
    parts.services.proxies.trusted = parts.config.server.trusted_proxies
    parts.streams.origins = parts.config.http.cors_origins
    parts.ingest.limits = ingest_limits(parts.config)
    parts.housekeeping.keep(keep_of(parts.config))
    log.info("config_reloaded", changed=at_once)
    later = [name for name in changed if name not in AT_ONCE]
    if later:
        log.warning("config_needs_restart", settings=later)


def differences(one: Config, other: Config) -> list[str]:
    """Settings that are not the same, as `section.name`."""
    before: dict[str, dict[str, Any]] = one.model_dump()
    after: dict[str, dict[str, Any]] = other.model_dump()
    return [
        f"{section}.{name}"
        for section, values in after.items()
        for name, value in values.items()
        if value != before[section][name]
    ]
