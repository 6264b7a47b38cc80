"""API keys and who a credential belongs to."""

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from telemetryctl.api.model import Answer, Input, Instant

_DURATION_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION_PART = re.compile(r"(\d{1,9})([smhdw])")


class Scope(StrEnum):
    """What a key may do."""

    INGEST = "ingest"
    READ = "read"
    ALERTS_WRITE = "alerts:write"
    METRICS_WRITE = "metrics:write"
    DEVICES_WRITE = "devices:write"
    EXPORT = "export"
    KEYS = "keys"
    ADMIN = "admin"


class Tier(StrEnum):
    """How many requests a key may make in an hour: 100, 1,000 or any number."""

    FREE = "free"
    PRO = "pro"
    ENTERPRISE = "enterprise"


def parse_duration_s(value: object) -> object:
    """Return the seconds of text such as `90d` or `1h30m`; other values pass on as they are.

    Raises ValueError for text that is not a duration. A day has 24 hours, a week 7 days.
    """
    if not isinstance(value, str):
        return value
    parts = _DURATION_PART.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError("a duration is seconds or text such as 90d, 12h or 1h30m")
    return sum(int(number) * _DURATION_UNITS_S[unit] for number, unit in parts)


def duration_schema(*, at_least_s: int, at_most_s: int) -> dict[str, Any]:
    """The JSON schema of seconds, or of text that `parse_duration_s` reads."""
    seconds = {"type": "integer", "minimum": at_least_s, "maximum": at_most_s}
    text = {"type": "string", "pattern": "^([0-9]{1,9}[smhdw])+$"}
    return {"anyOf": [seconds, text], "description": "seconds, or text such as 90d or 1h30m"}


Pattern = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:/*?-]+$")]
Patterns = Annotated[list[Pattern], Field(min_length=1, max_length=100)]
LifetimeSeconds = Annotated[
    int,
    BeforeValidator(parse_duration_s),
    Field(gt=0, le=3_650 * 86_400),
    WithJsonSchema(duration_schema(at_least_s=1, at_most_s=3_650 * 86_400)),
]
OverlapSeconds = Annotated[
    int,
    BeforeValidator(parse_duration_s),
    Field(ge=0, le=90 * 86_400),
    WithJsonSchema(duration_schema(at_least_s=0, at_most_s=90 * 86_400)),
]


SigningKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1_024,
        description="An Ed25519 public key, as PEM or as base64 of its 32 bytes: from now on every"
        " request with the key is to be signed (RFC 9421).",
    ),
]


class KeyCreate(Input):
    """A new key; patterns are globs (`*`, `?`) over whole ids, null means every id."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=16)]
    tier: Tier = Tier.FREE
    expires_in: LifetimeSeconds | None = None
    devices: Patterns | None = None
    groups: Patterns | None = None
    metrics: Patterns | None = None
    signing_key: SigningKey | None = None


class KeyRotate(Input):
    """Replace a key's secret; the old one stays valid for `overlap` seconds.

    A new `signing_key` holds for the new secret; without one the key keeps its own, or none.
    """

    overlap: OverlapSeconds = 0
    signing_key: SigningKey | None = None


class KeyNetwork(Answer):
    """A network that a key was used from: a /24 or /48, or `local` for the host of the daemon."""

    network: str
    first_used_at: Instant
    last_used_at: Instant


class FormerCaller(Answer):
    """Who still comes with the secret of before the last rotation; `agent` is what it calls itself
    (`User-Agent`), empty when it says nothing."""

    address: str
    agent: str
    last_used_at: Instant


class Key(Answer):
    """A key without its secret; `networks` and `former_callers`, the last used first, are told of a
    single key only."""

    key_id: str
    name: str
    scopes: list[str]
    tier: str
    devices: list[str] | None = None
    groups: list[str] | None = None
    metrics: list[str] | None = None
    expires_at: Instant | None = None
    created_at: Instant
    last_used_at: Instant | None = None
    last_used_from: str | None = None
    former_valid_until: Instant | None = None
    signing_key: str | None = Field(
        default=None, description="The public key that requests are signed for, as base64."
    )
    networks: list[KeyNetwork] | None = None
    former_callers: list[FormerCaller] | None = None


class KeyCreated(Key):
    """A key with its secret, which the server can't show again."""

    key: str


class KeyList(Answer):
    """A page of keys, newest first."""

    keys: list[Key]
    count: int
    total: int
    limit: int
    offset: int
    next_cursor: str | None = None


class KeyRevoked(Answer):
    """A key is no longer accepted."""

    success: bool
    message: str


class OperationAccess(Answer):
    """Whether a key may do one operation, whatever it is about; `lack` says why not: `state`,
    `scope`, `patterns`, `expires` or `issuer`."""

    operation: str
    method: str
    path: str
    scope: str
    allowed: bool
    lack: str | None = None


class KeyAccess(Answer):
    """What a key may do: each operation, or the one that was asked for.

    `state` is `active`, `overlapping` (the secret before the last rotation is accepted, too),
    `expired` or `revoked`. `allowed` is the answer to what was asked: the operation, and whether
    the patterns let it be about the device and the metric; null when nothing was.
    """

    principal: str
    key_id: str | None = None
    name: str
    state: str
    is_alive: bool
    scopes: list[str]
    tier: str
    devices: list[str] | None = None
    groups: list[str] | None = None
    metrics: list[str] | None = None
    expires_at: Instant | None = None
    former_valid_until: Instant | None = None
    revoked_at: Instant | None = None
    device_id: str | None = None
    sees_device: bool | None = None
    metric_name: str | None = None
    sees_metric: bool | None = None
    allowed: bool | None = None
    operations: list[OperationAccess]


class Budget(Answer):
    """What is left of one budget; `window` is its length, and in `reset_in` there is more, in
    seconds."""

    limit: int
    remaining: int
    window: int
    reset_in: int


class Principal(Answer):
    """Who the credential of this request is and what it may do."""

    principal: str
    key_id: str | None = None
    name: str | None = None
    scopes: list[str]
    tier: str
    devices: list[str] | None = None
    groups: list[str] | None = None
    metrics: list[str] | None = None
    expires_at: Instant | None = None
    limits: dict[str, Budget] = Field(
        default={}, description="Budgets by class; what is not limited is not named."
    )
