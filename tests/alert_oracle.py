"""What the contract's section 7.1 says of a threshold rule, written a second time and slowly: every
decision from all samples, nothing carried along but the alerts themselves."""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from daemon.domain.alerts import Episode, Sample
from daemon.domain.rules import Rule

COMPARE = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


def episodes_of(rule: Rule, samples: Sequence[Sample]) -> list[Episode]:
    """The alerts of these samples, which are in order of time."""
    found: list[Episode] = []
    fired_us: int | None = None
    for at, sample in enumerate(samples):
        if fired_us is not None:
            over_us = _over_us(rule, samples[: at + 1], fired_us)
            if over_us is not None:
                found.append(Episode(fired_us, over_us))
                fired_us = None
        if fired_us is None and fires(rule, samples[: at + 1], found):
            fired_us = sample.time_us
    return found if fired_us is None else [*found, Episode(fired_us, None)]


def _breaches(rule: Rule, sample: Sample, *, bound: Any) -> bool:
    return bool(COMPARE[rule.condition](sample.value, bound))


def _holds(rule: Rule, samples: Sequence[Sample], end: int) -> bool:
    """Whether enough breaches lie in the window that ends with the sample before `end`."""
    newest = samples[end - 1]
    count = 0
    for at in range(end - 1, -1, -1):
        sample = samples[at]
        if sample is not newest and sample.time_us <= newest.time_us - rule.window_us:
            break
        count += _breaches(rule, sample, bound=rule.threshold)
    return count >= rule.trigger_count


def fires(rule: Rule, samples: Sequence[Sample], before: Sequence[Episode]) -> bool:
    """Whether the newest sample raises an alert, with none open and these behind."""
    t = samples[-1].time_us
    if before and t - before[-1].fired_us < rule.cooldown_us:
        return False
    for end in range(len(samples), 0, -1):
        if not _holds(rule, samples, end):
            return False
        if t - samples[end - 1].time_us >= rule.hold_us:
            return True
    return False


def _over_us(rule: Rule, samples: Sequence[Sample], fired_us: int) -> int | None:
    """When the alert was over by the newest of the samples, or None."""
    newest = samples[-1]
    bound = rule.threshold if rule.resolve_threshold is None else rule.resolve_threshold
    at = bisect_right(samples, fired_us, key=lambda sample: sample.time_us)
    last_us = next(
        sample.time_us
        for sample in reversed(samples[:at])
        if _breaches(rule, sample, bound=rule.threshold)
    )
    for sample in samples[at:]:
        if _breaches(rule, sample, bound=bound):
            if sample.time_us > last_us + rule.resolve_after_us:
                break
            last_us = sample.time_us
    end_us = max(fired_us, last_us + rule.resolve_after_us)
    is_over = newest.time_us >= end_us and newest.time_us != last_us
    return end_us if rule.auto_resolve and is_over else None
