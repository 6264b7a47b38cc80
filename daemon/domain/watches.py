"""Watches: a person's rule about one device that fires once. How it decides is domain/alerts'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from daemon.domain.errors import Invalid
from daemon.domain.quiet_hours import quiet_hours_of
from daemon.domain.rules import Rule, RuleKind

LIFE = timedelta(days=1)
"""How long a watch waits when nothing is said."""
LIFE_MAX = timedelta(days=90)
WIRE_NAMES: Final = {"from_value": "from", "to_value": "to"}
_OWN_NAMES: Final = {wire: own for own, wire in WIRE_NAMES.items()}
_HIDDEN = frozenset({"owner", "revision"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A watch as stored; `owner` is the key or account that made it and alone sees it.

    fired_at, fired_event_time, fired_value  when it was decided, and the sample that did it
    """

    watch_id: str
    owner: str
    device_id: str
    metric_name: str
    from_value: Any = None
    to_value: Any = None
    quiet_hours: dict[str, Any] | None = None
    notification_channels: list[str]
    expires_at: datetime
    revision: int = 1
    fired_at: datetime | None = None
    fired_event_time: datetime | None = None
    fired_value: Any = None
    created_at: datetime
    updated_at: datetime


def new_watch(fields: Mapping[str, Any], *, watch_id: str, owner: str, now: datetime) -> Watch:
    """The watch that a request asks for, its fields by their names on the wire. Raises Invalid."""
    said = {name: value for name, value in fields.items() if value is not None}
    blank = Watch(
        watch_id=watch_id,
        owner=owner,
        device_id=said["device_id"],
        metric_name=said["metric_name"],
        notification_channels=[],
        expires_at=now + LIFE,
        created_at=now,
        updated_at=now,
    )
    return _checked(replace(blank, **_own(said)), now)


def changed_watch(watch: Watch, changes: Mapping[str, Any], *, now: datetime) -> Watch:
    """The watch with these fields changed. Raises Invalid."""
    own = _own(changes)
    if own.get("expires_at", now) is None:
        own["expires_at"] = now + LIFE
    return _checked(replace(watch, **own, revision=watch.revision + 1), now)


def shown(watch: Watch, *, now: datetime) -> dict[str, Any]:
    """The watch as its owner sees it."""
    found = {
        WIRE_NAMES.get(name, name): getattr(watch, name)
        for name in Watch.__slots__
        if name not in _HIDDEN
    }
    return found | {"state": state_of(watch, now=now)}


def state_of(watch: Watch, *, now: datetime) -> str:
    """waiting, fired or expired."""
    if watch.fired_at is not None:
        return "fired"
    return "waiting" if watch.expires_at > now else "expired"


def engine_rule(watch: Watch) -> Rule:
    """What decides it: it fires at the first transition, and is never over."""
    return Rule(
        kind=RuleKind.TRANSITION,
        from_value=watch.from_value,
        to_value=watch.to_value,
        cooldown_us=0,
        auto_resolve=False,
    )


def _own(fields: Mapping[str, Any]) -> dict[str, Any]:
    own = {_OWN_NAMES.get(name, name): value for name, value in fields.items()}
    if "notification_channels" in own:
        own["notification_channels"] = list(dict.fromkeys(own["notification_channels"] or ()))
    return own


def _checked(watch: Watch, now: datetime) -> Watch:
    if watch.from_value is not None and watch.from_value == watch.to_value:
        raise _wrong("to", "from and to are the same, so nothing is a transition")
    if not now < watch.expires_at <= now + LIFE_MAX:
        raise _wrong("expires_at", f"expires_at lies in the next {LIFE_MAX.days} days")
    if watch.quiet_hours is not None:
        quiet_hours_of(watch.quiet_hours)
    return watch


def _wrong(name: str, detail: str) -> Invalid:
    errors = [{"pointer": f"/{name}", "code": "bad_value", "detail": detail}]
    return Invalid(f"The watch is not possible: {detail}.", errors=errors)
