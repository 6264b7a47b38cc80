"""Uses of keys: which networks are remembered and told of, and that none of it grows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from control import API, Control

from daemon.domain.access import Principal
from daemon.domain.key_request import KeyRequest
from daemon.service import key_uses
from daemon.service.key_uses import KeyUses
from daemon.service.keys import Keys
from daemon.store.keys import KeyStore

pytestmark = pytest.mark.anyio
DAY_S = 86_400


@pytest.fixture
async def holder(control: Control) -> Principal:
    """Who has a key that was never used."""
    admin = await control.services.keys.authenticate(control.token, address="test")
    made = await control.services.keys.create(KeyRequest("bus", ["read"], "free"), by=admin)
    return Principal(made.key_id, "bus", frozenset({"read"}))


def uses_of(control: Control) -> KeyUses:
    """Those of one more daemon."""
    return Keys(KeyStore(control.database), clock=control.clock).uses


async def used_from(uses: KeyUses, holder: Principal, *addresses: str) -> None:
    for address in addresses:
        uses.note(holder, address)
    await uses.write()


async def told(control: Control) -> list[dict[str, Any]]:
    """Events of new networks, the oldest first."""
    answer = await control.client.get(f"{API}/events?type=key.new_network&limit=1000")
    return list(reversed(answer.json()["events"]))


async def networks(control: Control, holder: Principal) -> list[str]:
    shown = await control.client.get(f"{API}/keys/{holder.key_id}")
    return [row["network"] for row in shown.json()["networks"]]


async def test_the_first_network_tells_nothing_and_each_further_one_once(
    control: Control, holder: Principal
) -> None:
    uses = uses_of(control)

    await used_from(uses, holder, "203.0.113.7", "203.0.113.8")
    assert await told(control) == []
    for _ in range(3):
        await used_from(uses, holder, "198.51.100.1", "203.0.113.9", "2001:db8:1::7")
        control.clock.advance_s(61)

    events = await told(control)
    assert [event["data"] for event in events] == [
        {"key_id": holder.key_id, "name": "bus", "network": "198.51.100.0/24"},
        {"key_id": holder.key_id, "name": "bus", "network": "2001:db8:1::/48"},
    ]
    assert {event["severity"] for event in events} == {"warning"}
    assert events[0]["subject"] == holder.key_id
    assert events[0]["message"] == "key bus is used from 198.51.100.0/24, for the first time"


async def test_a_second_network_within_the_minute_is_seen(
    control: Control, holder: Principal
) -> None:
    uses = uses_of(control)
    await used_from(uses, holder, "203.0.113.7")

    control.clock.advance_s(1)
    await used_from(uses, holder, "203.0.113.7", "198.51.100.1")

    assert len(await told(control)) == 1
    shown = (await control.client.get(f"{API}/keys/{holder.key_id}")).json()
    assert shown["last_used_from"] == "198.51.100.1"


async def test_whatever_number_of_daemons_sees_it_it_is_told_once(
    control: Control, holder: Principal
) -> None:
    await used_from(uses_of(control), holder, "203.0.113.7")
    daemons = [uses_of(control) for _ in range(4)]

    await asyncio.gather(*(used_from(uses, holder, "198.51.100.1") for uses in daemons))

    assert len(await told(control)) == 1
    assert sorted(await networks(control, holder)) == ["198.51.100.0/24", "203.0.113.0/24"]


async def test_a_key_that_comes_from_everywhere_is_told_of_so_often_a_day(
    control: Control, holder: Principal
) -> None:
    uses = uses_of(control)

    for at in range(100):
        await used_from(uses, holder, f"10.0.{at}.1")
        control.clock.advance_s(61)

    events = await told(control)
    assert len(events) == 63
    assert events[-1]["message"].endswith("; of further ones nothing is told for a day")
    assert not events[-2]["message"].endswith("for a day")
    assert await networks(control, holder) == [f"10.0.{at}.0/24" for at in range(99, 35, -1)]
    control.clock.advance_s(DAY_S)
    await used_from(uses, holder, "198.51.100.1")
    assert (await told(control))[-1]["data"]["network"] == "198.51.100.0/24"


async def test_a_flood_of_networks_takes_bounded_memory_and_rows(
    control: Control, holder: Principal
) -> None:
    uses = uses_of(control)
    for at in range(20_000):
        uses.note(holder, f"2001:db8:{at:x}::1")
    for at in range(2 * key_uses.NOTED_MAX):
        uses.note(Principal(f"key_{at}", "n", frozenset()), "203.0.113.7")

    assert len(uses._noted_at_s[holder.key_id]) == 64
    assert uses._noted == key_uses.NOTED_MAX == sum(map(len, uses._noted_at_s.values()))
    assert len(uses._uses) == key_uses.NOTED_MAX
    assert len(uses._noted_at_s) <= key_uses.NOTED_MAX
    await uses.write()
    assert len(await networks(control, holder)) == 64


async def test_what_could_not_be_stored_is_noted_again_with_the_next_use(
    control: Control, holder: Principal
) -> None:
    uses = uses_of(control)
    await used_from(uses, holder, "203.0.113.7")
    away = control.database._pools.pop("control")
    await used_from(uses, holder, "198.51.100.1")
    control.database._pools["control"] = away

    await used_from(uses, holder, "198.51.100.1")

    assert len(await told(control)) == 1


async def test_a_revoked_key_leaves_no_networks(control: Control, holder: Principal) -> None:
    await used_from(uses_of(control), holder, "203.0.113.7", "198.51.100.1")
    await control.client.delete(f"{API}/keys/{holder.key_id}")
    await used_from(uses_of(control), holder, "192.0.2.1")

    async with control.database.connection("control") as connection:
        assert await connection.fetchval("select count(*) from telemetry.key_network") == 0


async def test_who_has_no_key_is_not_noted(control: Control) -> None:
    uses = uses_of(control)

    uses.note(Principal("acc_1", "ann", frozenset({"read"})), "203.0.113.7")
    uses.note(Principal("internal:billing", "billing", frozenset({"read"})), "203.0.113.7")

    assert uses._uses == []
