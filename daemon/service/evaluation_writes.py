"""The rows that a turn of the evaluator writes: alerts in their words, why, and events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from daemon.clock import as_datetime
from daemon.domain.absence import Scope
from daemon.domain.alerts import Change, Reason, Transition
from daemon.domain.ids import new_id
from daemon.domain.rules import Level, RuleKind
from daemon.live.registry import Registry
from daemon.service.turns import WIDE, Decision, Turn
from daemon.store.evaluation import Round, Row, Writes

BY = "telemetryd"
BREACHES_SHOWN_MAX = 100
WATCH_FIRED = "watch.fired"


def writes_of(turn: Turn, *, registry: Registry, now_us: int) -> Writes:
    """What the turn writes; decisions of one pair come in rounds, in their order."""
    writes, rank = Writes(), dict[tuple[str, int], int]()
    for decision in turn.decisions:
        if decision.bound.is_watch:
            _fire_watch(writes, decision, now_us)
            continue
        pair = (decision.bound.rule_id, decision.series_id)
        at = rank[pair] = rank.get(pair, -1) + 1
        if at == len(writes.rounds):
            writes.rounds.append(Round())
        _write(writes, writes.rounds[at], decision, now_us)
    for (rule_id, series_id), samples in turn.too_late.items():
        device_id = registry.device_of[series_id]
        if device_id is not None:
            row = {"rule_id": rule_id, "device_id": device_id, "samples": samples}
            writes.late.append(row)
    return writes


def _write(writes: Writes, one: Round, decision: Decision, now_us: int) -> None:
    transition, over = decision.transition, decision.over
    match transition.to:
        case Change.FIRED:
            row = _fired_row(decision, now_us)
            if over is not None:
                row |= {"status": "resolved", "resolved_by": BY} | _resolution(over, now_us)
            one.fire.append(row)
        case Change.RESOLVED:
            resolution = _resolution(transition, now_us)
            resolution["last_breach"] = _newest_breach(transition)
            one.resolve.append({"alert_id": decision.alert_id} | resolution)
        case Change.STALE | Change.FRESH:
            is_stale = transition.to is Change.STALE
            one.stale.append({"alert_id": decision.alert_id, "is_stale": is_stale})
    for step in (transition, over):
        if step is not None:
            writes.steps.append(_step_row(decision, step, now_us))
            _tell(writes.events, decision, step, now_us)


def _fire_watch(writes: Writes, decision: Decision, now_us: int) -> None:
    """A watch makes no alert: it is marked, and its owner is told, once."""
    bound, fired = decision.bound, decision.transition
    if fired.to is not Change.FIRED:
        return
    data = {
        "watch_id": bound.rule_id,
        "device_id": decision.device_id,
        "metric_name": bound.metric_name,
        "value": fired.value,
        "event_time": as_datetime(fired.at_us),
        "fired_at": as_datetime(now_us),
    }
    message = f"{bound.metric_name} of {decision.device_id} became {_short(fired.value)}"
    writes.watches.append(
        {
            "watch_id": bound.rule_id,
            "fired_at": data["fired_at"],
            "event_time": data["event_time"],
            "value": fired.value,
            "payload": {"type": WATCH_FIRED, "title": message, "message": message, **data},
        }
    )
    writes.events.append(
        {
            "event_id": new_id("evt", now_us=now_us),
            "type": WATCH_FIRED,
            "severity": bound.level,
            "subject": bound.rule_id,
            "message": message,
            "data": data,
            "device_id": decision.device_id,
            "metric_name": bound.metric_name,
            "occurred_at": data["fired_at"],
            "created_by": BY,
            "dedup_id": f"{bound.rule_id}:fired",
            "alert_id": bound.rule_id,
        }
    )


def _fired_row(decision: Decision, now_us: int) -> Row:
    bound, transition = decision.bound, decision.transition
    rule = bound.rule
    is_threshold = rule.kind is RuleKind.THRESHOLD
    return {
        "alert_id": decision.alert_id,
        "rule_id": bound.rule_id,
        "rule_name": bound.name,
        "rule_revision": bound.revision,
        "series_id": None if decision.series_id == WIDE else decision.series_id,
        "device_id": decision.device_id or None,
        "scope": decision.scope,
        "group_id": decision.group_id,
        "metric_name": bound.metric_name,
        "level": bound.level,
        "status": "active",
        "is_shadow": bound.is_shadow,
        "by_silence": transition.reason is Reason.ABSENT,
        "value": transition.value,
        "condition": rule.condition if is_threshold else None,
        "threshold_value": rule.threshold if is_threshold else None,
        "message": message_of(decision, transition),
        "triggered_at": as_datetime(now_us),
        "event_time": as_datetime(transition.at_us),
        "last_breach": _newest_breach(transition),
    }


def message_of(decision: Decision, transition: Transition) -> str:
    """One sentence for people: what is wrong with which device."""
    bound, device_id = decision.bound, decision.device_id
    rule, value = bound.rule, transition.value
    if transition.reason is Reason.ABSENT:
        return f"{bound.name}: {_silence_of(decision)}"
    if rule.kind is RuleKind.TRANSITION:
        return f"{bound.name}: {bound.metric_name} of {device_id} became {value}"
    return (
        f"{bound.name}: {bound.metric_name} of {device_id} is {_short(value)} "
        f"({rule.condition} {_short(rule.threshold)})"
    )


def _silence_of(decision: Decision) -> str:
    metric_name, counts = decision.bound.metric_name, decision.inputs or {}
    match decision.scope:
        case Scope.DEVICE:
            return f"{decision.device_id} is silent; it has sent no {metric_name}"
        case Scope.GROUP:
            where = "" if decision.group_id is None else f" of {counts.get('group')}"
            missing = counts.get("silent", 0) + counts.get("about_to_be", 0)
            return f"{missing} of {counts.get('watched')} devices{where} send no {metric_name}"
        case Scope.INGEST:
            return f"points can't be taken in, so there is no {metric_name}"
        case _:
            return f"{decision.device_id} has sent no {metric_name}"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _newest_breach(transition: Transition) -> datetime:
    times = transition.breach_times_us
    return as_datetime(times[-1] if times else transition.at_us)


def _resolution(transition: Transition, now_us: int) -> Row:
    # The contract knows no data that returned: what was missed is there again, so it is cleared.
    is_silence = transition.reason is Reason.NO_DATA
    return {
        "resolved_at": as_datetime(now_us),
        "resolved_reason": "no_data" if is_silence else "cleared",
        "resolved_event_time": as_datetime(transition.at_us),
    }


def _step_row(decision: Decision, step: Transition, now_us: int) -> Row:
    return {
        "alert_id": decision.alert_id,
        "at": as_datetime(now_us),
        "event_time": as_datetime(step.at_us),
        "to": step.to,
        "reason": step.reason,
        "inputs": _silence_inputs(decision) or inputs_of(decision, step),
    }


def _silence_inputs(decision: Decision) -> Row:
    """What is known of a silence; empty where samples decided."""
    if decision.inputs is None:
        return {}
    group = {} if decision.group_id is None else {"group_id": decision.group_id}
    return {
        "scope": decision.scope,
        **group,
        **decision.inputs,
        "rule_revision": decision.bound.revision,
    }


def inputs_of(decision: Decision, step: Transition) -> Row:
    """What decided it (B1): the breaches that counted, when the deciding sample came, and what
    they were held against."""
    rule, arrived_us = decision.bound.rule, decision.arrived_us
    return {
        "arrived": None if arrived_us is None else as_datetime(arrived_us),
        "value": step.value,
        "condition": rule.condition,
        "threshold_value": rule.threshold,
        "resolve_threshold": rule.resolve_threshold,
        "breaches": _times(step.breach_times_us[-BREACHES_SHOWN_MAX:]),
        "trigger_count": rule.trigger_count,
        "evaluation_window": rule.window_us / 1e6,
        "held_since": None if step.held_since_us is None else as_datetime(step.held_since_us),
        "for": rule.hold_us / 1e6,
        "auto_resolve_timeout": rule.resolve_after_us / 1e6,
        "rule_revision": decision.bound.revision,
    }


def _times(times_us: Sequence[int]) -> list[datetime]:
    return [as_datetime(time_us) for time_us in times_us]


def _tell(events: list[Row], decision: Decision, step: Transition, now_us: int) -> None:
    """Shadow rules are recorded, and tell no one."""
    names = {Change.FIRED: "triggered", Change.RESOLVED: "resolved"}
    if step.to not in names or decision.bound.is_shadow:
        return
    bound, name = decision.bound, names[step.to]
    message = message_of(decision, decision.transition)
    events.append(
        {
            "event_id": new_id("evt", now_us=now_us),
            "type": f"alert.{name}",
            "severity": bound.level if step.to is Change.FIRED else Level.INFO,
            "subject": decision.alert_id,
            "message": message if step.to is Change.FIRED else f"{bound.name} is over",
            "device_id": decision.device_id or None,
            "metric_name": bound.metric_name,
            "occurred_at": as_datetime(now_us),
            "created_by": BY,
            "dedup_id": f"{decision.alert_id}:{name}",
            "alert_id": decision.alert_id,
        }
    )
