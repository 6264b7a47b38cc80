"""A message on its way to a channel, and what became of the attempt. How it travels is decided in
delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """What every kind of channel is given.

    id      the same for every attempt, so that a receiver can drop repeats
    type    name of the event it tells: alert.triggered, alert.resolved ...
    alerts  those it is about, as the contract shows them; none for a test
    links   headers that lead back to the request it comes from, if it comes from one
    """

    id: str
    type: str
    source: str
    time: datetime
    subject: str | None
    level: str
    title: str
    text: str
    data: Mapping[str, Any]
    alerts: Sequence[Mapping[str, Any]] = ()
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one attempt.

    is_final     trying again is pointless before somebody changes something
    may_be_told  nobody knows whether the receiver got it
    digest       of what it answered, for comparing; `detail` holds no secret
    """

    is_sent: bool
    status_code: int | None = None
    detail: str | None = None
    digest: str | None = None
    is_final: bool = False
    may_be_told: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a channel leads: its kind, settings and secrets by their names."""

    channel: str
    kind: str
    settings: Mapping[str, Any]
    secrets: Mapping[str, Any] = field(repr=False)
