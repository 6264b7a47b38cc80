"""Accounts of people, who log in with a password."""

from typing import Annotated

from pydantic import Field

from telemetryctl.api.keys import Patterns, Scope, Tier
from telemetryctl.api.model import Answer, Input, Instant

Username = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]*$")
]
NewPassword = Annotated[str, Field(min_length=8, max_length=1_024)]


class AccountCreate(Input):
    """A new account; patterns as those of keys."""

    username: Username
    password: NewPassword
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=16)]
    tier: Tier = Tier.FREE
    devices: Patterns | None = None
    groups: Patterns | None = None
    metrics: Patterns | None = None


class AccountChange(Input):
    """Another password, or whether the account is closed; both end its sessions."""

    password: NewPassword | None = None
    disabled: bool | None = None


class Account(Answer):
    """An account; its password is never shown."""

    account_id: str
    username: str
    scopes: list[str]
    tier: str
    devices: list[str] | None = None
    groups: list[str] | None = None
    metrics: list[str] | None = None
    disabled: bool
    created_at: Instant
    created_by: str
    last_login_at: Instant | None = None
    updated_at: Instant


class AccountList(Answer):
    """A page of accounts, by name."""

    accounts: list[Account]
    count: int
    total: int
    limit: int
    offset: int
    next_cursor: str | None = None


class AccountDeleted(Answer):
    """Nobody logs in to it any more."""

    success: bool
    message: str
