"""How the alert of one (rule, device) comes and goes: pure, by event time. Who feeds it samples and
ticks is decided in workers and backtests.

The words are those of the contract, section 7.1. A device's clock is the time of its newest sample;
while it is silent the clock goes on from there by the wall's, counted from that sample's arrival.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, assert_never

from daemon.domain.rules import SILENCE_DEFAULT_US, NoData, Rule, RuleKind, breaches

GAPS_MAX = 64
"""Gaps between samples that a cadence is learned from."""
GAPS_MIN = 10
"""With fewer a device is new, and its absence raises nothing."""
CADENCE_QUANTILE = 0.95


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of the device's metric; `arrived_us` is when its block was committed."""

    time_us: int
    value: Any
    arrived_us: int


@dataclass(frozen=True, slots=True)
class Tick:
    """The wall clock, for devices that fell silent."""

    now_us: int


Observation = Sample | Tick


class Change(StrEnum):
    """What a transition does to the alert."""

    FIRED = "fired"
    RESOLVED = "resolved"
    STALE = "stale"
    FRESH = "fresh"


class Reason(StrEnum):
    """Why; of a resolution these are the contract's words."""

    BREACHED = "breached"
    ABSENT = "absent"
    CLEARED = "cleared"
    NO_DATA = "no_data"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Transition:
    """One change at an instant of event time, with what decided it.

    breach_times_us  of the breaches that were counted, ascending
    held_since_us    since when the condition has held
    """

    to: Change
    at_us: int
    reason: Reason
    value: Any = None
    breach_times_us: tuple[int, ...] = ()
    held_since_us: int | None = None


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """The alert that is open: when it fired and when it was last breached, by event time."""

    fired_us: int
    last_breach_us: int
    is_stale: bool = False
    by_silence: bool = False


@dataclass(frozen=True, slots=True)
class PairState:
    """What has to be known of a (rule, device); all of it follows from stored points and alerts.

    breach_times_us  the newest `trigger_count` breaches within the window, ascending
    gaps_us          between the newest samples, for the cadence; only kept by rules that ask for it
    """

    newest_us: int | None = None
    arrived_us: int = 0
    value: Any = None
    breach_times_us: tuple[int, ...] = ()
    held_since_us: int | None = None
    open: OpenAlert | None = None
    last_fired_us: int | None = None
    gaps_us: tuple[int, ...] = ()


@dataclass(slots=True)
class _Run:
    """One step under way."""

    rule: Rule
    state: PairState
    transitions: list[Transition] = field(default_factory=list)

    def change(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)

    def emit(self, to: Change, at_us: int, reason: Reason) -> None:
        state = self.state
        self.transitions.append(
            Transition(to, at_us, reason, state.value, state.breach_times_us, state.held_since_us)
        )


def step(
    state: PairState, observation: Observation, rule: Rule
) -> tuple[PairState, list[Transition]]:
    """The state after a sample or a tick, and what changed; a sample can end one alert and raise
    the next.

    Raises ValueError for a sample that is not newer than the newest: `judge_late` is for those.
    """
    run = _Run(rule, state)
    match observation:
        case Sample():
            _take_sample(run, observation)
        case Tick():
            _take_tick(run, observation)
        case _:
            assert_never(observation)
    return run.state, run.transitions


def is_idle(state: PairState, rule: Rule, *, at_us: int) -> bool:
    """Whether a sample at this time that does not breach changes nothing but the newest value."""
    return (
        state.open is None
        and rule.kind is not RuleKind.ABSENCE
        and state.held_since_us is None
        and (not state.breach_times_us or state.breach_times_us[-1] <= at_us - rule.window_us)
    )


# -- samples -------------------------------------------------------------------------------------


def _take_sample(run: _Run, sample: Sample) -> None:
    state, rule = run.state, run.rule
    if state.newest_us is not None and sample.time_us <= state.newest_us:
        raise ValueError("the sample is not newer than the newest")
    previous = state.value
    _note_silence_before(run, sample)
    is_breach = breaches(rule, sample.value, previous=previous)
    _settle_open(run, sample, previous)
    _remember(run, sample, is_breach=is_breach)
    if run.state.open is None:
        _fire_if_due(run, sample.time_us)


def _remember(run: _Run, sample: Sample, *, is_breach: bool) -> None:
    """What later samples are judged by."""
    run.change(
        newest_us=sample.time_us,
        arrived_us=sample.arrived_us,
        value=sample.value,
        gaps_us=_gaps_after(run.state, sample, run.rule),
    )
    _count_breach(run, sample.time_us, is_breach=is_breach)


def _note_silence_before(run: _Run, sample: Sample) -> None:
    """What ticks would have raised, had there been any: a backtest has none."""
    due_us = _silence_due_us(run.state, run.rule)
    if due_us is not None and due_us < sample.time_us and run.state.open is None:
        _fire_by_silence(run, due_us)
    alert = run.state.open
    if alert is not None and alert.by_silence:
        if run.rule.auto_resolve:
            run.emit(Change.RESOLVED, sample.time_us, Reason.RETURNED)
            run.change(open=None)
    elif alert is not None and alert.is_stale:
        run.emit(Change.FRESH, sample.time_us, Reason.RETURNED)
        run.change(open=replace(alert, is_stale=False))


def _settle_open(run: _Run, sample: Sample, previous: Any) -> None:
    """Resolve the open alert when its time was over before this sample; else let it extend."""
    alert, rule = run.state.open, run.rule
    if alert is None or alert.by_silence:
        return
    deadline_us = _deadline_us(alert, rule)
    is_breach = breaches(rule, sample.value, previous=previous, is_open=True)
    keeps_through_silence = rule.no_data is not NoData.OK
    is_over = sample.time_us > deadline_us or (sample.time_us == deadline_us and not is_breach)
    if rule.auto_resolve and is_over and not (keeps_through_silence and is_breach):
        # Where silence does not count, only a calm sample can tell that it is over.
        at_us = sample.time_us if keeps_through_silence else deadline_us
        run.emit(Change.RESOLVED, at_us, _why_over(run.state, sample, deadline_us, rule))
        run.change(open=None)
    elif is_breach:
        run.change(open=replace(alert, last_breach_us=sample.time_us))


def _deadline_us(alert: OpenAlert, rule: Rule) -> int:
    """When it is over unless a breach comes; an alert that fired for breaches of long ago, at the
    end of a cooldown, is not over before it began."""
    return max(alert.fired_us, alert.last_breach_us + rule.resolve_after_us)


def _why_over(state: PairState, sample: Sample, deadline_us: int, rule: Rule) -> Reason:
    alert, newest_us = state.open, state.newest_us
    assert alert is not None
    assert newest_us is not None
    saw_calm = newest_us > alert.last_breach_us or sample.time_us == deadline_us
    return Reason.CLEARED if saw_calm or rule.no_data is not NoData.OK else Reason.NO_DATA


def _count_breach(run: _Run, time_us: int, *, is_breach: bool) -> None:
    state, rule = run.state, run.rule
    times = state.breach_times_us
    if is_breach:
        times = (*times, time_us)[-rule.trigger_count :]
    if rule.window_us:
        # In order, so that what is over stands in front; a thousand are not looked at each time.
        times = times[bisect_right(times, time_us - rule.window_us) :]
    else:
        times = (time_us,) if is_breach else ()
    holds = len(times) >= rule.trigger_count
    since_us = state.held_since_us if state.held_since_us is not None else time_us
    run.change(breach_times_us=times, held_since_us=since_us if holds else None)


def _fire_if_due(run: _Run, time_us: int) -> None:
    state, rule = run.state, run.rule
    if state.held_since_us is None or time_us - state.held_since_us < rule.hold_us:
        return
    if state.last_fired_us is not None and time_us - state.last_fired_us < rule.cooldown_us:
        return
    if state.last_fired_us is not None and time_us <= state.last_fired_us:
        # A sample that is judged again: it was corrected, or came late to one who began anew.
        return
    last_breach_us = state.breach_times_us[-1]
    run.change(open=OpenAlert(time_us, last_breach_us), last_fired_us=time_us)
    run.emit(Change.FIRED, time_us, Reason.BREACHED)


# -- silence -------------------------------------------------------------------------------------


def _take_tick(run: _Run, tick: Tick) -> None:
    state, rule = run.state, run.rule
    if state.newest_us is None:
        return
    clock_us = state.newest_us + max(0, tick.now_us - state.arrived_us)
    due_us = _silence_due_us(state, rule)
    alert = state.open
    if alert is None:
        if due_us is not None and clock_us > due_us:
            _fire_by_silence(run, due_us)
        return
    deadline_us = _deadline_us(alert, rule)
    if alert.by_silence or not rule.auto_resolve or clock_us <= deadline_us:
        return
    if rule.no_data is NoData.OK:
        saw_calm = state.newest_us > alert.last_breach_us
        reason = Reason.CLEARED if saw_calm else Reason.NO_DATA
        run.emit(Change.RESOLVED, deadline_us, reason)
        run.change(open=None)
    elif not alert.is_stale:
        run.emit(Change.STALE, deadline_us, Reason.NO_DATA)
        run.change(open=replace(alert, is_stale=True))


def _fire_by_silence(run: _Run, due_us: int) -> None:
    run.change(open=OpenAlert(due_us, due_us, by_silence=True), last_fired_us=due_us)
    run.emit(Change.FIRED, due_us, Reason.ABSENT)


def _silence_due_us(state: PairState, rule: Rule) -> int | None:
    """When the silence after the newest sample becomes one, or a cooldown ends with it; None when
    none ever does."""
    limit_us = silence_us(state, rule)
    if state.newest_us is None or limit_us is None:
        return None
    due_us = state.newest_us + limit_us
    if state.last_fired_us is None:
        return due_us
    return max(due_us, state.last_fired_us + rule.cooldown_us)


def silence_us(state: PairState, rule: Rule) -> int | None:
    """How long this device may be silent; None while that is unknown or not asked for."""
    is_absence = rule.kind is RuleKind.ABSENCE
    if not is_absence and rule.no_data is not NoData.ALERT:
        return None
    interval_us = rule.expected_interval_us or cadence_us(state.gaps_us)
    if interval_us is not None:
        return round(interval_us * rule.grace_factor)
    return None if is_absence else max(rule.window_us, SILENCE_DEFAULT_US)


def cadence_us(gaps_us: Sequence[int]) -> int | None:
    """The 95th percentile (nearest rank) of the gaps between samples; None when they are few."""
    if len(gaps_us) < GAPS_MIN:
        return None
    ranked = sorted(gaps_us)
    return ranked[min(len(ranked) - 1, int(len(ranked) * CADENCE_QUANTILE))]


def _gaps_after(state: PairState, sample: Sample, rule: Rule) -> tuple[int, ...]:
    learns = rule.kind is RuleKind.ABSENCE or rule.no_data is NoData.ALERT
    if not learns or rule.expected_interval_us is not None or state.newest_us is None:
        return state.gaps_us
    return (*state.gaps_us, sample.time_us - state.newest_us)[-GAPS_MAX:]


# -- whole timelines -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Episode:
    """One alert by event time; `resolved_us` is None while it is open."""

    fired_us: int
    resolved_us: int | None


def timeline(
    rule: Rule, samples: Iterable[Sample], *, start: PairState | None = None
) -> tuple[PairState, list[Transition]]:
    """All transitions of samples in strict order of time."""
    state, found = start or PairState(), []
    for sample in samples:
        state, transitions = step(state, sample, rule)
        found += transitions
    return state, found


def rebuild(
    rule: Rule, samples: Iterable[Sample], *, alert: OpenAlert | None, last_fired_us: int | None
) -> PairState:
    """The state behind these stored samples, in order, without deciding anything anew.

    They reach back `rule.memory_us`; `alert` and `last_fired_us` are as the alerts' table has them.
    """
    known_us = alert.last_breach_us if alert is not None else None
    start = PairState(known_us, known_us or 0, open=alert, last_fired_us=last_fired_us)
    run = _Run(rule, start)
    for sample in samples:
        previous = run.state.value
        _extend_open(run, sample, previous)
        _remember(run, sample, is_breach=breaches(rule, sample.value, previous=previous))
    return run.state


def _extend_open(run: _Run, sample: Sample, previous: Any) -> None:
    alert = run.state.open
    if alert is None or alert.by_silence or sample.time_us <= alert.last_breach_us:
        return
    if breaches(run.rule, sample.value, previous=previous, is_open=True):
        run.change(open=replace(alert, last_breach_us=sample.time_us))
