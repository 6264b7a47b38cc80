"""A ticket opens one stream, once, in the name of the key that made it."""

from __future__ import annotations

import asyncio

import pytest
from control import Control

from daemon.domain.access import Principal
from daemon.domain.errors import Unauthenticated
from daemon.service import tickets as module
from daemon.service.tickets import Tickets
from daemon.store.tickets import TicketStore

pytestmark = pytest.mark.anyio


async def holder(control: Control, token: str) -> Principal:
    return await control.services.keys.authenticate(token, address="test")


async def use(control: Control, ticket: str, **at: str | None) -> Principal:
    where = {"subscription_id": None, "channel": None, **at}
    return await control.services.tickets.use(ticket, **where)


async def test_it_stands_for_its_key_once(control: Control) -> None:
    who = await holder(control, await control.key("read"))
    tickets = control.services.tickets
    ticket = await tickets.create(who, subscription_id=None, channel=None)

    assert (await use(control, ticket, channel="telemetry")).key_id == who.key_id
    with pytest.raises(Unauthenticated):
        await use(control, ticket)


async def test_of_many_who_come_together_one_gets_in(control: Control) -> None:
    who = await holder(control, control.token)
    ticket = await control.services.tickets.create(who, subscription_id=None, channel=None)
    found = await asyncio.gather(*(use(control, ticket) for _ in range(8)), return_exceptions=True)

    assert sum(isinstance(one, Principal) for one in found) == 1


async def test_it_opens_what_it_is_for(control: Control) -> None:
    who, tickets = await holder(control, control.token), control.services.tickets
    for bound, at in (
        ({"subscription_id": "sub_1", "channel": None}, {"subscription_id": "sub_2"}),
        ({"subscription_id": "sub_1", "channel": None}, {}),
        ({"subscription_id": None, "channel": "events"}, {"channel": "telemetry"}),
    ):
        ticket = await tickets.create(who, **bound)
        with pytest.raises(Unauthenticated):
            await use(control, ticket, **at)
    ticket = await tickets.create(who, subscription_id="sub_1", channel=None)

    assert await use(control, ticket, subscription_id="sub_1")


async def test_it_is_good_for_a_short_time(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIFE_S", 0.1)
    who = await holder(control, control.token)
    ticket = await control.services.tickets.create(who, subscription_id=None, channel=None)
    await asyncio.sleep(0.2)

    with pytest.raises(Unauthenticated):
        await use(control, ticket)


async def test_it_does_not_outlive_its_key(control: Control) -> None:
    who = await holder(control, await control.key("read"))
    admin = await holder(control, control.token)
    ticket = await control.services.tickets.create(who, subscription_id=None, channel=None)
    await control.services.keys.revoke(who.key_id, by=admin)

    with pytest.raises(Unauthenticated):
        await use(control, ticket)


async def test_its_text_is_stored_nowhere(control: Control) -> None:
    who = await holder(control, control.token)
    tickets = Tickets(
        TicketStore(control.database), keys=control.services.keys, clock=control.clock
    )
    ticket = await tickets.create(who, subscription_id=None, channel=None)
    async with control.database.connection("control") as connection:
        rows = await connection.fetch("select t::text as row from telemetry.ticket t")

    assert len(rows) == 1
    assert ticket not in rows[0]["row"]


@pytest.mark.parametrize("ticket", ["", "tic_nobody", "x" * 10_000])
async def test_what_is_no_ticket_opens_nothing(control: Control, ticket: str) -> None:
    with pytest.raises(Unauthenticated):
        await use(control, ticket)
