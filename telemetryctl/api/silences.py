"""Silences: messages that nobody gets for a while."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from telemetryctl.api.model import EPOCH, Answer, Input, Instant
from telemetryctl.api.rules import Level

_Value = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]
Matched = _Value | Annotated[list[_Value], Field(min_length=1, max_length=100)]
"""One value or several of which one has to fit; a text may hold `*` and `?`."""


class Matchers(Input):
    """What a silence holds back: all that are given have to fit."""

    device_id: Matched | None = None
    rule_id: Matched | None = None
    rule_name: Matched | None = None
    metric_name: Matched | None = None
    level: Level | Annotated[list[Level], Field(min_length=1, max_length=5)] | None = None
    group: Annotated[Matched | None, Field(description="id or name")] = None

    @model_validator(mode="after")
    def _is_not_empty(self) -> "Matchers":
        if all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError("a silence has a matcher at least")
        return self


class SilenceCreate(Input):
    """A new silence, from now on unless it says when."""

    matchers: Matchers
    starts_at: Instant | None = None
    ends_at: Instant
    comment: Annotated[str, Field(max_length=1_024)] = ""


class SilencePatch(Input):
    """A change of a silence: only fields that are present change.

    Read it with `model_dump(exclude_unset=True)`.
    """

    matchers: Matchers = Field(default_factory=lambda: Matchers(device_id="*"))
    starts_at: Instant = EPOCH
    ends_at: Instant = EPOCH
    comment: Annotated[str, Field(max_length=1_024)] = ""


class Silence(Answer):
    """A silence as the server keeps it; `state` is pending, active or expired."""

    silence_id: str
    matchers: dict[str, Any]
    starts_at: Instant
    ends_at: Instant
    comment: str
    created_at: Instant
    updated_at: Instant
    created_by: str
    state: str


class SilenceList(Answer):
    """A page of silences, those that end last first."""

    silences: list[Silence]
    count: int
    total: int
    filters: dict[str, Any]
    limit: int
    offset: int
    next_cursor: str | None = None


class SilenceExpired(Answer):
    """A silence is over."""

    success: bool
    message: str
