"""Which rules ask about which rows of a block: found by sorted thresholds, so that rules nobody
breaches cost nothing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from daemon.domain.block import Block
from daemon.domain.rules import Condition, Level, NoData, Rule, RuleKind, breaches
from daemon.live.registry import Registry

_ABOVE = (Condition.ABOVE, Condition.AT_LEAST)
_BELOW = (Condition.BELOW, Condition.AT_MOST)

Span = tuple[int, int, int]
"""Series id, first row, row after the last, of a block that is sorted by series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundRule:
    """A rule, its name, and whom it watches; `devices` None means every device with the metric."""

    rule_id: str
    name: str
    metric_name: str
    level: Level
    rule: Rule
    devices: frozenset[str] | None = None
    group_ids: tuple[str, ...] = ()
    is_shadow: bool = False
    is_watch: bool = False
    revision: int = 1
    since: int = 0
    """Blocks up to this position were there before the rule: it does not judge them."""


@dataclass(slots=True)
class _MetricRules:
    """The rules on one metric; those with an order of thresholds ascend by them."""

    above: list[BoundRule] = field(default_factory=list)
    below: list[BoundRule] = field(default_factory=list)
    others: list[BoundRule] = field(default_factory=list)
    of_device: dict[str, list[BoundRule]] = field(default_factory=dict)
    above_bounds: list[float] = field(default_factory=list)
    below_bounds: list[float] = field(default_factory=list)
    remembering: list[BoundRule] = field(default_factory=list)

    def add(self, bound: BoundRule) -> None:
        rule = bound.rule
        if bound.devices is None and rule.remembers:
            self.remembering.append(bound)
        if bound.devices is not None:
            for device_id in bound.devices:
                self.of_device.setdefault(device_id, []).append(bound)
        elif not _is_ordered(rule):
            self.others.append(bound)
        elif rule.condition in _ABOVE:
            self.above.append(bound)
        else:
            self.below.append(bound)

    def sort(self) -> None:
        self.above.sort(key=_threshold)
        self.below.sort(key=_threshold)
        self.above_bounds = [_threshold(bound) for bound in self.above]
        self.below_bounds = [_threshold(bound) for bound in self.below]


class RuleIndex:
    """All enabled rules by id and by metric."""

    def __init__(self, registry: Registry, rules: Iterable[BoundRule]) -> None:
        self._registry = registry
        self.rules = {bound.rule_id: bound for bound in rules}
        self.newest_since = max((bound.since for bound in self.rules.values()), default=0)
        self._of_metric: dict[str, _MetricRules] = {}
        for bound in self.rules.values():
            self._of_metric.setdefault(bound.metric_name, _MetricRules()).add(bound)
        for known in self._of_metric.values():
            known.sort()
        self._metric_of: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self._version = -1

    def remembering(self, series_id: int) -> list[BoundRule]:
        """The rules on a series whose samples can fire for those before them."""
        registry = self._registry
        rules = self._of_metric.get(registry.metric_of[series_id] or "")
        if rules is None:
            return []
        own = rules.of_device.get(registry.device_of[series_id] or "", ())
        return [*rules.remembering, *(bound for bound in own if bound.rule.remembers)]

    def asked(self, block: Block, spans: Sequence[Span]) -> dict[int, set[str]]:
        """Series id -> rules that may breach in its rows, or that want each of its samples."""
        found: dict[int, set[str]] = {}
        if not self._of_metric:
            return found
        by_metric: dict[str, list[Span]] = {}
        metric_of = self._registry.metric_of
        for span in spans:
            metric_name = metric_of[span[0]]
            if metric_name in self._of_metric:
                by_metric.setdefault(metric_name, []).append(span)
        for metric_name, own in by_metric.items():
            self._ask_metric(found, block, own, rules=self._of_metric[metric_name])
        return found

    def _ask_metric(
        self, found: dict[int, set[str]], block: Block, spans: list[Span], *, rules: _MetricRules
    ) -> None:
        if rules.above or rules.below:
            _ask_ordered(found, block, spans, rules)
        for bound in rules.others:
            for series_id, start, end in spans:
                if _wants(bound.rule, block, start, end):
                    found.setdefault(series_id, set()).add(bound.rule_id)
        if rules.of_device:
            for series_id, start, end in spans:
                device_id = self._registry.device_of[series_id]
                for bound in rules.of_device.get(device_id or "", ()):
                    if _wants(bound.rule, block, start, end):
                        found.setdefault(series_id, set()).add(bound.rule_id)


def _ask_ordered(
    found: dict[int, set[str]], block: Block, spans: list[Span], rules: _MetricRules
) -> None:
    """The rules whose threshold lies below the highest, or above the lowest, value of a series."""
    starts = np.array([start for _, start, _ in spans])
    ends = np.array([end for _, _, end in spans])
    rows, firsts = _rows(block, starts, ends)
    # fmax and fmin pass over NaN, which stands for objects.
    highest = np.fmax.reduceat(rows, firsts)
    lowest = np.fmin.reduceat(rows, firsts)
    least = rules.above_bounds[0] if rules.above else np.inf
    most = rules.below_bounds[-1] if rules.below else -np.inf
    for at in np.flatnonzero((highest >= least) | (lowest <= most)).tolist():
        high, low = float(highest[at]), float(lowest[at])
        reached = rules.above[: bisect_right(rules.above_bounds, high)]
        reached = reached + rules.below[bisect_left(rules.below_bounds, low) :]
        own = {b.rule_id for b in reached if _reaches(b.rule, high, low)}
        if own:
            found.setdefault(spans[at][0], set()).update(own)


def _rows(
    block: Block, starts: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """The numbers of the spans behind each other, and where each begins."""
    lengths = ends - starts
    firsts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    if lengths.sum() == len(block):
        return block.numbers, firsts
    index = np.repeat(starts - firsts, lengths) + np.arange(lengths.sum())
    return block.numbers[index], firsts


def _reaches(rule: Rule, high: float, low: float) -> bool:
    return breaches(rule, high if rule.condition in _ABOVE else low)


def _wants(rule: Rule, block: Block, start: int, end: int) -> bool:
    """Whether a rule asks about these rows of a series; those that follow states want all."""
    if rule.kind is not RuleKind.THRESHOLD or rule.no_data is NoData.ALERT:
        return True
    if _is_ordered(rule):
        numbers = block.numbers[start:end]
        return _reaches(rule, float(np.fmax.reduce(numbers)), float(np.fmin.reduce(numbers)))
    for row, number in enumerate(block.numbers[start:end].tolist(), start):
        value = block.objects.get(row) if number != number else number
        if breaches(rule, value):
            return True
    return False


def _is_ordered(rule: Rule) -> bool:
    is_number = isinstance(rule.threshold, int | float)
    plain = rule.kind is RuleKind.THRESHOLD and rule.no_data is not NoData.ALERT
    return plain and is_number and rule.condition in (*_ABOVE, *_BELOW)


def _threshold(bound: BoundRule) -> float:
    return float(bound.rule.threshold)
