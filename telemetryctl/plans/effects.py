"""What a plan does to alerts: how many that are open would end, how many would begin.

The server says which end, by the decision that a change goes through. What would begin comes from a
backtest of the last hour: devices for which the rule as it will be fires and has not resolved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from telemetryctl import times
from telemetryctl.failures import Failure
from telemetryctl.plans.objects import Fields
from telemetryctl.plans.plan import Action, Change, Plan

if TYPE_CHECKING:
    from telemetryctl.client.http import Client

LOOKED_BACK = timedelta(hours=1)
RULES_MAX = 50
"""Over this many changed rules nobody waits for all their backtests; the rest is not known."""
OPEN = "active,acknowledged"
_UNDECIDING = frozenset(
    {"enabled", "shadow", "notification_channels", "description", "level", "tags", "quiet_hours"}
)
_WHOM = frozenset({"device_ids", "device_groups", "enabled"})
Result = Callable[[str], dict[str, Any]]
"""Waits for the job of this id and returns its result."""


@dataclass(slots=True)
class Effect:
    """Alerts that would begin and end; `unknown` names rules for which nobody can say."""

    opens: int = 0
    closes: int = 0
    unknown: list[str] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """For programs."""
        return {"would_open": self.opens, "would_close": self.closes, "not_known": self.unknown}

    def told(self) -> str:
        """For eyes."""
        rest = f"; not known of {', '.join(self.unknown)}" if self.unknown else ""
        return f"effect now: {self.opens} would start firing, {self.closes} would resolve{rest}"


def effect_of(client: Client, plan: Plan, *, result: Result) -> Effect | None:
    """What the plan does to alerts; None when it changes no rule."""
    changes = [change for change in plan.changes if change.kind.word == "rule"]
    if not changes:
        return None
    new_groups = {c.name for c in plan.changes if c.kind.word == "group"}
    found = Effect()
    for at, change in enumerate(changes):
        try:
            if at >= RULES_MAX or new_groups & set(_groups(change)):
                found.unknown.append(change.name)
            else:
                _add(client, plan, change, found, result)
        except Failure:
            found.unknown.append(change.name)
    return found


def _groups(change: Change) -> list[str]:
    own: Fields = change.fields | ({} if change.live is None else change.live.fields)
    return list(change.fields.get("device_groups", own.get("device_groups")) or ())


def _add(client: Client, plan: Plan, change: Change, found: Effect, result: Result) -> None:
    """Add one rule's part."""
    if change.live is None:
        found.opens += _firing(client, change.fields, result)
        return
    live = change.live
    open_now = int(client.list_alerts(rule_id=live.object_id, status=OPEN, limit=1)["total"])
    if change.action is Action.DELETE:
        found.closes += open_now
        return
    changes = change.kind.wire(change.fields, plan.names)
    seen = client.preview_rule(live.object_id, changes=changes)
    closes = int(seen["closed_alerts"])
    opens = 0
    if seen["decides_anew"] or _WHOM & set(changes):
        firing = _firing(client, live.fields | change.fields, result)
        opens = max(0, firing - (open_now - closes))
    found.closes += closes
    found.opens += opens


def _firing(client: Client, fields: Fields, result: Result) -> int:
    """For how many devices a rule of these fields would have an alert open now."""
    if not fields.get("enabled", True):
        return 0
    rule = {n: v for n, v in fields.items() if n not in _UNDECIDING and v is not None}
    now = times.now()
    queued = client.backtest_rule(
        {
            "rule": rule | {"name": "apply"},
            "start_time": times.format_rfc3339(now - LOOKED_BACK),
            "end_time": times.format_rfc3339(now),
        }
    )
    return int(result(str(queued["job_id"]))["candidates"][0]["firing_at_end"])
