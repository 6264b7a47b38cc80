"""Follows the journal with the evaluator's memory: reads what a turn needs, writes what it says.

What is decided is service/evaluation's; when is decided in workers/evaluator.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from daemon import faults
from daemon.clock import Clock
from daemon.domain.alerts import Episode, OpenAlert, Sample
from daemon.domain.block import Int32s
from daemon.domain.figures import DELAY_SECONDS, Histogram
from daemon.domain.ids import new_id
from daemon.domain.kinds import Kind
from daemon.domain.merge import merge
from daemon.domain.rule_request import AlertRule, engine_rule
from daemon.domain.rules import Level, NoData, RuleKind
from daemon.domain.samples import samples_of
from daemon.domain.watches import Watch
from daemon.domain.watches import engine_rule as engine_rule_of_watch
from daemon.live.latest import NEVER_US
from daemon.live.ring import Ring
from daemon.service.backlog import Backlog
from daemon.service.block_feed import BlockFeed
from daemon.service.evaluation import EPISODES_MAX, Evaluation
from daemon.service.evaluation_writes import writes_of
from daemon.service.history import History
from daemon.service.intake import Intake, IntakeNumbers
from daemon.service.rule_index import BoundRule
from daemon.service.silence import Heard, Moment, Quiet, SilenceWatch, watches
from daemon.service.silence_past import SilencePast
from daemon.service.tail import Tail
from daemon.service.turns import Need, Pair, Plan, Turn
from daemon.store.evaluation import EvaluationStore, Known, Versions, Writes
from daemon.store.leases import Grant

EVALUATOR = "evaluator"
POSITION_EVERY = 1_000
"""A turn that writes nothing moves the stored position after so many numbers only."""
POSITION_EVERY_US = 1_000_000
SAMPLES_ON_LOOP_MAX = 20_000
"""More stored samples than these are made and judged in a thread: that takes a second and more."""
LOOK_BACK_US = 7 * 86_400_000_000
"""How far back single samples before a range are looked for."""


class Evaluating:
    """The evaluator of this process; it works only while its lease is held."""

    def __init__(
        self, store: EvaluationStore, *, history: History, tail: Tail, ring: Ring, clock: Clock
    ) -> None:
        self._store = store
        self._history = history
        self._tail = tail
        self._feed = BlockFeed(tail, ring, clock=clock)
        self._clock = clock
        self._silence = self._new_watch()
        self.intake = Intake(lambda: IntakeNumbers(0, 0, False), now_us=clock.now_us())
        self._evaluation = self._blank()
        self._versions = Versions(0, 0)
        self._seen = (0, 0)
        self._stored = 0
        self._stored_us = 0
        self._judged_by_these = 0
        self._judges = False
        self.position = 0
        self.judged_points = 0
        self.turns = 0
        self.delay_s = Histogram(DELAY_SECONDS)

    def _blank(self) -> Evaluation:
        return Evaluation(self._tail.registry, new_alert_id=self._new_alert_id)

    def _new_watch(self) -> SilenceWatch:
        tail = self._tail
        return SilenceWatch(tail.registry, tail.latest, new_alert_id=self._new_alert_id)

    def _new_alert_id(self) -> str:
        return new_id("alr", now_us=self._clock.now_us())

    # -- beginning ------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Begin here, the first time there is an evaluator."""
        await self._store.begin(EVALUATOR, position=self._tail.position)

    async def begin(self, position: int) -> None:
        """Know the rules and alerts, and go on behind this position. Raises TryLater."""
        now_us, seen = self._clock.now_us(), self._catalog_seen()
        stored = position
        if stored == self._stored:
            # What this process judged since had no consequences, so it need not be judged again;
            # but for what it may have judged by rules that were changed meanwhile.
            position = max(stored, self._judged_by_these)
        known = await self._store.known(alerts_max=EPISODES_MAX)
        bound = [
            replace(one, since=known.marks.get(one.rule_id, 0))
            for one in (*self._bound(known.rules), *map(_bound_watch, known.watches))
        ]
        # Without any rule or watch, blocks cost nothing; what is newest is looked up by the next
        # begin.
        self._judges = bool(bound)
        evaluation = self._blank()
        evaluation.set_rules(_judged_by_samples(bound), now_us=now_us)
        # What was learned goes on from where it was, and nowhere else.
        silence = self._silence if position == self.position else self._new_watch()
        fresh = silence.set_rules(bound)
        _remember(evaluation, silence, known)
        ids = np.array(self._tail.registry.select(), np.int32)
        if len(ids):
            backlog = Backlog(self._tail, self._feed, self._history, position)
            judged_us = await backlog.newest_judged(ids)
            evaluation.set_newest(ids.astype(np.int64), judged_us)
            await self._learn(silence, fresh, dict(zip(ids.tolist(), judged_us, strict=True)))
        self._evaluation, self._silence = evaluation, silence
        self._versions = known.versions
        self._seen = seen
        self.position, self._stored = position, stored
        self._judged_by_these = position
        self._stored_us = now_us

    async def _learn(
        self, silence: SilenceWatch, fresh: Int32s, judged: Mapping[int, np.int64]
    ) -> None:
        """What series that are watched for the first time sent so far."""
        past = SilencePast(self._store, self._history, self._tail.latest, self._clock)
        judged_us = np.array([judged.get(i, NEVER_US) for i in fresh.tolist()], np.int64)
        await past.load(silence.cadences, fresh, judged_us=judged_us)

    def _bound(self, rules: Sequence[AlertRule]) -> list[BoundRule]:
        membership = self._tail.registry.membership
        bound = []
        for rule in rules:
            # A group that is gone has nobody.
            groups = [found for name in rule.device_groups if (found := membership.find(name))]
            devices = frozenset(rule.device_ids) | membership.members(groups)
            bound.append(
                BoundRule(
                    rule_id=rule.rule_id,
                    name=rule.name,
                    metric_name=rule.metric_name,
                    level=Level(rule.level),
                    rule=engine_rule(rule),
                    devices=devices if rule.has_targets else None,
                    group_ids=tuple(groups) if not rule.device_ids else (),
                    is_shadow=rule.shadow,
                    revision=rule.revision,
                )
            )
        return bound

    def _catalog_seen(self) -> tuple[int, int]:
        registry = self._tail.registry
        return registry.version, registry.membership.version

    async def is_current(self) -> bool:
        """Whether the rules, their devices and the alerts are still those it began with."""
        position = self.position
        if self._seen != self._catalog_seen() or await self._store.versions() != self._versions:
            return False
        self._judged_by_these = position
        return True

    # -- turns ----------------------------------------------------------------------------------

    async def turn(self, grant: Grant) -> bool:
        """Judge what comes next; False when there is nothing. Raises LeaseLost, TryLater."""
        self.intake.look(self._clock.now_us())
        mark = self._evaluation.next_mark(self.position)
        level = self._tail.position
        upto = level if mark is None else min(mark, level)
        page = await self._feed.after(self.position, upto=upto)
        if page.to == self.position:
            return False
        if page.blocks and self._judges:
            block = merge(page.blocks)
            plan = self._evaluation.plan(block, arrived_us=page.arrived_us, position=page.to)
            heard = self._silence.hear(block, arrived_us=page.arrived_us)
            histories = await self._read(plan.needs)
            turn = await self._judge(plan, histories)
            turn.decisions[:0] = self._silence.returned(heard)
            await self._write(grant, turn, to=page.to, heard=heard)
            self.judged_points += len(block)
            self.delay_s.observe(max(0, self._clock.now_us() - page.arrived_us) / 1e6)
        else:
            await self._write(grant, Turn(), to=page.to)
        self.turns += 1
        return True

    async def _judge(self, plan: Plan, histories: Mapping[Pair, Sequence[Sample]]) -> Turn:
        """The turn of a plan; of a large one made beside the loop, which serves requests.

        Nothing is changed by it, and nobody else changes what it reads before it is accepted.
        """
        samples = sum(map(len, histories.values()))
        if samples <= SAMPLES_ON_LOOP_MAX:
            return self._evaluation.judge(plan, histories)
        return await asyncio.to_thread(self._evaluation.judge, plan, histories)

    async def tick(self, grant: Grant, *, level_us: int) -> None:
        """Let the wall clock decide for devices that fell silent.

        `level_us` is a time up to which everything that was committed has been judged.
        """
        cold = self._evaluation.cold_open
        needs = [self._evaluation.need_before(pair, level_us) for pair in cold]
        histories = await self._read(needs)
        for pair in cold:
            self._evaluation.warm(pair, histories.get(pair, ()))
        turn = self._evaluation.tick(level_us)
        ended = {(d.bound.rule_id, d.series_id) for d in turn.decisions}
        moment = Moment(
            now_us=level_us,
            since_us=self.intake.since_us,
            down_us=self.intake.down_us(),
            is_unsure=self.intake.is_unsure,
            busy=self._evaluation.open_alerts.keys() | ended,
        )
        turn.decisions += self._silence.tick(moment)
        # What was judged without consequences is written down too, so that all see it is judged.
        if turn.decisions or self.position > self._stored:
            await self._write(grant, turn, to=self.position)

    async def _write(
        self, grant: Grant, turn: Turn, *, to: int, heard: Heard | None = None
    ) -> None:
        """One transaction; only what it has committed is remembered."""
        now_us = self._clock.now_us()
        writes = writes_of(turn, registry=self._tail.registry, now_us=now_us)
        is_due = to - self._stored >= POSITION_EVERY or now_us - self._stored_us > POSITION_EVERY_US
        if not writes.is_empty or (is_due and to > self._stored):
            _pass(faults.Point.EVALUATION_BEFORE_COMMIT, writes)
            await self._store.write(
                grant, writes, position=self._stored, to=to, versions=self._versions
            )
            _pass(faults.Point.EVALUATION_AFTER_COMMIT, writes)
            self._stored, self._stored_us = to, now_us
            self._judged_by_these = to
            if not writes.is_empty:
                self._tail.wake()
        self._evaluation.accept(turn)
        self._silence.accept(turn.decisions, heard)
        self.position = to

    # -- stored samples -------------------------------------------------------------------------

    async def _read(self, needs: Sequence[Need]) -> dict[Pair, list[Sample]]:
        """Samples by pair; rules that look back equally far share those of a series."""
        found: dict[Pair, list[Sample]] = {}
        read: dict[tuple[int, int, int, int], list[Sample]] = {}
        for need in needs:
            asked = (need.pair[1], need.from_us, need.to_us, need.before)
            if asked not in read:
                read[asked] = await self._samples(need)
            found[need.pair] = read[asked]
        return found

    async def _samples(self, need: Need) -> list[Sample]:
        series_id = need.pair[1]
        ids = np.array([series_id], np.int32)
        start_us = need.from_us - (LOOK_BACK_US if need.before else 0)
        snapshot = await self._history.snapshot(ids, start_us=start_us, end_us=need.to_us)
        block = await snapshot.points()
        first = int(np.searchsorted(block.times_us, need.from_us)) - need.before
        is_boolean = bool(self._tail.registry.kinds[series_id] == Kind.BOOLEAN)
        samples = samples_of(block, max(0, first), is_boolean=is_boolean)
        if len(block) <= SAMPLES_ON_LOOP_MAX:
            return list(samples)
        return await asyncio.to_thread(list, samples)


def _pass(point: faults.Point, writes: Writes) -> None:
    """Points are counted by turns that decide something; a position alone loses nothing."""
    if not writes.is_empty:
        faults.point(point)


def _bound_watch(watch: Watch) -> BoundRule:
    return BoundRule(
        rule_id=watch.watch_id,
        name=watch.watch_id,
        metric_name=watch.metric_name,
        level=Level.INFO,
        rule=engine_rule_of_watch(watch),
        devices=frozenset({watch.device_id}),
        is_watch=True,
        revision=watch.revision,
    )


def _judged_by_samples(bound: Iterable[BoundRule]) -> list[BoundRule]:
    """The rules as far as samples decide; their silence is watched apart, and until it is over an
    open alert stays."""
    return [
        replace(one, rule=replace(one.rule, no_data=NoData.KEEP)) if watches(one) else one
        for one in bound
        if one.rule.kind is not RuleKind.ABSENCE
    ]


def _remember(evaluation: Evaluation, silence: SilenceWatch, known: Known) -> None:
    """Take over the stored alerts, oldest first."""
    past: dict[Pair, list[Episode]] = {}
    for one in known.alerts:
        pair = (one.rule_id, one.series_id)
        past.setdefault(pair, []).append(Episode(one.fired_us, one.ended_us))
        silence.note_fired(pair, one.fired_us)
        if one.ended_us is not None:
            continue
        if one.by_silence:
            silence.set_open(pair, Quiet(one.alert_id, one.fired_us, one.last_breach_us))
        else:
            alert = OpenAlert(one.fired_us, one.last_breach_us, one.is_stale)
            evaluation.set_open(pair, alert_id=one.alert_id, alert=alert)
    for pair, episodes in past.items():
        evaluation.set_past(pair, episodes)
    for wide in known.wide:
        key = (wide.rule_id, wide.scope, wide.group_id)
        silence.note_wide_fired(key, wide.fired_us)
        if wide.is_open:
            silence.set_wide(key, Quiet(wide.alert_id, wide.fired_us, wide.heard_us))
