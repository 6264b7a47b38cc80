"""What a new account shall be; passwords are checked in service/passwords."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

USERNAME_CHARACTERS_MAX = 64
PASSWORD_CHARACTERS_MIN = 8
PASSWORD_CHARACTERS_MAX = 1_024
_USERNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")


@dataclass(frozen=True, slots=True)
class AccountRequest:
    """What a new account shall be; patterns as those of keys: None means all."""

    username: str
    password: str = field(repr=False)
    scopes: Sequence[str]
    tier: str
    devices: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    metrics: Sequence[str] | None = None


def is_username(text: str) -> bool:
    """Whether it can be the name of an account: ASCII only, so that none looks like another."""
    return _USERNAME.fullmatch(text) is not None
