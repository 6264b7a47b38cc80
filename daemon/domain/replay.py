"""The alerts of a whole history of one (rule, device), found by columns.

Every decision is domain/alerts' own step; here is only found which samples can decide anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from daemon.domain.alerts import PairState, Sample, Transition, step, timeline
from daemon.domain.block import Float64s, Int64s
from daemon.domain.rules import Condition, NoData, Rule, RuleKind

Bools = npt.NDArray[np.bool_]
_COMPARE: Final = {
    Condition.ABOVE: np.greater,
    Condition.BELOW: np.less,
    Condition.AT_LEAST: np.greater_equal,
    Condition.AT_MOST: np.less_equal,
    Condition.EQUAL: np.equal,
    Condition.UNEQUAL: np.not_equal,
}
_LONG_AGO_US = -(2**61)


def replay(rule: Rule, times_us: Int64s, numbers: Float64s) -> tuple[PairState, list[Transition]]:
    """The state after, and all transitions of, these samples; equal to `timeline` of them.

    times_us  int64    (n,)  strictly ascending
    numbers   float64  (n,)  NaN stands for a value that is no number, and never breaches
    """
    if not _goes_by_columns(rule):
        return timeline(rule, _samples(times_us, numbers))
    found: list[Transition] = []
    history = _History.of(rule, times_us, numbers)
    state, at = PairState(), 0
    while (next_at := history.next_decision(state, at)) is not None:
        state, transitions = step(history.before(next_at, state), history.sample(next_at), rule)
        found += transitions
        at = next_at + 1
    return history.before(len(times_us), state), found


def _goes_by_columns(rule: Rule) -> bool:
    is_number = isinstance(rule.threshold, int | float) and not isinstance(rule.threshold, bool)
    return rule.kind is RuleKind.THRESHOLD and rule.no_data is not NoData.ALERT and is_number


def _samples(times_us: Int64s, numbers: Float64s) -> list[Sample]:
    rows = zip(times_us.tolist(), numbers.tolist(), strict=True)
    return [Sample(time_us, _value(number), time_us) for time_us, number in rows]


def _value(number: float) -> float | None:
    return number if number == number else None


@dataclass(frozen=True, slots=True)
class _History:
    """Samples with what a rule says of each.

    breach_rows  rows that breach, ascending
    held_from    (n,) time since when the condition has held at this row; -1 where it does not
    due_rows     rows at which an alert fires unless one is open or cools down
    extend_rows  rows that keep an open alert open
    over_rows    rows at which an alert is over that was last kept open by the row before them in
        extend_rows
    """

    rule: Rule
    times_us: Int64s
    numbers: Float64s
    breach_rows: Int64s
    held_from: Int64s
    due_rows: Int64s
    extend_rows: Int64s
    over_rows: Int64s

    @staticmethod
    def of(rule: Rule, times_us: Int64s, numbers: Float64s) -> _History:
        breach_rows = _rows(_COMPARE[rule.condition](numbers, rule.threshold), numbers)
        held_from = _held_from(rule, times_us, breach_rows)
        is_due = (held_from != _LONG_AGO_US) & (times_us - held_from >= rule.hold_us)
        bound = rule.threshold if rule.resolve_threshold is None else rule.resolve_threshold
        extend_rows = _rows(_COMPARE[rule.condition](numbers, bound), numbers)
        return _History(
            rule,
            times_us,
            numbers,
            breach_rows,
            held_from,
            np.flatnonzero(is_due),
            extend_rows,
            np.flatnonzero(_is_over(rule, times_us, extend_rows)),
        )

    def sample(self, row: int) -> Sample:
        time_us = int(self.times_us[row])
        return Sample(time_us, _value(float(self.numbers[row])), time_us)

    def next_decision(self, state: PairState, at: int) -> int | None:
        """The first row from `at` on that fires or resolves; None when there is none."""
        if state.open is None:
            if state.last_fired_us is not None:
                cool_us = state.last_fired_us + self.rule.cooldown_us
                at = max(at, int(np.searchsorted(self.times_us, cool_us)))
            return _first(self.due_rows, at)
        if not self.rule.auto_resolve:
            return None
        kept = _first(self.extend_rows, at)
        row = self._over_without(state.open.last_breach_us, at, kept)
        return _first(self.over_rows, kept + 1) if row is None and kept is not None else row

    def _over_without(self, last_breach_us: int, at: int, kept: int | None) -> int | None:
        """The first row up to `kept` at which an alert is over that nothing has kept open since."""
        end_us = last_breach_us + self.rule.resolve_after_us
        row = max(at, int(np.searchsorted(self.times_us, end_us)))
        if row == kept:
            is_silent = self.rule.no_data is not NoData.OK or self.times_us[row] == end_us
            return None if is_silent else row
        is_before = row < len(self.times_us) and (kept is None or row < kept)
        return row if is_before else None

    def before(self, row: int, state: PairState) -> PairState:
        """The state as it is when the next sample is that of this row."""
        if row == 0:
            return state
        last = row - 1
        newest_us, held_us = int(self.times_us[last]), int(self.held_from[last])
        alert = state.open
        if alert is not None:
            kept = int(np.searchsorted(self.extend_rows, row)) - 1
            kept_us = int(self.times_us[self.extend_rows[kept]]) if kept >= 0 else alert.fired_us
            if kept_us > alert.fired_us:
                alert = replace(alert, last_breach_us=max(alert.last_breach_us, kept_us))
        return PairState(
            newest_us,
            newest_us,
            _value(float(self.numbers[last])),
            self._breach_times(row, newest_us),
            None if held_us == _LONG_AGO_US else held_us,
            alert,
            state.last_fired_us,
        )

    def _breach_times(self, row: int, newest_us: int) -> tuple[int, ...]:
        end = int(np.searchsorted(self.breach_rows, row))
        start = max(0, end - self.rule.trigger_count)
        times = self.times_us[self.breach_rows[start:end]].tolist()
        if self.rule.window_us:
            return tuple(t for t in times if t > newest_us - self.rule.window_us)
        return (newest_us,) if times and times[-1] == newest_us else ()


def _rows(breaches: Bools, numbers: Float64s) -> Int64s:
    return np.flatnonzero(breaches & ~np.isnan(numbers))


def _first(rows: Int64s, at: int) -> int | None:
    index = int(np.searchsorted(rows, at))
    return int(rows[index]) if index < len(rows) else None


def _held_from(rule: Rule, times_us: Int64s, breach_rows: Int64s) -> Int64s:
    """When the unbroken run of samples began at which enough breaches lie in the window."""
    n = len(times_us)
    until = np.searchsorted(breach_rows, np.arange(n), side="right")
    if rule.window_us:
        first_rows = np.searchsorted(times_us, times_us - rule.window_us, side="right")
    else:
        first_rows = np.arange(n)
    holds = until - np.searchsorted(breach_rows, first_rows) >= rule.trigger_count
    begins = holds.copy()
    begins[1:] &= ~holds[:-1]
    starts = np.maximum.accumulate(np.where(begins, np.arange(n), -1)) if n else np.arange(0)
    return np.where(holds, times_us[np.maximum(starts, 0)], _LONG_AGO_US)


def _is_over(rule: Rule, times_us: Int64s, extend_rows: Int64s) -> Bools:
    """Rows that come too late to keep an alert open, counted from the row before that kept it."""
    n = len(times_us)
    keeps = np.zeros(n, np.bool_)
    keeps[extend_rows] = True
    before = np.searchsorted(extend_rows, np.arange(n)) - 1
    has_one = before >= 0
    end_us = np.full(n, 2**62, np.int64)
    end_us[has_one] = times_us[extend_rows[before[has_one]]] + rule.resolve_after_us
    over: Bools = (times_us >= end_us) & ~keeps
    return over if rule.no_data is not NoData.OK else over | (times_us > end_us)
