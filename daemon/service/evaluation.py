"""Judges blocks and ticks by all rules at once: rows that no rule asks about cost a few array
operations, the others go to domain/alerts. What comes of it is written by workers/evaluator.

Nothing here waits and nothing is remembered before `accept`: a turn whose transaction failed is
forgotten and judged again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from daemon.domain.alerts import (
    GAPS_MAX,
    Change,
    Episode,
    OpenAlert,
    PairState,
    Sample,
    Tick,
    Transition,
    is_idle,
    rebuild,
    step,
)
from daemon.domain.block import Block, Int64s
from daemon.domain.kinds import Kind
from daemon.domain.late_samples import judge_late
from daemon.domain.merge import runs, winners
from daemon.domain.rules import SECOND_US, NoData, RuleKind, breaches
from daemon.domain.samples import samples_of
from daemon.live.registry import Registry
from daemon.service.rule_index import BoundRule, RuleIndex
from daemon.service.turns import Decision, Need, Pair, Plan, Turn

LATE_US_MIN = 300 * SECOND_US
"""A late sample counts when it is younger than this, or than what the rule remembers."""
EPISODES_MAX = 16
"""Newest alerts of a pair that late samples are held against."""
_NEVER_US = -(2**62)


class Evaluation:
    """The memory of the one evaluator; `new_alert_id` names alerts."""

    def __init__(self, registry: Registry, *, new_alert_id: Callable[[], str]) -> None:
        self._registry = registry
        self._new_alert_id = new_alert_id
        self._index = RuleIndex(registry, ())
        self._since_us: dict[str, int] = {}
        self._states: dict[Pair, PairState] = {}
        self._cold: set[Pair] = set()
        self._hot: dict[int, set[str]] = {}
        self._met: set[Pair] = set()
        self._alerts: dict[Pair, str] = {}
        self._last_fired_us: dict[Pair, int] = {}
        self._episodes: dict[Pair, tuple[Episode, ...]] = {}
        self._newest_us: Int64s = np.full(1024, _NEVER_US, np.int64)

    # -- what is known from tables --------------------------------------------------------------

    def set_rules(self, rules: Iterable[BoundRule], *, now_us: int) -> None:
        """Judge by these from now on; pairs whose rule decides otherwise than before are forgotten.

        Closing their alerts is the business of who changed the rule.
        """
        before = self._index.rules
        self._index = RuleIndex(self._registry, rules)
        after = self._index.rules
        changed = {
            rule_id
            for rule_id, bound in before.items()
            if rule_id not in after or after[rule_id].rule != bound.rule
        }
        for pair in [pair for pair in self._states if pair[0] in changed]:
            self.forget(pair)
        self._since_us = {
            rule_id: self._since_us[rule_id]
            if rule_id in self._since_us and rule_id not in changed
            else now_us
            for rule_id in after
        }

    def set_open(self, pair: Pair, *, alert_id: str, alert: OpenAlert) -> None:
        """An alert that is open; what its device sent since is read when a sample comes."""
        self._alerts[pair] = alert_id
        self._last_fired_us[pair] = max(alert.fired_us, self._last_fired_us.get(pair, _NEVER_US))
        self._keep(pair, PairState(open=alert, last_fired_us=self._last_fired_us[pair]))
        self._cold.add(pair)

    def set_past(self, pair: Pair, episodes: Sequence[Episode]) -> None:
        """The newest alerts of a pair, oldest first: for cooldowns and late samples."""
        self._episodes[pair] = tuple(episodes[-EPISODES_MAX:])
        if episodes:
            self._last_fired_us[pair] = max(e.fired_us for e in episodes)

    def set_newest(self, series_ids: Int64s, times_us: Int64s) -> None:
        """The newest stored samples: what is judged first and is not newer is judged with them."""
        self._grow(int(series_ids.max(initial=0)))
        self._newest_us[series_ids] = times_us

    def closed(self, pair: Pair, *, at_us: int) -> None:
        """Somebody else ended the open alert: by hand, or by changing its rule."""
        state = self._states.get(pair)
        self._alerts.pop(pair, None)
        if state is not None and state.open is not None:
            self._end_episode(pair, at_us)
            self._keep(pair, replace(state, open=None))

    def forget(self, pair: Pair) -> None:
        """Know nothing of a pair any more."""
        self._states.pop(pair, None)
        self._alerts.pop(pair, None)
        self._cold.discard(pair)
        self._met.discard(pair)
        self._cool(pair)

    @property
    def open_alerts(self) -> Mapping[Pair, str]:
        return self._alerts

    # -- blocks ---------------------------------------------------------------------------------

    def plan(self, block: Block, *, arrived_us: int, position: int | None = None) -> Plan:
        """Which pairs the block may change, and what has to be read before they can be judged.

        Rules that were made at its `position` or after it let it pass.
        """
        rows = winners(block.series_ids, block.times_us)
        if rows is not None:
            block = block.take(rows)
        self._grow(int(block.series_ids.max(initial=0)))
        plan = Plan()
        spans = runs(block.series_ids)
        lasts = np.array([end - 1 for _, _, end in spans])
        plan.newest = (block.series_ids[lasts].astype(np.int64), block.times_us[lasts])
        asked = self._index.asked(block, spans)
        nobody: set[str] = set()
        young = self._young(arrived_us)
        unborn = self._unborn(position)
        for span in spans:
            series_id = span[0]
            wanted = asked.get(series_id, nobody) | self._hot.get(series_id, nobody)
            if young:
                wanted = wanted | self._unmet(young, series_id)
            if unborn:
                wanted = wanted - unborn
            if wanted:
                self._plan_series(plan, block, span, arrived_us)
                plan.pairs += [(rule_id, series_id) for rule_id in sorted(wanted)]
        self._ask(plan, arrived_us)
        return plan

    def _young(self, arrived_us: int) -> set[str]:
        """Rules whose windows may hold breaches of before this evaluator looked."""
        young = {
            bound.rule_id
            for bound in self._index.rules.values()
            if bound.rule.remembers
            and arrived_us - self._since_us[bound.rule_id] <= bound.rule.memory_us
        }
        if not young:
            self._met.clear()
        return young

    def _unborn(self, position: int | None) -> set[str]:
        if position is None or position > self._index.newest_since:
            return set()
        return {bound.rule_id for bound in self._index.rules.values() if bound.since >= position}

    def next_mark(self, position: int) -> int | None:
        """Where the next rule begins to judge behind the position: no page is to go beyond."""
        if position >= self._index.newest_since:
            return None
        return min(b.since for b in self._index.rules.values() if b.since > position)

    def _unmet(self, young: Collection[str], series_id: int) -> set[str]:
        return {
            bound.rule_id
            for bound in self._index.remembering(series_id)
            if bound.rule_id in young and (bound.rule_id, series_id) not in self._met
        }

    def _plan_series(
        self, plan: Plan, block: Block, span: tuple[int, int, int], arrived_us: int
    ) -> None:
        series_id, start, end = span
        known_us = int(self._newest_us[series_id])
        is_boolean = bool(self._registry.kinds[series_id] == Kind.BOOLEAN)
        for sample in samples_of(block, start, end, is_boolean=is_boolean, arrived_us=arrived_us):
            group = plan.samples if sample.time_us > known_us else plan.late
            group.setdefault(series_id, []).append(sample)

    def _ask(self, plan: Plan, arrived_us: int) -> None:
        for pair in plan.pairs:
            rule = self._index.rules[pair[0]].rule
            new, late = plan.samples.get(pair[1]), plan.late.get(pair[1])
            if late and (judged := self._countable(pair, late)):
                newest_us = int(self._newest_us[pair[1]])
                from_us = judged[0].time_us - rule.memory_us
                plan.needs.append(Need(pair, from_us, newest_us + 1, rule.memory_before))
            elif new and self._is_cold(pair, arrived_us):
                # Up to the last of the new ones: their values may have been corrected since.
                need = self.need_before(pair, new[0].time_us)
                plan.needs.append(replace(need, to_us=new[-1].time_us + 1))

    def need_before(self, pair: Pair, time_us: int) -> Need:
        """What has to be read to know a pair as it was before this time."""
        rule = self._index.rules[pair[0]].rule
        match rule.kind:
            case RuleKind.TRANSITION:
                return Need(pair, time_us, time_us, before=1)
            case RuleKind.ABSENCE:
                return Need(pair, time_us, time_us, before=GAPS_MAX + 1)
            case RuleKind.THRESHOLD:
                from_us = time_us - rule.memory_us
                return Need(pair, from_us, time_us, before=rule.memory_before)

    def _is_cold(self, pair: Pair, arrived_us: int) -> bool:
        """Whether samples may matter that were stored before this evaluator looked."""
        if pair in self._cold:
            return True
        if pair in self._states:
            return False
        rule = self._index.rules[pair[0]].rule
        if not self._drops(pair):
            return True
        is_young = arrived_us - self._since_us[pair[0]] <= rule.memory_us
        return rule.remembers and is_young and pair not in self._met

    def _countable(self, pair: Pair, late: Sequence[Sample]) -> list[Sample]:
        """The late samples that are young enough to count, and could change anything."""
        rule = self._index.rules[pair[0]].rule
        if rule.kind is not RuleKind.THRESHOLD:
            return []
        oldest_us = int(self._newest_us[pair[1]]) - max(rule.memory_us, LATE_US_MIN)
        young = [sample for sample in late if sample.time_us > oldest_us]
        is_hot = pair in self._states or (rule.remembers and pair not in self._met)
        return [s for s in young if is_hot or breaches(rule, s.value)] and young

    def judge(self, plan: Plan, histories: Mapping[Pair, Sequence[Sample]]) -> Turn:
        """The turn of a plan; `histories` answer its needs. The same plan gives the same turn."""
        turn = Turn(newest=plan.newest)
        for pair in plan.pairs:
            new, late = plan.samples.get(pair[1], []), plan.late.get(pair[1], [])
            state = self._state_of(pair)
            if late:
                state = self._judge_late(turn, pair, state, late, histories.get(pair, ()))
            elif pair in histories:
                state, new = self._warmed(pair, histories[pair], new)
            for sample in new:
                state = self._step(turn, pair, state, sample)
            turn.states[pair] = self._settled(pair, state)
        return turn

    def _judge_late(
        self,
        turn: Turn,
        pair: Pair,
        state: PairState,
        late: Sequence[Sample],
        history: Sequence[Sample],
    ) -> PairState:
        rule = self._index.rules[pair[0]].rule
        counted = self._countable(pair, late)
        oldest_us = int(self._newest_us[pair[1]]) - max(rule.memory_us, LATE_US_MIN)
        lost = sum(1 for sample in late if sample.time_us <= oldest_us)
        # A watch counts none: what was too late is told of rules only.
        if lost and not self._index.rules[pair[0]].is_watch:
            turn.too_late[pair] = lost
        if not counted or not history:
            return state
        known = self._episodes.get(pair, ())
        found = judge_late(state, rule, history, known=known)
        for alert in found.past:
            self._decide(turn, pair, [alert.fired], over=alert.resolved)
        self._decide(turn, pair, [t for t in (found.closed, found.fired) if t is not None])
        return found.state

    def _state_of(self, pair: Pair) -> PairState:
        state = self._states.get(pair)
        if state is not None:
            return state
        newest_us = int(self._newest_us[pair[1]])
        return PairState(
            newest_us=newest_us if newest_us != _NEVER_US else None,
            last_fired_us=self._last_fired_us.get(pair),
        )

    def _rebuilt(self, pair: Pair, history: Sequence[Sample]) -> PairState:
        rule = self._index.rules[pair[0]].rule
        state = self._state_of(pair)
        return rebuild(rule, history, alert=state.open, last_fired_us=state.last_fired_us)

    def _warmed(
        self, pair: Pair, history: Sequence[Sample], new: Sequence[Sample]
    ) -> tuple[PairState, list[Sample]]:
        """The state before the new samples, and these with the values they have by now."""
        first_us = new[0].time_us
        state = self._rebuilt(pair, [s for s in history if s.time_us < first_us])
        values = {s.time_us: s.value for s in history}
        return state, [replace(s, value=values.get(s.time_us, s.value)) for s in new]

    def warm(self, pair: Pair, history: Sequence[Sample]) -> None:
        """Know a pair from stored samples before it sends any: absence needs that."""
        self._keep(pair, self._rebuilt(pair, history))
        self._cold.discard(pair)

    # -- time -----------------------------------------------------------------------------------

    def tick(self, now_us: int) -> Turn:
        """What the wall clock decides: devices that fell silent.

        `now_us` is a time up to which every block was judged: whoever lags behind the journal would
        take what it has not read yet for silence.
        """
        turn = Turn()
        for pair, state in self._states.items():
            rule = self._index.rules.get(pair[0])
            if rule is None or (pair in self._cold and state.newest_us is None):
                continue
            after, transitions = step(state, Tick(now_us), rule.rule)
            if transitions:
                self._decide(turn, pair, transitions)
                turn.states[pair] = self._settled(pair, after)
        return turn

    @property
    def is_waiting(self) -> bool:
        """Whether there is a pair that time alone could change."""
        return bool(self._states)

    @property
    def cold_open(self) -> list[Pair]:
        """Pairs with an open alert of which no sample is known yet: a tick needs them warm."""
        return [pair for pair in self._cold if self._states[pair].newest_us is None]

    # -- decisions ------------------------------------------------------------------------------

    def _step(self, turn: Turn, pair: Pair, state: PairState, sample: Sample) -> PairState:
        rule = self._index.rules[pair[0]].rule
        if state.newest_us is not None and sample.time_us <= state.newest_us:
            return state
        state, transitions = step(state, sample, rule)
        before = len(turn.decisions)
        self._decide(turn, pair, transitions)
        for at in range(before, len(turn.decisions)):
            turn.decisions[at] = replace(turn.decisions[at], arrived_us=sample.arrived_us)
        return state

    def _decide(
        self,
        turn: Turn,
        pair: Pair,
        transitions: Iterable[Transition],
        *,
        over: Transition | None = None,
    ) -> None:
        bound = self._index.rules[pair[0]]
        device_id = self._registry.device_of[pair[1]] or ""
        for transition in transitions:
            fired = transition.to is Change.FIRED
            alert_id = self._new_alert_id() if fired else self._open_id(turn, pair)
            if alert_id is not None:
                decision = Decision(bound, pair[1], device_id, alert_id, transition, over)
                turn.decisions.append(decision)

    def _open_id(self, turn: Turn, pair: Pair) -> str | None:
        for decision in reversed(turn.decisions):
            is_of_pair = (decision.bound.rule_id, decision.series_id) == pair
            if is_of_pair and decision.over is None:
                return decision.alert_id
        return self._alerts.get(pair)

    def _settled(self, pair: Pair, state: PairState) -> PairState | None:
        """The state to keep; None when it says nothing that is not known otherwise."""
        rule = self._index.rules[pair[0]].rule
        newest_us = state.newest_us or 0
        idle = self._drops(pair) and is_idle(state, rule, at_us=newest_us + 1)
        return None if idle else state

    def _drops(self, pair: Pair) -> bool:
        """Whether an idle pair of this rule needs no state."""
        rule = self._index.rules[pair[0]].rule
        return rule.kind is RuleKind.THRESHOLD and rule.no_data is not NoData.ALERT

    # -- memory ---------------------------------------------------------------------------------

    def accept(self, turn: Turn) -> None:
        """The turn's transaction is committed: remember it."""
        for decision in turn.decisions:
            self._note(decision)
        for pair, state in turn.states.items():
            self._cold.discard(pair)
            self._met.add(pair)
            if state is None:
                self._states.pop(pair, None)
                self._cool(pair)
            else:
                self._keep(pair, state)
        if turn.newest is not None:
            ids, times = turn.newest
            self._grow(int(ids.max(initial=0)))
            self._newest_us[ids] = np.maximum(self._newest_us[ids], times)

    def _note(self, decision: Decision) -> None:
        pair, at_us = (decision.bound.rule_id, decision.series_id), decision.transition.at_us
        if decision.over is not None:
            episodes = (*self._episodes.get(pair, ()), Episode(at_us, decision.over.at_us))
            self._episodes[pair] = tuple(sorted(episodes, key=_fired_us))[-EPISODES_MAX:]
            self._last_fired_us[pair] = max(at_us, self._last_fired_us.get(pair, _NEVER_US))
        elif decision.transition.to is Change.FIRED:
            self._alerts[pair] = decision.alert_id
            self._last_fired_us[pair] = max(at_us, self._last_fired_us.get(pair, _NEVER_US))
            episodes = (*self._episodes.get(pair, ()), Episode(at_us, None))
            self._episodes[pair] = episodes[-EPISODES_MAX:]
        elif decision.transition.to is Change.RESOLVED:
            self._alerts.pop(pair, None)
            self._end_episode(pair, at_us)

    def _end_episode(self, pair: Pair, at_us: int) -> None:
        episodes = self._episodes.get(pair, ())
        if episodes and episodes[-1].resolved_us is None:
            last = replace(episodes[-1], resolved_us=at_us)
            self._episodes[pair] = (*episodes[:-1], last)

    def _keep(self, pair: Pair, state: PairState) -> None:
        self._states[pair] = state
        self._hot.setdefault(pair[1], set()).add(pair[0])

    def _cool(self, pair: Pair) -> None:
        rule_ids = self._hot.get(pair[1])
        if rule_ids is not None:
            rule_ids.discard(pair[0])
            if not rule_ids:
                del self._hot[pair[1]]

    def _grow(self, series_id: int) -> None:
        size = len(self._newest_us)
        if series_id >= size:
            more = np.full(max(size, series_id + 1 - size), _NEVER_US, np.int64)
            self._newest_us = np.concatenate((self._newest_us, more))


def _fired_us(episode: Episode) -> int:
    return episode.fired_us
