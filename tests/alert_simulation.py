"""Seeded runs of the alert engine against a model of the database.

Several evaluators, crashes between any two of their steps, lost commit answers, late points, clock
jumps, rule edits and users.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from alert_oracle import episodes_of, fires

from daemon.domain.alerts import Change, Episode, OpenAlert, Sample, Transition
from daemon.domain.block import Block
from daemon.domain.catalog import SeriesRow
from daemon.domain.kinds import Kind
from daemon.domain.rules import Level, Rule
from daemon.live.registry import Registry
from daemon.service.evaluation import Evaluation
from daemon.service.rule_index import BoundRule
from daemon.service.turns import Decision, Need, Pair, Turn

S = 1_000_000
SERIES = (1, 2, 3)
TTL_US = 10 * S
STEPS = 40
CHUNK = 250


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class AlertRow:
    alert_id: str
    pair: Pair
    fired_us: int
    last_breach_us: int
    resolved_us: int | None = None
    history: list[str] = field(default_factory=lambda: ["active"])


@dataclass
class Tables:
    """What survives a crash; `commit` is one transaction."""

    journal: list[Block] = field(default_factory=list)
    arrived_us: list[int] = field(default_factory=list)
    points: dict[int, dict[int, float]] = field(default_factory=dict)
    alerts: dict[str, AlertRow] = field(default_factory=dict)
    outbox: list[str] = field(default_factory=list)
    rules: dict[str, tuple[Rule, bool, int]] = field(default_factory=dict)
    position: int = 0
    epoch: int = 0
    holder: int | None = None
    lease_until_us: int = 0

    def open_of(self, pair: Pair) -> AlertRow | None:
        own = [a for a in self.alerts.values() if a.pair == pair and a.resolved_us is None]
        if len(own) > 1:
            raise Broken(f"I1: two open alerts of {pair}")
        return own[0] if own else None

    def samples(self, need: Need) -> list[Sample]:
        own = self.points.get(need.pair[1], {})
        times = sorted(t for t in own if t < need.to_us)
        first = max(0, sum(t < need.from_us for t in times) - need.before)
        return [Sample(t, own[t], t) for t in times[first:]]

    def commit(self, turn: Turn, *, epoch: int, position: int, revisions: dict[str, int]) -> bool:
        """False when the writer is fenced: nothing was written."""
        if epoch != self.epoch or position < self.position:
            return False
        if any(self.rules[rule_id][2] != revision for rule_id, revision in revisions.items()):
            return False
        for decision in turn.decisions:
            pair = (decision.bound.rule_id, decision.series_id)
            if decision.over is not None:
                self._insert_past(decision.alert_id, pair, decision)
            elif decision.transition.to is Change.FIRED:
                self._check_cause(decision, position)
                self._fire(decision.alert_id, pair, decision.transition)
            elif decision.transition.to is Change.RESOLVED:
                self.resolve(decision.alert_id, decision.transition.at_us)
        self.position = position
        return True

    def _check_cause(self, decision: Decision, position: int) -> None:
        """I2: with what was stored then, or since, the oracle says the same.

        The deciding sample itself counts with the value it came with, whatever corrected it later.
        """
        rule, t = decision.bound.rule, decision.transition.at_us
        series_id = decision.series_id
        values = {stored([block], series_id).get(t) for block in self.journal} - {None}
        for end in range(position, len(self.journal) + 1):
            own = stored(self.journal[:end], series_id)
            before = [Sample(at, own[at], at) for at in sorted(own) if at < t]
            if any(fires(rule, [*before, Sample(t, value, t)], []) for value in values):
                return
        raise Broken(f"I2: {decision.bound.rule_id}, {decision.series_id} fired at {t} for nothing")

    def _fire(self, alert_id: str, pair: Pair, fired: Transition) -> None:
        if not self.rules[pair[0]][1]:
            raise Broken("I7: a disabled rule fired")
        if self.open_of(pair) is None:
            last_breach_us = fired.breach_times_us[-1]
            self.alerts[alert_id] = AlertRow(alert_id, pair, fired.at_us, last_breach_us)
            self._tell(f"{alert_id}:triggered")

    def _insert_past(self, alert_id: str, pair: Pair, decision: Decision) -> None:
        assert decision.over is not None
        fired_us = decision.transition.at_us
        self.alerts[alert_id] = AlertRow(alert_id, pair, fired_us, fired_us)
        self._tell(f"{alert_id}:triggered")
        self.resolve(alert_id, decision.over.at_us)

    def resolve(self, alert_id: str, at_us: int) -> None:
        alert = self.alerts.get(alert_id)
        if alert is not None and alert.resolved_us is None:
            alert.resolved_us = at_us
            alert.history.append("resolved")
            self._tell(f"{alert_id}:resolved")

    def _tell(self, event: str) -> None:
        if event in self.outbox:
            raise Broken(f"I4: {event} was told twice")
        self.outbox.append(event)


@dataclass
class World:
    """One seed's world."""

    seed: int
    rng: random.Random
    registry: Registry
    tables: Tables
    now_us: int = 1_000_000 * S
    faults: frozenset[str] = frozenset()
    alert_number: int = 0
    trace: list[str] = field(default_factory=list)

    def new_alert_id(self) -> str:
        self.alert_number += 1
        return f"alr_{self.alert_number}"


def bound_rules(tables: Tables) -> list[BoundRule]:
    return [
        BoundRule(rule_id=i, name=i, metric_name="cpu", level=Level.WARNING, rule=r, revision=n)
        for i, (r, is_enabled, n) in tables.rules.items()
        if is_enabled
    ]


class Evaluator:
    """One process: its memory, and a turn that can be stopped between any two steps."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.start()

    def start(self) -> None:
        self.epoch = -1
        self.evaluation: Evaluation | None = None
        self.turn: Generator[None, None, None] | None = None

    def run(self) -> None:
        """One step of the turn under way, or the first of the next."""
        if self.turn is None:
            self.turn = self._turn()
        try:
            next(self.turn)
        except StopIteration:
            self.turn = None

    def _turn(self) -> Generator[None, None, None]:
        world, tables = self.world, self.world.tables
        if not self._hold_lease():
            return
        yield
        if self.evaluation is None:
            self._load()
            yield
        evaluation = self.evaluation
        assert evaluation is not None
        revisions = {i: n for i, (_, _, n) in tables.rules.items()}
        if revisions != self.revisions:
            self._load()
            yield
            return
        position = min(tables.position + world.rng.randint(1, 3), len(tables.journal))
        for seq in range(tables.position, position):
            plan = evaluation.plan(tables.journal[seq], arrived_us=tables.arrived_us[seq])
            yield
            histories = {need.pair: tables.samples(need) for need in plan.needs}
            yield
            if not self._commit(evaluation.judge(plan, histories), seq + 1):
                return
            yield
        level_us = world.now_us
        if tables.position < len(tables.journal):
            return
        for pair in evaluation.cold_open:
            evaluation.warm(pair, tables.samples(evaluation.need_before(pair, world.now_us)))
        yield
        self._commit(evaluation.tick(level_us), tables.position)

    def _hold_lease(self) -> bool:
        world, tables = self.world, self.world.tables
        if tables.holder != self.number:
            if world.now_us < tables.lease_until_us:
                self.evaluation = None
                return False
            tables.holder, tables.epoch = self.number, tables.epoch + 1
            self.epoch, self.evaluation = tables.epoch, None
        elif self.epoch != tables.epoch:
            # It was restarted: its old self could still be writing.
            tables.epoch += 1
            self.epoch, self.evaluation = tables.epoch, None
        tables.lease_until_us = world.now_us + TTL_US
        return True

    def _load(self) -> None:
        world, tables = self.world, self.world.tables
        evaluation = Evaluation(world.registry, new_alert_id=world.new_alert_id)
        evaluation.set_rules(bound_rules(tables), now_us=world.now_us)
        self.revisions = {i: n for i, (_, _, n) in tables.rules.items()}
        past: dict[Pair, list[Episode]] = {}
        for alert in sorted(tables.alerts.values(), key=lambda a: a.fired_us):
            past.setdefault(alert.pair, []).append(Episode(alert.fired_us, alert.resolved_us))
        for pair, episodes in past.items():
            evaluation.set_past(pair, episodes)
        for alert in tables.alerts.values():
            if alert.resolved_us is None and tables.rules[alert.pair[0]][1]:
                is_open = OpenAlert(alert.fired_us, alert.last_breach_us)
                evaluation.set_open(alert.pair, alert_id=alert.alert_id, alert=is_open)
        if tables.points:
            newest = {i: max(own) for i, own in tables.points.items()}
            evaluation.set_newest(np.array(list(newest)), np.array(list(newest.values())))
        self.evaluation = evaluation

    def _commit(self, turn: Turn, position: int) -> bool:
        world, tables = self.world, self.world.tables
        roll = world.rng.random() if "commit" in world.faults else 1.0
        if roll < 0.1:
            # Refused, or a deadlock: nothing happened, and the turn is forgotten.
            return False
        before = len(tables.outbox)
        written = tables.commit(turn, epoch=self.epoch, position=position, revisions=self.revisions)
        if not written and len(tables.outbox) != before:
            raise Broken("I9: a fenced evaluator wrote")
        if roll < 0.2 or not written:
            # The answer was lost, or somebody else writes: what is true is read again.
            self.evaluation = None
            return False
        assert self.evaluation is not None
        self.evaluation.accept(turn)
        return True


def a_world(seed: int) -> World:
    rng = random.Random(seed)
    registry = Registry()
    registry.add([SeriesRow(i, f"device_{i}", "cpu", Kind.NUMERIC) for i in SERIES])
    tables = Tables()
    for number in range(rng.randint(1, 3)):
        rule = Rule(
            threshold=5.0,
            window_us=rng.choice((0, 0, 20, 60)) * S,
            trigger_count=rng.choice((1, 1, 2)),
            hold_us=rng.choice((0, 0, 15)) * S,
            cooldown_us=rng.choice((0, 60)) * S,
            resolve_after_us=rng.choice((5, 30)) * S,
        )
        tables.rules[f"rul_{number}"] = (rule, True, 1)
    faults = frozenset(
        f for f in ("crash", "commit", "late", "edit", "users") if rng.random() < 0.5
    )
    return World(seed, rng, registry, tables, faults=faults)


def run(seed: int) -> str:
    """Play one seed; returns its trace. Raises Broken with the seed."""
    world = a_world(seed)
    is_plain = not world.faults & {"late", "edit", "users"}
    evaluators = [Evaluator(world, n) for n in range(world.rng.randint(1, 3))]
    try:
        for _ in range(STEPS):
            _act(world, evaluators)
            check(world)
        _calm_down(world, evaluators)
        check(world)
        if is_plain:
            _check_against_oracle(world)
    except Broken as broken:
        raise Broken(f"seed {seed}: {broken}") from broken
    return "|".join([*world.trace, *world.tables.outbox])


def broken_seeds(first: int) -> list[str]:
    """The reports of the seeds of one chunk that break an invariant."""
    reports = []
    for seed in range(first, first + CHUNK):
        try:
            run(seed)
        except Broken as broken:
            reports.append(str(broken))
    return reports


def _act(world: World, evaluators: Sequence[Evaluator]) -> None:
    rng = world.rng
    kind = rng.choices(
        ("append", "evaluate", "time", "crash", "edit", "user"), (6, 16, 3, 1, 1, 1)
    )[0]
    world.trace.append(kind[0])
    match kind:
        case "append":
            _append(world)
        case "evaluate":
            rng.choice(evaluators).run()
        case "time":
            world.now_us += rng.choice((1, 3, 12, -2)) * S
        case "crash" if "crash" in world.faults:
            rng.choice(evaluators).start()
        case "edit" if "edit" in world.faults:
            _edit(world)
        case "user" if "users" in world.faults:
            for alert in world.tables.alerts.values():
                if alert.resolved_us is None:
                    world.tables.resolve(alert.alert_id, world.now_us)
                    _reload(evaluators)
                    break


def _reload(evaluators: Sequence[Evaluator]) -> None:
    """The event of a user's change reaches the evaluators in the order of the journal."""
    for evaluator in evaluators:
        evaluator.evaluation, evaluator.turn = None, None


def _append(world: World) -> None:
    rng, tables = world.rng, world.tables
    n = rng.randint(1, 4)
    world.now_us += rng.choice((0, 1, 4)) * S
    behind = rng.choice((0, 0, 20)) if "late" in world.faults else 0
    ids = np.array([rng.choice(SERIES) for _ in range(n)], np.int32)
    times = np.array([world.now_us - (behind + rng.randint(0, 3)) * S for _ in range(n)], np.int64)
    if "late" not in world.faults:
        times[:] = world.now_us
    numbers = np.array([rng.choice((1.0, 9.0)) for _ in range(n)])
    tables.journal.append(Block(ids, times, numbers))
    tables.arrived_us.append(world.now_us)
    for series_id, time_us, number in zip(ids.tolist(), times.tolist(), numbers, strict=True):
        tables.points.setdefault(series_id, {})[time_us] = float(number)
    world.now_us += S


def _edit(world: World) -> None:
    """A user turns a rule off or on, or changes its threshold: its open alerts end with it."""
    tables, rng = world.tables, world.rng
    rule_id = rng.choice(list(tables.rules))
    rule, is_enabled, revision = tables.rules[rule_id]
    for alert in tables.alerts.values():
        if alert.pair[0] == rule_id:
            tables.resolve(alert.alert_id, world.now_us)
    if rng.random() < 0.5:
        tables.rules[rule_id] = (rule, not is_enabled, revision + 1)
    else:
        bound = rng.choice((5.0, 7.0))
        tables.rules[rule_id] = (replace(rule, threshold=bound), is_enabled, revision + 1)


def _calm_down(world: World, evaluators: Sequence[Evaluator]) -> None:
    """Faults stop; within two leases everything that is due is decided (I6)."""
    world.faults = frozenset()
    for _ in range(16):
        world.now_us += TTL_US // 2
        for evaluator in evaluators:
            for _ in range(4 * (len(world.tables.journal) + 2)):
                evaluator.run()
                if evaluator.turn is None and world.tables.position == len(world.tables.journal):
                    break
    if world.tables.position != len(world.tables.journal):
        raise Broken("I6: blocks were left unjudged")
    open_ids = [a for a in world.tables.alerts.values() if a.resolved_us is None]
    if any(world.tables.rules[a.pair[0]][0].auto_resolve for a in open_ids):
        raise Broken("I6: an alert of silent devices stayed open")


def check(world: World) -> None:
    """The invariants that hold after every step."""
    tables = world.tables
    if len(set(tables.outbox)) != len(tables.outbox):
        raise Broken("I4: an event twice")
    fired: dict[Pair, list[int]] = {}
    for alert in tables.alerts.values():
        tables.open_of(alert.pair)
        if alert.history not in (["active"], ["active", "resolved"]):
            raise Broken(f"I5: {alert.history}")
        fired.setdefault(alert.pair, []).append(alert.fired_us)
    for pair, times in fired.items():
        cooldown_us = tables.rules[pair[0]][0].cooldown_us
        ranked = sorted(times)
        if any(b - a < cooldown_us for a, b in pairwise(ranked)):
            raise Broken(f"I3: {pair} fired within its cooldown")


def _check_against_oracle(world: World) -> None:
    """Without late points, edits and users the alerts are what the contract's words give."""
    tables = world.tables
    if any(b <= a for a, b in pairwise(int(block.times_us[0]) for block in tables.journal)):
        return
    for rule_id, (rule, _, _) in tables.rules.items():
        for series_id, own in tables.points.items():
            samples = [Sample(t, own[t], t) for t in sorted(own)]
            expected = [e.fired_us for e in episodes_of(rule, samples)]
            pair = (rule_id, series_id)
            found = sorted(a.fired_us for a in tables.alerts.values() if a.pair == pair)
            if found != expected:
                raise Broken(f"I6: {pair} fired at {found}, not at {expected}")


def stored(blocks: Sequence[Block], series_id: int) -> dict[int, float]:
    """Time -> value of a series; the later block wins."""
    found: dict[int, float] = {}
    for block in blocks:
        rows = zip(block.series_ids, block.times_us.tolist(), block.numbers.tolist(), strict=True)
        found.update((time_us, number) for i, time_us, number in rows if i == series_id)
    return found
