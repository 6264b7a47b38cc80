"""How many wrong credentials may be tried."""

from __future__ import annotations

import pytest

from daemon.clock import ManualClock
from daemon.domain.errors import Busy, RateLimited, Unauthenticated
from daemon.service import guesses as module
from daemon.service.guesses import OF_A_NAME_MAX, OF_AN_ADDRESS_MAX, WINDOW_S, Guesses


def wrong(guesses: Guesses, *, name: str | None, address: str) -> None:
    with pytest.raises(Unauthenticated), guesses.attempt(name=name, address=address):
        raise Unauthenticated


def is_refused(guesses: Guesses, *, name: str | None, address: str) -> bool:
    try:
        with guesses.attempt(name=name, address=address):
            return False
    except RateLimited as error:
        return error.retry_after_s > 0


def test_a_name_is_guessed_at_from_anywhere_so_many_times_only() -> None:
    guesses = Guesses(ManualClock(0))
    for number in range(OF_A_NAME_MAX):
        wrong(guesses, name="ann", address=f"10.0.0.{number}")

    assert is_refused(guesses, name="ANN", address="10.0.1.1")
    assert not is_refused(guesses, name="bob", address="10.0.1.1")


def test_an_address_guesses_at_all_names_together_so_many_times_only() -> None:
    guesses = Guesses(ManualClock(0))
    for number in range(OF_AN_ADDRESS_MAX):
        wrong(guesses, name=f"name{number}", address="10.0.0.1")

    assert is_refused(guesses, name="another", address="10.0.0.1")
    assert not is_refused(guesses, name="another", address="10.0.0.2")


def test_addresses_of_one_network_of_version_6_are_one() -> None:
    guesses = Guesses(ManualClock(0))
    for number in range(OF_AN_ADDRESS_MAX):
        wrong(guesses, name=None, address=f"2001:db8:1:2::{number:x}")

    assert is_refused(guesses, name=None, address="2001:db8:1:2:ffff::1")
    assert not is_refused(guesses, name=None, address="2001:db8:1:3::1")


def test_what_is_under_way_counts_so_that_a_thousand_at_once_are_no_way_in() -> None:
    guesses = Guesses(ManualClock(0))
    under_way = [guesses.attempt(name="ann", address=f"10.0.0.{n}") for n in range(20)]
    begun = 0
    for attempt in under_way:
        try:
            attempt.__enter__()
            begun += 1
        except RateLimited:
            break

    assert begun == OF_A_NAME_MAX


@pytest.mark.parametrize("error", [None, Busy(), ValueError()])
def test_what_was_no_wrong_credential_is_not_counted(error: Exception | None) -> None:
    guesses = Guesses(ManualClock(0))
    for _ in range(OF_AN_ADDRESS_MAX + 1):
        try:
            with guesses.attempt(name="ann", address="10.0.0.1"):
                if error is not None:
                    raise error
        except (Busy, ValueError):
            pass

    assert not is_refused(guesses, name="ann", address="10.0.0.1")


def test_after_a_while_it_may_be_tried_again() -> None:
    clock = ManualClock(0)
    guesses = Guesses(clock)
    for _ in range(OF_A_NAME_MAX):
        wrong(guesses, name="ann", address="10.0.0.1")
    clock.advance_s(WINDOW_S / OF_A_NAME_MAX + 1)

    assert not is_refused(guesses, name="ann", address="10.0.0.1")


def test_a_flood_of_names_and_addresses_takes_a_bounded_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ENTRIES_MAX", 100)
    guesses = Guesses(ManualClock(0))
    for number in range(1_000):
        wrong(guesses, name=f"n{number}", address=f"10.0.{number // 250}.{number % 250}")

    assert len(guesses) <= 200
