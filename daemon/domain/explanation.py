"""Why a rule fires or not on one device at one moment, in words and numbers (B1). Decided with the
functions of domain/alerts; what is known is gathered by service/explaining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.domain.alerts import (
    GAPS_MIN,
    OpenAlert,
    PairState,
    Sample,
    cadence_us,
    rebuild,
    silence_us,
)
from daemon.domain.rules import Rule, RuleKind, breaches

SAMPLES_SHOWN_MAX = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that keeps a rule from firing, or its alert from being told; `until` where time
    ends it."""

    code: str
    detail: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked about, and what the tables say of it.

    samples        stored ones up to `at_us`, in order, as far back as matters
    opened         the alert that was open then
    last_fired_us  of the newest alert by then, by event time
    late           samples that came too late to count
    """

    rule: Rule
    at_us: int
    samples: Sequence[Sample]
    opened: OpenAlert | None = None
    last_fired_us: int | None = None
    late: int = 0


@dataclass(slots=True)
class Explanation:
    """The answer; `causes` is empty exactly when it fires."""

    causes: list[Cause] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def add(self, code: str, detail: str, until_us: int | None = None) -> None:
        until = None if until_us is None else _instant(until_us)
        self.causes.append(Cause(code, detail, until))


def explain_rule(asked: Asked) -> Explanation:
    """Why it fires or not; the newest sample decides, as in a live run."""
    found = Explanation()
    rule = asked.rule
    state = rebuild(rule, asked.samples, alert=asked.opened, last_fired_us=asked.last_fired_us)
    if not asked.samples:
        found.add("no_samples", "no sample is stored before this time")
        return found
    _describe_newest(found, asked)
    match rule.kind:
        case RuleKind.THRESHOLD:
            _explain_threshold(found, asked, state)
        case RuleKind.TRANSITION:
            _explain_transition(found, asked)
        case RuleKind.ABSENCE:
            _explain_silence(found, asked, state)
    if asked.opened is not None:
        since = _instant(asked.opened.fired_us)
        found.add("open_already", f"its alert is open since {_clock(since)}")
    _explain_cooldown(found, asked, state)
    if asked.late:
        found.words.append(f"{asked.late} samples arrived too late to count")
    return found


def summary_of(found: Explanation) -> str:
    """One sentence: the numbers first, then what stands in the way."""
    return "; ".join([*found.words, *(cause.detail for cause in found.causes)]) or "it fires"


def _describe_newest(found: Explanation, asked: Asked) -> None:
    newest = asked.samples[-1]
    age_us = asked.at_us - newest.time_us
    found.figures["newest"] = {
        "timestamp": _instant(newest.time_us),
        "value": newest.value,
        "age_seconds": age_us / 1e6,
    }
    found.words.append(f"newest sample {duration(age_us)} old")
    rule = asked.rule
    oldest_us = newest.time_us - max(rule.window_us, 0)
    previous: Any = None
    for sample in asked.samples:
        if sample.time_us > oldest_us or sample is newest:
            is_breach = breaches(rule, sample.value, previous=previous)
            found.samples.append(
                {
                    "timestamp": _instant(sample.time_us),
                    "value": sample.value,
                    "is_breach": is_breach,
                }
            )
        previous = sample.value
    del found.samples[:-SAMPLES_SHOWN_MAX]


def _explain_threshold(found: Explanation, asked: Asked, state: PairState) -> None:
    rule = asked.rule
    count = len(state.breach_times_us)
    held_us = 0
    if state.held_since_us is not None and state.newest_us is not None:
        held_us = state.newest_us - state.held_since_us
    found.figures |= {
        "breaches": count,
        "trigger_count": rule.trigger_count,
        "evaluation_window": rule.window_us / 1e6,
        "held": held_us / 1e6,
        "for": rule.hold_us / 1e6,
    }
    words = f"{count} of {rule.trigger_count} breaches"
    if rule.window_us:
        words += f" in {duration(rule.window_us)}"
    found.words.insert(0, words)
    if count == 0:
        found.add("no_breach", f"no counted value is {rule.condition} {_short(rule.threshold)}")
    elif count < rule.trigger_count:
        found.add("too_few_breaches", f"{rule.trigger_count - count} more are needed")
    elif held_us < rule.hold_us:
        until_us = (state.held_since_us or 0) + rule.hold_us
        detail = f"it has held for {duration(held_us)} of {duration(rule.hold_us)}"
        found.add("not_held", detail, until_us)


def _explain_transition(found: Explanation, asked: Asked) -> None:
    previous = asked.samples[-2].value if len(asked.samples) > 1 else None
    newest = asked.samples[-1].value
    found.figures |= {"previous_value": previous}
    if not breaches(asked.rule, newest, previous=previous):
        rule = asked.rule
        wanted = f"{_any(rule.from_value)} to {_any(rule.to_value)}"
        found.add(
            "no_transition",
            f"the newest is from {_short(previous)} to {_short(newest)}, not {wanted}",
        )


def _explain_silence(found: Explanation, asked: Asked, state: PairState) -> None:
    rule, newest = asked.rule, asked.samples[-1]
    limit_us = silence_us(state, rule)
    interval_us = rule.expected_interval_us or cadence_us(state.gaps_us)
    found.figures |= {
        "expected_interval": None if interval_us is None else interval_us / 1e6,
        "is_learned": rule.expected_interval_us is None,
        "allowed_silence": None if limit_us is None else limit_us / 1e6,
    }
    if limit_us is None:
        detail = f"its cadence is not known yet: {len(state.gaps_us)} of {GAPS_MIN} gaps"
        found.add("warming_up", detail)
        return
    due_us = newest.time_us + limit_us
    if asked.at_us <= due_us:
        found.add("not_silent", f"it may be silent for {duration(limit_us)}", due_us)


def _explain_cooldown(found: Explanation, asked: Asked, state: PairState) -> None:
    rule, last_us = asked.rule, asked.last_fired_us
    if last_us is None:
        return
    until_us = last_us + rule.cooldown_us
    found.figures |= {"last_fired": _instant(last_us), "cooldown_until": _instant(until_us)}
    clock_us = state.newest_us or asked.at_us
    if rule.kind is RuleKind.ABSENCE:
        clock_us = asked.at_us
    if asked.opened is None and clock_us < until_us:
        found.add("cooldown", f"it fired at {_clock(_instant(last_us))}", until_us)


def duration(us: int) -> str:
    """`12 min`, `300 s`: as people say it."""
    seconds = us / 1e6
    for size, word, least in ((86_400, "d", 172_800), (3_600, "h", 7_200), (60, "min", 600)):
        if seconds >= least:
            return f"{seconds / size:.0f} {word}"
    return f"{seconds:g} s" if seconds >= 1 or seconds == 0 else f"{seconds * 1000:.0f} ms"


def _instant(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_us)


def _clock(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _any(value: Any) -> str:
    return "any" if value is None else _short(value)
