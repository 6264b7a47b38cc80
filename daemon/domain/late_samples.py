"""What samples that come late, or correct others, change about the alerts of one (rule, device).

In order they are judged by domain/alerts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from daemon.domain.alerts import (
    Change,
    Episode,
    OpenAlert,
    PairState,
    Sample,
    Transition,
    timeline,
)
from daemon.domain.rules import Rule

_FOREVER_US = 2**62


@dataclass(frozen=True, slots=True)
class Past:
    """An alert that only late samples show: it was over before anybody could know of it."""

    fired: Transition
    resolved: Transition


@dataclass(frozen=True, slots=True)
class Late:
    """What late samples change: the state, the end of the open alert, alerts that came and went
    unseen, and the firing of one that is open now."""

    state: PairState
    closed: Transition | None
    past: tuple[Past, ...]
    fired: Transition | None


def judge_late(
    state: PairState, rule: Rule, samples: Sequence[Sample], *, known: Sequence[Episode]
) -> Late:
    """What a late or corrected sample changes.

    `samples` are all stored ones from `rule.memory_us` before the late one up to the newest, in
    order; `known` are the alerts of the pair that were raised. What was raised is never taken back.
    """
    recomputed, found = timeline(rule, samples, start=_state_before(state, samples[0], known))
    review = _Review(rule, list(known), alert=state.open)
    if found and found[0].to is Change.RESOLVED:
        review.close(found.pop(0))
    for fired, resolved in _pairs(found):
        review.take(fired, resolved)
    alert = review.alert
    if review.fired is not None:
        alert = recomputed.open
    elif alert is not None and recomputed.open is not None:
        newest_us = max(alert.last_breach_us, recomputed.open.last_breach_us)
        alert = replace(alert, last_breach_us=newest_us)
    last_us = max((e.fired_us for e in review.known), default=state.last_fired_us)
    after = replace(recomputed, open=alert, last_fired_us=last_us, gaps_us=state.gaps_us)
    return Late(after, review.closed, tuple(review.past), review.fired)


def _state_before(state: PairState, first: Sample, known: Sequence[Episode]) -> PairState:
    """The alert that was open already, and the last firing, before a sample."""
    fired_us = [e.fired_us for e in known if e.fired_us < first.time_us]
    alert = state.open
    if alert is not None and alert.fired_us < first.time_us:
        # Open at the late sample, so breached since the first, which lies as far back as it takes.
        alert = replace(alert, last_breach_us=min(alert.last_breach_us, first.time_us - 1))
    else:
        alert = None
    newest_us = None if alert is None else alert.last_breach_us
    last_us = max(fired_us, default=None)
    return PairState(newest_us, newest_us or 0, open=alert, last_fired_us=last_us)


def _pairs(found: Sequence[Transition]) -> list[tuple[Transition, Transition | None]]:
    """Each firing with its resolution; None while it is open."""
    pairs: list[tuple[Transition, Transition | None]] = []
    for transition in found:
        if transition.to is Change.FIRED:
            pairs.append((transition, None))
        elif transition.to is Change.RESOLVED:
            pairs[-1] = (pairs[-1][0], transition)
    return pairs


@dataclass(slots=True)
class _Review:
    """Holds recomputed alerts, oldest first, against those that were raised."""

    rule: Rule
    known: list[Episode]
    alert: OpenAlert | None
    closed: Transition | None = None
    past: list[Past] = field(default_factory=list)
    fired: Transition | None = None

    def close(self, resolved: Transition) -> None:
        """The open alert was over then."""
        assert self.alert is not None
        self.known[-1] = Episode(self.alert.fired_us, resolved.at_us)
        self.closed, self.alert = resolved, None

    def take(self, fired: Transition, resolved: Transition | None) -> None:
        """The next recomputed alert."""
        alert = self.alert
        if alert is not None and (resolved is None or resolved.at_us >= alert.fired_us):
            if resolved is not None:
                self.close(resolved)
        elif not self._is_known(fired.at_us, None if resolved is None else resolved.at_us):
            if resolved is None:
                self.fired = fired
            else:
                self.past.append(Past(fired, resolved))
            end_us = None if resolved is None else resolved.at_us
            self.known.append(Episode(fired.at_us, end_us))

    def _is_known(self, fired_us: int, resolved_us: int | None) -> bool:
        """Whether it overlaps one that was raised, or its cooldown."""
        end_us = _FOREVER_US if resolved_us is None else resolved_us
        return any(
            fired_us == e.fired_us
            or abs(fired_us - e.fired_us) < self.rule.cooldown_us
            or (e.fired_us < end_us and fired_us < (e.resolved_us or _FOREVER_US))
            for e in self.known
        )
