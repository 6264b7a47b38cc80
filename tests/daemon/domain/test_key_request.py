"""Who pays for keys that keys make."""

from __future__ import annotations

from daemon.domain.access import Principal
from daemon.domain.budgets import Payer
from daemon.domain.key_request import payers_of


def a_holder(
    name: str, tier: str = "free", *scopes: str, payers: tuple[Payer, ...] = ()
) -> Principal:
    return Principal(name, name, frozenset(scopes or ("keys",)), tier, payers=payers)


def test_an_administrator_gives_and_does_not_pay() -> None:
    assert payers_of(a_holder("admin", "enterprise", "admin")) == ()


def test_a_maker_pays_and_so_does_who_pays_for_it() -> None:
    first = payers_of(a_holder("a", "pro"))
    second = payers_of(a_holder("b", "free", payers=first))

    assert first == (Payer("a", "pro"),)
    assert second == (Payer("a", "pro"), Payer("b", "free"))


def test_of_makers_of_one_tier_the_first_pays_however_long_the_chain_is() -> None:
    payers: tuple[Payer, ...] = ()
    for at in range(50):
        payers = payers_of(a_holder(f"key_{at}", "free", payers=payers))

    assert payers == (Payer("key_0", "free"),)
