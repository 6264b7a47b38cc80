"""Who still comes with the secret of before a rotation, as the owner of the key sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

CALLERS_MAX = 32
"""Of so many a key is remembered; beyond them the one that came longest ago goes."""
ADDRESS_MAX = 64
AGENT_MAX = 128


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request comes from, and what it calls itself, as far as that may be shown; `agent` is
    empty when it says nothing."""

    address: str
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Overlap:
    """The time after one rotation of a key in which its former secret is accepted, by its end."""

    key_id: str
    valid_until: datetime


@dataclass(frozen=True, slots=True)
class FormerCaller:
    """A caller with the former secret, and when it came last."""

    address: str
    agent: str
    last_used_at: datetime
