"""Passwords: hashed slowly, outside the loop, a bounded number at a time."""

from __future__ import annotations

import asyncio

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError

from daemon.domain.errors import Busy
from daemon.service import passwords as module
from daemon.service.passwords import Passwords

pytestmark = pytest.mark.anyio


async def test_a_password_is_right_or_wrong_to_the_letter() -> None:
    passwords = Passwords()
    stored = await passwords.hash("Grüße, 世界")

    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.is_right("Grüße, 世界", stored)
    for wrong in ("grüße, 世界", "Grüße, 世界 ", "", "x" * 2_000):
        assert not await passwords.is_right(wrong, stored)
    assert not await passwords.is_right("anything", None)
    assert not await passwords.is_right("anything", "no hash at all")


async def test_an_unknown_name_costs_what_a_known_one_does() -> None:
    """The work of argon2 is decided by its parameters, so those have to be the same."""
    known = await Passwords().hash("x")

    assert extract_parameters(module._NOBODY) == extract_parameters(known)
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(module._NOBODY, "x")


async def test_too_many_at_once_are_told_to_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    passwords = Passwords()

    done = await asyncio.gather(
        *(passwords.is_right("x", None) for _ in range(10)), return_exceptions=True
    )

    assert sum(isinstance(one, Busy) for one in done) == 7
    assert done.count(False) == 3
    assert not await passwords.is_right("x", None)
