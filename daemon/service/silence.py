"""Who fell silent, of all that absence rules and `no_data: alert` watch: looked at by whole
columns, told as few alerts (domain/absence). What comes of it is written by workers/evaluator.

Nothing is remembered before `accept`, as in service/evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.clock import as_datetime
from daemon.domain.absence import (
    DOUBT_US,
    Circle,
    Scope,
    explain,
    is_lasting,
    ranked,
)
from daemon.domain.alerts import Change, Reason, Transition
from daemon.domain.block import Block, Int32s, Int64s
from daemon.domain.rules import MINUTE_US, SILENCE_DEFAULT_US, RuleKind
from daemon.live.latest import NEVER_US, Latest
from daemon.live.registry import Registry
from daemon.service.cadences import UNKNOWN_US, Cadences
from daemon.service.rule_index import BoundRule
from daemon.service.turns import WIDE, Decision, Pair

RETURN_US = MINUTE_US
"""After a start, or an outage of our own, devices have so long to come back, and at least one
interval of theirs."""
Bools = npt.NDArray[np.bool_]
WideKey = tuple[str, str, str | None]
"""Rule id, scope, group id."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Rows of a block that silence is counted by, sorted by series, then time."""

    series_ids: Int32s
    times_us: Int64s
    arrived_us: int


@dataclass(frozen=True, slots=True)
class Quiet:
    """An open alert of silence; `heard_us` is the newest sample before it, by event time."""

    alert_id: str
    fired_us: int
    heard_us: int


@dataclass(frozen=True, slots=True)
class Moment:
    """A look at the clock.

    since_us  since when this system takes in without a break
    down_us   since when it does not; None when it does
    is_unsure nobody can tell yet whether it does
    busy      pairs that have an open alert of another kind
    """

    now_us: int
    since_us: int
    down_us: int | None = None
    is_unsure: bool = False
    busy: Container[Pair] = frozenset()


@dataclass(slots=True)
class _Watched:
    """The pairs of one rule, as columns."""

    bound: BoundRule
    series_ids: Int32s
    slots: npt.NDArray[np.int32]
    devices: list[str]
    seen: tuple[int, int] = (-1, -1)
    circles: list[Circle] = field(default_factory=list)


@dataclass(slots=True)
class _Look:
    """One rule at one moment; all of length n.

    limits_us  how long each may be silent, UNKNOWN_US while that is not known
    """

    watched: _Watched
    ages_us: Int64s
    limits_us: Int64s
    is_silent: Bools
    is_suspect: Bools


class SilenceWatch:
    """`new_alert_id` names alerts."""

    def __init__(
        self, registry: Registry, latest: Latest, *, new_alert_id: Callable[[], str]
    ) -> None:
        self._registry = registry
        self._latest = latest
        self._new_alert_id = new_alert_id
        self.cadences = Cadences()
        self._rules: dict[str, _Watched] = {}
        self._series_seen = (0, 0)
        self._own: dict[Pair, Quiet] = {}
        self._own_of: dict[int, set[Pair]] = {}
        self._wide: dict[WideKey, Quiet] = {}
        self._fired_us: dict[Pair, int] = {}
        self._wide_fired_us: dict[WideKey, int] = {}

    # -- what is known from tables --------------------------------------------------------------

    def set_rules(self, rules: Iterable[BoundRule]) -> Int32s:
        """Watch for these; returns the series whose past is not known yet."""
        self._rules = {
            bound.rule_id: _Watched(bound, _NO_IDS, _NO_IDS, [])
            for bound in rules
            if watches(bound)
        }
        for known in (self._own, self._wide, self._fired_us, self._wide_fired_us, self._own_of):
            known.clear()
        return self._find_series()

    def _find_series(self) -> Int32s:
        """Take over what the registry has; returns the series that are new."""
        registry = self._registry
        self._series_seen = (registry.series_id_max, registry.series_count)
        fresh = [_NO_IDS]
        for watched in self._rules.values():
            bound = watched.bound
            ids = registry.select(devices=bound.devices, metrics=[bound.metric_name])
            watched.series_ids = np.array(ids, np.int32)
            fresh.append(self.cadences.watch(watched.series_ids))
            watched.slots = self.cadences.slot_of[watched.series_ids]
            watched.devices = [registry.device_of[series_id] or "" for series_id in ids]
            watched.seen = (-1, -1)
        return np.concatenate(fresh)

    def set_open(self, pair: Pair, quiet: Quiet) -> None:
        """An alert of one device that is open."""
        self._own[pair] = quiet
        self._own_of.setdefault(pair[1], set()).add(pair)

    def set_wide(self, key: WideKey, quiet: Quiet) -> None:
        """An alert of a group, or of all, that is open."""
        self._wide[key] = quiet

    def note_fired(self, pair: Pair, at_us: int) -> None:
        """Any alert of the pair: for its cooldown."""
        self._fired_us[pair] = max(at_us, self._fired_us.get(pair, NEVER_US))

    def note_wide_fired(self, key: WideKey, at_us: int) -> None:
        self._wide_fired_us[key] = max(at_us, self._wide_fired_us.get(key, NEVER_US))

    # -- blocks ---------------------------------------------------------------------------------

    def hear(self, block: Block, *, arrived_us: int) -> Heard | None:
        """The rows of a sorted block that count here; None when there are none."""
        if self._registry.series_id_max > self._series_seen[0]:
            # All that a new series ever sent is in this block or comes after it.
            self._find_series()
        rows = self.cadences.rows_of(block)
        if not len(rows):
            return None
        return Heard(block.series_ids[rows], block.times_us[rows], arrived_us)

    def returned(self, heard: Heard | None) -> list[Decision]:
        """Alerts that these samples end."""
        if heard is None or not self._own:
            return []
        found = []
        for series_id in self._own_of.keys() & set(heard.series_ids.tolist()):
            start, end = np.searchsorted(heard.series_ids, [series_id, series_id + 1])
            times = heard.times_us[start:end]
            for pair in self._own_of[series_id]:
                later = times[times > self._own[pair].heard_us]
                if len(later):
                    found += self._back(pair, int(later[0]))
        return found

    def _back(self, pair: Pair, at_us: int) -> list[Decision]:
        watched = self._rules.get(pair[0])
        if watched is None or not watched.bound.rule.auto_resolve:
            return []
        device_id = self._registry.device_of[pair[1]] or ""
        quiet = self._own[pair]
        over = Transition(
            Change.RESOLVED, at_us, Reason.RETURNED, breach_times_us=(quiet.heard_us,)
        )
        inputs = {"newest": as_datetime(quiet.heard_us), "returned": as_datetime(at_us)}
        return [Decision(watched.bound, pair[1], device_id, quiet.alert_id, over, inputs=inputs)]

    # -- time -----------------------------------------------------------------------------------

    def tick(self, moment: Moment) -> list[Decision]:
        """What the clock decides at this moment, up to which every block was judged."""
        if not self._rules:
            return []
        registry = self._registry
        if (registry.series_id_max, registry.series_count) != self._series_seen:
            for series_id in self._find_series().tolist():
                newest_us = int(self._latest.times_us(np.array([series_id], np.int32))[0])
                self.cadences.place(series_id, newest_us=newest_us, arrived_us=moment.now_us)
        found: list[Decision] = []
        for pair, quiet in self._own.items():
            slot = self.cadences.slot_of[pair[1]] if pair[1] < len(self.cadences.slot_of) else -1
            if slot >= 0 and self.cadences.newest_us[slot] > quiet.heard_us:
                found += self._back(pair, int(self.cadences.newest_us[slot]))
        returned = {(decision.bound.rule_id, decision.series_id) for decision in found}
        usual_us = self.cadences.usual_us()
        for watched in self._rules.values():
            found += self._judge(self._look(watched, usual_us, moment), moment, returned)
        return found

    def _look(self, watched: _Watched, usual_us: Int64s, moment: Moment) -> _Look:
        rule, slots = watched.bound.rule, watched.slots
        ages_us = moment.now_us - self.cadences.arrived_us[slots]
        if rule.expected_interval_us is not None:
            interval_us = np.full(len(slots), rule.expected_interval_us)
        else:
            interval_us = usual_us[slots]
        is_known = interval_us < UNKNOWN_US
        limits_us = np.full(len(slots), UNKNOWN_US)
        if rule.kind is not RuleKind.ABSENCE:
            limits_us[:] = max(rule.window_us, SILENCE_DEFAULT_US)
        limits_us[is_known] = np.rint(interval_us[is_known] * rule.grace_factor)
        limits_us[self.cadences.newest_us[slots] == NEVER_US] = UNKNOWN_US
        # One that was heard before we took in may be on its way back.
        way_us = np.minimum(limits_us, np.maximum(RETURN_US, np.where(is_known, interval_us, 0)))
        is_settled = moment.now_us - moment.since_us > way_us
        is_silent = (ages_us > limits_us) & (is_settled | (moment.down_us is not None))
        suspect_us = np.where(is_known, interval_us, limits_us / 2) * (1 + rule.grace_factor) / 2
        is_suspect = ~is_silent & (ages_us > np.minimum(suspect_us, limits_us))
        is_suspect &= limits_us < UNKNOWN_US
        return _Look(watched, ages_us, limits_us, is_silent, is_suspect)

    def _judge(self, look: _Look, moment: Moment, returned: set[Pair]) -> Iterator[Decision]:
        rule_id = look.watched.bound.rule_id
        wide = {key: quiet for key, quiet in self._wide.items() if key[0] == rule_id}
        if moment.is_unsure and moment.down_us is None:
            return
        if not wide and not look.is_silent.any():
            return
        if moment.down_us is not None:
            if look.is_silent.any() and (rule_id, Scope.INGEST, None) not in wide:
                yield from self._fire_wide(look, Scope.INGEST, None, np.flatnonzero(look.is_silent))
            return
        names = np.array(look.watched.devices, object)
        silent, suspects = set(names[look.is_silent]), set(names[look.is_suspect])
        circles = self._circles_of(look)
        covered: set[str] = set()
        for key, quiet in wide.items():
            circle = next((c for c in circles if c.group_id == key[2]), None)
            if key[1] == Scope.INGEST or circle is None or not is_lasting(circle, silent, suspects):
                yield self._over(look, key, quiet)
            else:
                covered |= circle.devices
        own = {
            self._registry.device_of[pair[1]] or ""
            for pair in self._own
            if pair[0] == rule_id and pair not in returned
        }
        loose = silent - own - covered
        if loose:
            busy = {
                name
                for name in loose
                if (rule_id, self._registry.find(name, look.watched.bound.metric_name))
                in moment.busy
            }
            yield from self._explain(
                look, circles, loose - busy, suspects, frozenset(own | covered)
            )

    def _explain(
        self,
        look: _Look,
        circles: list[Circle],
        loose: set[str],
        suspects: set[str],
        known: frozenset[str],
    ) -> Iterator[Decision]:
        rows = {name: row for row, name in enumerate(look.watched.devices) if name in loose}
        if not rows:
            return
        at = np.array(sorted(rows.values()))
        overdue_us = int((look.ages_us[at] - look.limits_us[at]).max())
        said = explain(
            loose,
            circles,
            suspects=suspects,
            known=known,
            is_doubtful=overdue_us < DOUBT_US,
        )
        for circle in said.circles:
            own = np.array(sorted(rows[name] for name in loose & circle.devices))
            yield from self._fire_wide(look, Scope.GROUP, circle, own)
        for name in sorted(said.devices):
            yield from self._fire_own(look, rows[name])

    def _circles_of(self, look: _Look) -> list[Circle]:
        """All that the rule watches, then the groups that it names, or else every one, widest
        first; only devices whose silence can be told."""
        watched, membership = look.watched, self._registry.membership
        is_known = look.limits_us < UNKNOWN_US
        seen = (membership.version, int(is_known.sum()))
        if watched.seen != seen:
            names = np.array(watched.devices, object)
            devices = frozenset(names[is_known])
            named = watched.bound.group_ids
            whole = (
                named[0] if len(named) == 1 and devices <= membership.devices_of(named[0]) else None
            )
            asked = [*named, *(c for g in named for c in membership.children_of(g))]
            groups = [
                Circle(group_id, membership.devices_of(group_id) & devices)
                for group_id in (asked or membership.group_ids)
                if group_id != whole
            ]
            parts = ranked(circle for circle in groups if len(circle.devices) > 1)
            watched.circles, watched.seen = [Circle(whole, devices), *parts], seen
        return watched.circles

    # -- decisions ------------------------------------------------------------------------------

    def _fire_own(self, look: _Look, row: int) -> Iterator[Decision]:
        bound, series_id = look.watched.bound, int(look.watched.series_ids[row])
        newest_us = int(self.cadences.newest_us[look.watched.slots[row]])
        limit_us, age_us = int(look.limits_us[row]), int(look.ages_us[row])
        pair = (bound.rule_id, series_id)
        calm_us = self._fired_us.get(pair, NEVER_US) + bound.rule.cooldown_us
        at_us = max(newest_us + limit_us, calm_us)
        if newest_us + age_us <= at_us:
            return
        device_id = look.watched.devices[row]
        fired = Transition(Change.FIRED, at_us, Reason.ABSENT, breach_times_us=(newest_us,))
        scope = self._scope(device_id, series_id, newest_us + limit_us // 2)
        inputs = {
            "newest": as_datetime(newest_us),
            "arrived": as_datetime(int(self.cadences.arrived_us[look.watched.slots[row]])),
            "allowed_silence": limit_us / 1e6,
            "grace_factor": bound.rule.grace_factor,
            "is_learned": bound.rule.expected_interval_us is None,
        }
        yield Decision(
            bound, series_id, device_id, self._new_alert_id(), fired, scope=scope, inputs=inputs
        )

    def _scope(self, device_id: str, series_id: int, after_us: int) -> Scope:
        """Whether other metrics of the device went on, well into the silence of this one."""
        others = [i for i in self._registry.metrics_of(device_id).values() if i != series_id]
        times_us = self._latest.times_us(np.array(others, np.int32))
        return Scope.METRIC if len(others) and int(times_us.max()) > after_us else Scope.DEVICE

    def _fire_wide(
        self, look: _Look, scope: Scope, circle: Circle | None, rows: npt.NDArray[np.intp]
    ) -> Iterator[Decision]:
        bound, slots = look.watched.bound, look.watched.slots[rows]
        newest_us = self.cadences.newest_us[slots]
        due_us = int((newest_us + look.limits_us[rows]).min())
        key = (bound.rule_id, scope.value, None if circle is None else circle.group_id)
        at_us = max(due_us, self._wide_fired_us.get(key, NEVER_US) + bound.rule.cooldown_us)
        if int((newest_us + look.ages_us[rows]).max()) <= at_us:
            return
        heard_us = int(newest_us.max())
        fired = Transition(Change.FIRED, at_us, Reason.ABSENT, breach_times_us=(heard_us,))
        inputs = _counts(look, circle) | {"newest": as_datetime(heard_us)}
        if key[2] is not None:
            inputs["group"] = self._registry.membership.name_of(key[2])
        yield Decision(
            bound, WIDE, "", self._new_alert_id(), fired,
            scope=scope, group_id=key[2], inputs=inputs,
        )  # fmt: skip

    def _over(self, look: _Look, key: WideKey, quiet: Quiet) -> Decision:
        slots = look.watched.slots
        newest_us = int(self.cadences.newest_us[slots].max(initial=quiet.fired_us))
        over = Transition(
            Change.RESOLVED, newest_us, Reason.RETURNED, breach_times_us=(quiet.heard_us,)
        )
        inputs = _counts(look, None)
        return Decision(
            look.watched.bound, WIDE, "", quiet.alert_id, over,
            scope=key[1], group_id=key[2], inputs=inputs,
        )  # fmt: skip

    # -- memory ---------------------------------------------------------------------------------

    def accept(self, decisions: Iterable[Decision], heard: Heard | None = None) -> None:
        """The turn's transaction is committed: remember it."""
        if heard is not None:
            self.cadences.hear(heard.series_ids, heard.times_us, arrived_us=heard.arrived_us)
        for decision in decisions:
            self._note(decision)

    def _note(self, decision: Decision) -> None:
        bound, transition = decision.bound, decision.transition
        pair = (bound.rule_id, decision.series_id)
        key = (bound.rule_id, decision.scope, decision.group_id)
        is_wide, is_fired = decision.series_id == WIDE, transition.to is Change.FIRED
        if is_fired and transition.reason is Reason.ABSENT:
            quiet = Quiet(decision.alert_id, transition.at_us, transition.breach_times_us[-1])
            if is_wide:
                self.set_wide(key, quiet)
                self.note_wide_fired(key, transition.at_us)
            else:
                self.set_open(pair, quiet)
        if is_fired and not is_wide:
            self.note_fired(pair, transition.at_us)
        elif transition.to is Change.RESOLVED and transition.reason is Reason.RETURNED:
            if is_wide:
                self._wide.pop(key, None)
            elif self._own.pop(pair, None) is not None:
                self._own_of[pair[1]].discard(pair)


def watches(bound: BoundRule) -> bool:
    """Whether silence raises an alert of the rule."""
    return bound.rule.kind is RuleKind.ABSENCE or bound.rule.no_data == "alert"


def _counts(look: _Look, circle: Circle | None) -> dict[str, Any]:
    names = look.watched.devices
    inside = [circle is None or name in circle.devices for name in names]
    is_known = look.limits_us < UNKNOWN_US
    return {
        "silent": int((look.is_silent & inside).sum()),
        "about_to_be": int((look.is_suspect & inside).sum()),
        "watched": int((is_known & inside).sum()),
    }


_NO_IDS: Int32s = np.empty(0, np.int32)
