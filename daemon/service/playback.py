"""Plays the journal again to the evaluator's memory, block by block as they arrived."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from daemon.domain.alerts import Sample, Transition
from daemon.domain.backtest import Raised, raised
from daemon.domain.block import Block, unpack
from daemon.domain.errors import Invalid
from daemon.domain.kinds import Kind
from daemon.domain.merge import merge, runs
from daemon.domain.rule_request import AlertRule, engine_rule
from daemon.domain.rules import Level
from daemon.domain.samples import samples_of
from daemon.live.registry import Registry
from daemon.service.evaluation import Evaluation
from daemon.service.jobs import Report
from daemon.service.rule_index import BoundRule
from daemon.service.turns import Need, Pair, Turn
from daemon.store.journal import JournalStore

TICK_US = 5_000_000
PAGE_BLOCKS = 500


@dataclass(slots=True)
class _Stored:
    """What the evaluator would have read: the points that had arrived, by series and time."""

    registry: Registry
    points: dict[int, dict[int, Any]] = field(default_factory=dict)

    def take(self, block: Block) -> None:
        block = merge([block])
        for series_id, start, end in runs(block.series_ids):
            is_boolean = bool(self.registry.kinds[series_id] == Kind.BOOLEAN)
            own = self.points.setdefault(series_id, {})
            for sample in samples_of(block, start, end, is_boolean=is_boolean):
                own[sample.time_us] = sample.value

    def read(self, need: Need) -> list[Sample]:
        own = self.points.get(need.pair[1], {})
        times = sorted(t for t in own if t < need.to_us)
        first = max(0, sum(t < need.from_us for t in times) - need.before)
        return [Sample(t, own[t], t) for t in times[first:]]


class Playback:
    """Reads the journal as far back as it is kept."""

    def __init__(self, journal: JournalStore, registry: Registry) -> None:
        self._journal = journal
        self._registry = registry

    async def check(self, start_us: int) -> None:
        """Raises Invalid when the journal does not reach back so far."""
        floor, _ = await self._journal.bounds()
        if floor and await self._journal.end_before(start_us) is None:
            raise Invalid(
                "the journal does not reach back to start_time; leave as_arrived out",
                code="not_kept",
            )

    async def play(
        self,
        rules: Sequence[AlertRule],
        series_ids: np.ndarray[Any, Any],
        *,
        start_us: int,
        end_us: int,
        report: Report,
    ) -> list[list[Raised]]:
        """The alerts of each rule, each played on its own."""
        found = []
        for at, rule in enumerate(rules):
            found.append(await self._play(rule, series_ids, start_us, end_us))
            await report((at + 1) / len(rules), f"candidate {at + 1} of {len(rules)}")
        return found

    async def _play(
        self, rule: AlertRule, series_ids: np.ndarray[Any, Any], start_us: int, end_us: int
    ) -> list[Raised]:
        numbers = itertools.count(1)
        evaluation = Evaluation(self._registry, new_alert_id=lambda: f"alr_{next(numbers)}")
        evaluation.set_rules([_bound(rule)], now_us=start_us)
        stored, turns = _Stored(self._registry), list[Turn]()
        now_us, wanted = start_us, set(series_ids.tolist())
        seq = await self._journal.end_before(start_us) or 0
        while rows := await self._journal.read_after(seq, limit_blocks=PAGE_BLOCKS):
            for row in rows:
                seq = row.seq
                if row.appended_at_us >= end_us:
                    return _alerts(turns, evaluation, now_us, end_us)
                block = _of(unpack(row.body or b""), wanted) if row.body else None
                if block is None or not len(block):
                    continue
                now_us = _tick_until(evaluation, turns, now_us, row.appended_at_us)
                stored.take(block)
                plan = evaluation.plan(block, arrived_us=row.appended_at_us)
                histories: dict[Pair, Sequence[Sample]] = {
                    need.pair: stored.read(need) for need in plan.needs
                }
                _accept(evaluation, turns, evaluation.judge(plan, histories))
        return _alerts(turns, evaluation, now_us, end_us)


def _bound(rule: AlertRule) -> BoundRule:
    return BoundRule(
        rule_id=rule.rule_id,
        name=rule.name,
        metric_name=rule.metric_name,
        level=Level(rule.level),
        rule=engine_rule(rule),
    )


def _of(block: Block, wanted: set[int]) -> Block:
    return block.take(np.flatnonzero(np.isin(block.series_ids, list(wanted))))


def _tick_until(evaluation: Evaluation, turns: list[Turn], now_us: int, until_us: int) -> int:
    """Let the clock tick as it would have; returns the last tick."""
    while now_us + TICK_US <= until_us:
        if not evaluation.is_waiting:
            # Nothing that time could decide: the clock may jump.
            return until_us - (until_us - now_us) % TICK_US
        now_us += TICK_US
        _accept(evaluation, turns, evaluation.tick(now_us))
    return now_us


def _accept(evaluation: Evaluation, turns: list[Turn], turn: Turn) -> None:
    evaluation.accept(turn)
    if turn.decisions:
        turns.append(turn)


def _alerts(turns: list[Turn], evaluation: Evaluation, now_us: int, end_us: int) -> list[Raised]:
    _tick_until(evaluation, turns, now_us, end_us)
    by_device: dict[str, list[Transition]] = {}
    for turn in turns:
        for decision in turn.decisions:
            own = by_device.setdefault(decision.device_id, [])
            own.append(decision.transition)
            if decision.over is not None:
                own.append(decision.over)
    return [alert for device_id, own in by_device.items() for alert in raised(device_id, own)]
