"""Who asks, and what they may do. How a credential becomes a Principal is decided in
service/keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Protocol

from daemon.domain.budgets import Payer
from daemon.domain.errors import Forbidden

SCOPES = (
    "ingest",
    "read",
    "alerts:write",
    "metrics:write",
    "devices:write",
    "export",
    "keys",
    "admin",
)
TIERS = ("free", "pro", "enterprise")


@lru_cache(maxsize=32_768)
def _fits_any(name: str, patterns: tuple[str, ...]) -> bool:
    """Remembered: reads ask it of every series, and a key may have a hundred patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class GroupMembers(Protocol):
    """Who is in which group, now."""

    def devices_named(self, patterns: tuple[str, ...]) -> frozenset[str]:
        """Devices of all groups whose id or name fits a pattern."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """What an access token belongs to: a login here, or, without `session_id`, a token of another
    issuer, which is good until `expires_s` (seconds since 1970)."""

    session_id: str | None
    expires_s: float


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a key, or of an account: then `key_id` is the account's.

    `devices`, `groups` and `metrics` are glob patterns over the whole id, those of `groups` over
    the name too; None means all.

    A key that is bound to groups sees their members of the moment, as `members` knows them, and
    what its patterns of devices allow beside. `session` is there when it came with an access token.
    `ends_at` is when the key, or the secret that was shown, is good no longer; None for no end.
    `former_until` is there when it came with the secret of before the last rotation: the end of
    the overlap. Requests of a holder with a `signing_key` (32 bytes of Ed25519) are signed with its
    other half. `payers` are those whose budgets its requests are counted in beside its own, the
    widest first.
    """

    key_id: str
    name: str
    scopes: frozenset[str]
    tier: str = "free"
    devices: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    members: GroupMembers | None = field(default=None, compare=False, repr=False)
    session: Session | None = field(default=None, compare=False)
    ends_at: datetime | None = field(default=None, compare=False)
    former_until: datetime | None = field(default=None, compare=False)
    signing_key: bytes | None = field(default=None, compare=False)
    payers: tuple[Payer, ...] = field(default=(), compare=False)

    def require(self, scope: str) -> None:
        """Raises Forbidden unless the key carries the scope; `admin` carries all."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Forbidden(f"this needs the scope {scope}")

    @property
    def is_foreign(self) -> bool:
        """Whether it came with a token of another issuer, who alone can end it."""
        return self.session is not None and self.session.session_id is None

    @property
    def sees_everything(self) -> bool:
        return self.devices is None and self.groups is None and self.metrics is None

    @property
    def is_bound(self) -> bool:
        """Whether it sees certain devices only."""
        return self.devices is not None or self.groups is not None

    def sees_device(self, device_id: str) -> bool:
        if not self.is_bound:
            return True
        if self.devices is not None and _fits_any(device_id, self.devices):
            return True
        return device_id in self.member_ids

    @property
    def member_ids(self) -> frozenset[str]:
        """Devices that the key sees by its groups."""
        if self.groups is None or self.members is None:
            return frozenset()
        return self.members.devices_named(self.groups)

    def sees_metric(self, metric_name: str) -> bool:
        return self.metrics is None or _fits_any(metric_name, self.metrics)
