"""Backtests: what a rule would have done over stored history, decided by the live engine.

By event time whole series are judged by columns; `as_arrived` plays the journal again, so that late
points are judged as they would have been.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.clock import Clock, as_datetime
from daemon.domain.access import Principal
from daemon.domain.alerts import Tick, Transition, step, timeline
from daemon.domain.backtest import Raised, candidates, raised, summary
from daemon.domain.block import Block
from daemon.domain.errors import Invalid
from daemon.domain.kinds import Kind
from daemon.domain.merge import runs
from daemon.domain.replay import replay
from daemon.domain.rule_request import AlertRule, engine_rule, new_rule, shown
from daemon.domain.rules import Rule
from daemon.domain.samples import samples_of
from daemon.live.registry import Registry
from daemon.service.history import History
from daemon.service.jobs import Report
from daemon.service.playback import Playback
from daemon.service.rule_facts import RuleFacts
from daemon.service.rules import Rules
from daemon.service.tail import Tail
from daemon.store.pool import Database

BACKTEST = "backtest"
BATCH_POINTS = 2_000_000
"""Series are read together up to so many points."""
ALERTS_SHOWN_MAX = 10_000
_UNDECIDING = frozenset(
    {"rule_id", "revision", "total_triggers", "last_triggered", "created_at", "updated_at"}
    | {"created_by", "enabled", "shadow", "notification_channels"}
)


@dataclass(frozen=True, slots=True)
class BacktestRequest:
    """What is asked: a rule's fields, or a stored rule, over [start_us, end_us)."""

    rule: Mapping[str, Any] | None
    rule_id: str | None
    start_us: int
    end_us: int
    settings: Mapping[str, Sequence[Any]]
    as_arrived: bool = False


class Backtests:
    """Makes the parameters of a job, and is its handler."""

    def __init__(
        self, history: History, *, rules: Rules, facts: RuleFacts, playback: Playback, clock: Clock
    ) -> None:
        self._history = history
        self._rules = rules
        self._facts = facts
        self._playback = playback
        self._clock = clock

    @property
    def _registry(self) -> Registry:
        return self._history.registry

    async def params(self, request: BacktestRequest, *, by: Principal) -> dict[str, Any]:
        """The checked parameters of a job. Raises Invalid and NotFound."""
        if request.start_us >= request.end_us:
            raise Invalid("start_time is not before end_time", code="bad_range")
        fields = await self._fields(request, by)
        settings = {name: list(values) for name, values in request.settings.items()}
        tried = candidates(fields, settings)
        rules = [self._rule(with_fields) for _, with_fields in tried]
        if any(rule.metric_name != rules[0].metric_name for rule in rules):
            raise Invalid("all candidates are about one metric", code="bad_value")
        if request.as_arrived:
            await self._playback.check(request.start_us)
        return {
            "rule": fields,
            "set": settings,
            "metric_name": rules[0].metric_name,
            "start_us": request.start_us,
            "end_us": request.end_us,
            "as_arrived": request.as_arrived,
            "devices": self._visible(rules[0], by),
        }

    async def _fields(self, request: BacktestRequest, by: Principal) -> dict[str, Any]:
        if (request.rule is None) == (request.rule_id is None):
            raise Invalid("name either rule or rule_id", code="bad_value")
        if request.rule is not None:
            return {"name": "backtest"} | dict(request.rule)
        assert request.rule_id is not None
        stored = shown(await self._rules.show(request.rule_id, by=by))
        return {n: v for n, v in stored.items() if n not in _UNDECIDING and v is not None}

    def _rule(self, fields: Mapping[str, Any]) -> AlertRule:
        now = as_datetime(self._clock.now_us())
        return new_rule(fields, rule_id=BACKTEST, now=now, by=BACKTEST)

    def _visible(self, rule: AlertRule, by: Principal) -> list[str] | None:
        """The devices that the rule watches and the asker sees; None: all."""
        seen = self._facts.seen_targets(rule, by=by)
        return None if seen is None else sorted(seen)

    # -- the job --------------------------------------------------------------------------------

    async def __call__(self, params: dict[str, Any], report: Report) -> dict[str, Any]:
        """The alerts of the first candidate, and numbers of each."""
        tried = candidates(params["rule"], params["set"])
        rules = [self._rule(fields) for _, fields in tried]
        engines = [engine_rule(rule) for rule in rules]
        ids = self._registry.select(devices=params["devices"], metrics=[params["metric_name"]])
        series_ids = np.array(sorted(ids), np.int32)
        start_us, end_us = params["start_us"], params["end_us"]
        if params["as_arrived"]:
            found = await self._playback.play(
                rules,
                series_ids,
                start_us=start_us,
                end_us=min(end_us, self._clock.now_us()),
                report=report,
            )
        else:
            found = [[] for _ in engines]
            async for share, block in self._blocks(series_ids, engines, start_us, end_us):
                await asyncio.to_thread(self._judge, block, engines, params, found)
                await report(share, f"{share:.0%} of {len(series_ids)} series")
        return _result(found, [chosen for chosen, _ in tried], params)

    async def _blocks(
        self, series_ids: np.ndarray[Any, Any], engines: Sequence[Rule], start_us: int, end_us: int
    ) -> AsyncIterator[tuple[float, Block]]:
        """(share done, points) of some series at a time, sorted by series, then time."""
        from_us = start_us - max(rule.memory_us for rule in engines)
        whole = await self._history.snapshot(series_ids, start_us=from_us, end_us=end_us)
        volumes = await whole.volumes(points_max=None)
        batch: list[int] = []
        points = done = 0
        for series_id in series_ids.tolist():
            batch.append(series_id)
            points += volumes.get(series_id, 0)
            if points >= BATCH_POINTS or len(batch) + done == len(series_ids):
                of = np.array(batch, np.int32)
                part = await self._history.snapshot(of, start_us=from_us, end_us=end_us)
                done += len(batch)
                yield done / len(series_ids), await part.points()
                batch, points = [], 0

    def _judge(
        self,
        block: Block,
        engines: Sequence[Rule],
        params: Mapping[str, Any],
        found: list[list[Raised]],
    ) -> None:
        for series_id, start, end in runs(block.series_ids):
            device_id = self._registry.device_of[series_id] or ""
            is_boolean = bool(self._registry.kinds[series_id] == Kind.BOOLEAN)
            own = block.take(np.arange(start, end))
            for at, rule in enumerate(engines):
                level_us = min(params["end_us"], self._clock.now_us())
                found[at] += raised(device_id, _transitions(rule, own, is_boolean, level_us))


def _transitions(rule: Rule, block: Block, is_boolean: bool, end_us: int) -> list[Transition]:
    """Those of one series up to the end, by when silence has been judged too."""
    if block.objects or is_boolean:
        state, found = timeline(rule, samples_of(block, is_boolean=is_boolean))
    else:
        state, found = replay(rule, block.times_us, block.numbers)
    return found + step(state, Tick(end_us), rule)[1]


def _result(
    found: Sequence[Sequence[Raised]], sets: Sequence[dict[str, Any]], params: Mapping[str, Any]
) -> dict[str, Any]:
    start_us, end_us = params["start_us"], params["end_us"]
    # What fired before may be open still; it is no alert of this time.
    firing = [sum(alert.resolved_us is None for alert in alerts) for alerts in found]
    ranked = [
        sorted(
            (a for a in alerts if a.fired_us >= start_us), key=lambda a: (a.fired_us, a.device_id)
        )
        for alerts in found
    ]
    said = [
        {
            "set": chosen,
            "summary": _shown(summary(alerts, start_us=start_us, end_us=end_us)),
            "firing_at_end": still,
        }
        for chosen, alerts, still in zip(sets, ranked, firing, strict=True)
    ]
    return {
        "alerts": [_alert(alert) for alert in ranked[0][:ALERTS_SHOWN_MAX]],
        "truncated": len(ranked[0]) > ALERTS_SHOWN_MAX,
        "summary": said[0]["summary"],
        "candidates": said,
        "start_time": as_datetime(start_us),
        "end_time": as_datetime(end_us),
        "as_arrived": params["as_arrived"],
    }


def _alert(alert: Raised) -> dict[str, Any]:
    ended_us = alert.resolved_us
    return {
        "device_id": alert.device_id,
        "event_time": as_datetime(alert.fired_us),
        "resolved_at": None if ended_us is None else as_datetime(ended_us),
        "resolved_reason": alert.reason,
        "value": alert.value,
    }


def _shown(numbers: dict[str, Any]) -> dict[str, Any]:
    hour_us = numbers.pop("noisiest_hour_us")
    return numbers | {"noisiest_hour": None if hour_us is None else as_datetime(hour_us)}


def make_backtests(
    database: Database, *, tail: Tail, rules: Rules, facts: RuleFacts, clock: Clock
) -> Backtests:
    """Backtests over what this process reads."""
    history = History(database, tail.registry, tail.head, clock)
    playback = Playback(tail.journal, tail.registry)
    return Backtests(history, rules=rules, facts=facts, playback=playback, clock=clock)
