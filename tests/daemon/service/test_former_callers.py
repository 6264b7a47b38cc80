"""Callers with a former secret: each is named while the overlap goes on, and none of it grows."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from control import API, Control

from daemon.clock import as_datetime
from daemon.domain.access import Principal
from daemon.domain.former_callers import Caller
from daemon.domain.key_request import KeyRequest
from daemon.service import former_callers
from daemon.service.former_callers import FormerCallers
from daemon.service.key_view import KeyView
from daemon.service.keys import Keys
from daemon.service.retention import Retention
from daemon.store.keys import KeyStore
from daemon.workers.housekeeping import Housekeeping
from daemon.workers.lease import Lease

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


@pytest.fixture
async def admin(control: Control) -> Principal:
    return await control.services.keys.authenticate(control.token, address="test")


async def a_key(control: Control, admin: Principal) -> KeyView:
    return await control.services.keys.create(KeyRequest("bus", ["read"], "pro"), by=admin)


async def rotated(
    control: Control, made: KeyView, *, by: Principal, overlap: timedelta = HOUR
) -> datetime:
    """The end of the overlap of one more rotation, later than that of any before."""
    control.clock.advance_s(1)
    turned = await control.services.keys.rotate(made.key_id, overlap=overlap, by=by)
    assert turned.former_valid_until is not None
    return turned.former_valid_until


async def asked(control: Control, token: str | None, agent: str = "an agent") -> None:
    assert token is not None
    headers = {"Authorization": f"Bearer {token}", "User-Agent": agent}
    answer = await control.client.get(f"{API}/devices", headers=headers)
    assert answer.status_code == 200, answer.text


async def shown(control: Control, key_id: str) -> list[dict[str, Any]]:
    await control.services.keys.uses.write()
    answer = await control.client.get(f"{API}/keys/{key_id}")
    found: list[dict[str, Any]] = answer.json()["former_callers"]
    return found


async def agents(control: Control, key_id: str) -> list[str]:
    return [row["agent"] for row in await shown(control, key_id)]


def callers_of(control: Control) -> FormerCallers:
    """Those that one more daemon sees."""
    return Keys(KeyStore(control.database), clock=control.clock).uses.former


async def stored(control: Control) -> int:
    async with control.database.connection("control") as connection:
        rows: int = await connection.fetchval("select count(*) from telemetry.former_caller")
    return rows


async def test_two_callers_within_a_minute_are_both_named(
    control: Control, admin: Principal
) -> None:
    made = await a_key(control, admin)
    await asked(control, made.key, "before")
    assert await shown(control, made.key_id) == []
    await rotated(control, made, by=admin)

    first = as_datetime(control.clock.now_us())
    await asked(control, made.key, "agent-one")
    control.clock.advance_s(1)
    await asked(control, made.key, "agent-two")

    rows = await shown(control, made.key_id)
    assert [(row["address"], row["agent"]) for row in rows] == [
        ("127.0.0.1", "agent-two"),
        ("127.0.0.1", "agent-one"),
    ]
    assert datetime.fromisoformat(rows[1]["last_used_at"]) == first


async def test_who_has_the_new_secret_is_not_named(control: Control, admin: Principal) -> None:
    made = await a_key(control, admin)
    turned = await control.services.keys.rotate(made.key_id, overlap=HOUR, by=admin)

    await asked(control, turned.key)

    assert await shown(control, made.key_id) == []
    assert control.services.keys.uses.former._noted == 0


async def test_each_use_moves_the_last_time_once_a_minute(
    control: Control, admin: Principal
) -> None:
    made = await a_key(control, admin)
    await rotated(control, made, by=admin)

    async def last_after(seconds: float) -> datetime:
        control.clock.advance_s(seconds)
        await asked(control, made.key)
        rows = await shown(control, made.key_id)
        return datetime.fromisoformat(rows[0]["last_used_at"])

    first = await last_after(0)
    assert await last_after(59) == first
    assert await last_after(2) == first + timedelta(seconds=61)


async def test_a_session_of_a_former_secret_is_one_of_its_callers(
    control: Control, admin: Principal
) -> None:
    made = await a_key(control, admin)
    login = await control.client.post("/auth/login", json={"api_key": made.key})
    tokens = login.json()
    await rotated(control, made, by=admin)

    await asked(control, tokens["access_token"], "by its token")
    for agent, path, body in (
        ("by a refresh", "/auth/refresh", {"refresh_token": tokens["refresh_token"]}),
        ("by a login", "/auth/login", {"api_key": made.key}),
    ):
        answer = await control.client.post(path, json=body, headers={"User-Agent": agent})
        assert answer.status_code == 200, answer.text

    expected = ["by a login", "by a refresh", "by its token"]
    assert sorted(await agents(control, made.key_id)) == expected


@pytest.mark.parametrize("end", ["rotation", "revocation", "overlap"])
async def test_callers_are_forgotten_with_the_overlap(
    control: Control, admin: Principal, end: str
) -> None:
    made = await a_key(control, admin)
    await rotated(control, made, by=admin)
    await asked(control, made.key)
    assert await agents(control, made.key_id) == ["an agent"]

    match end:
        case "rotation":
            await rotated(control, made, by=admin)
        case "revocation":
            await control.services.keys.revoke(made.key_id, by=admin)
        case _:
            control.clock.advance_s(HOUR.total_seconds())

    if end != "revocation":
        assert await agents(control, made.key_id) == []
    clock = control.clock
    lease = Lease(control.database, "housekeeping", holder=uuid4(), clock=clock)
    house = Housekeeping(Retention(control.database), lease, clock=clock)
    done = await house.run_once(clock.now_us())
    assert done["former_callers"] == 1
    assert await stored(control) == 0


async def test_housekeeping_leaves_an_overlap_that_goes_on(
    control: Control, admin: Principal
) -> None:
    made = await a_key(control, admin)
    await rotated(control, made, by=admin)
    await asked(control, made.key)
    await control.services.keys.uses.write()

    lease = Lease(control.database, "housekeeping", holder=uuid4(), clock=control.clock)
    house = Housekeeping(Retention(control.database), lease, clock=control.clock)
    await house.run_once(control.clock.now_us())

    assert await agents(control, made.key_id) == ["an agent"]


async def test_uses_of_the_secret_before_the_last_but_one_count_no_more(
    control: Control, admin: Principal
) -> None:
    """Another daemon accepts it for some seconds more."""
    made = await a_key(control, admin)
    callers = callers_of(control)
    first = await rotated(control, made, by=admin)
    second = await rotated(control, made, by=admin, overlap=2 * HOUR)

    callers.note(Caller("10.0.0.1", "late"), key_id=made.key_id, until=first)
    callers.note(Caller("10.0.0.2", "in time"), key_id=made.key_id, until=second)
    await callers.write()

    assert await agents(control, made.key_id) == ["in time"]
    assert await stored(control) == 1


async def test_the_latest_callers_stay_of_a_flood(control: Control, admin: Principal) -> None:
    made = await a_key(control, admin)
    until = await rotated(control, made, by=admin)
    callers = callers_of(control)

    for at in range(1_000):
        control.clock.advance_s(0.001)
        callers.note(Caller("10.0.0.1", "steady"), key_id=made.key_id, until=until)
        callers.note(Caller("10.0.0.1", f"agent {at}"), key_id=made.key_id, until=until)
        if at % 400 == 0:
            await callers.write()
    await callers.write()

    found = await agents(control, made.key_id)
    assert found[:31] == [f"agent {at}" for at in range(999, 968, -1)]
    assert len(found) == 32 == await stored(control)
    assert callers._noted == 32 == sum(map(len, callers._noted_at_s.values()))


async def test_callers_of_all_keys_together_take_bounded_memory(control: Control) -> None:
    callers = callers_of(control)
    until = as_datetime(control.clock.now_us())

    for at in range(former_callers.NOTED_MAX + 100):
        callers.note(Caller("10.0.0.1"), key_id=f"key_{at}", until=until)

    assert callers._noted == former_callers.NOTED_MAX == len(callers._uses)
    control.clock.advance_s(61)
    await callers.write()
    assert callers._noted == 0 == len(callers._noted_at_s)


async def test_several_daemons_see_the_same_callers(control: Control, admin: Principal) -> None:
    made = await a_key(control, admin)
    until = await rotated(control, made, by=admin)
    daemons = [callers_of(control) for _ in range(4)]

    for callers in daemons:
        for at in range(40):
            callers.note(Caller(f"10.0.0.{at}"), key_id=made.key_id, until=until)
    await asyncio.gather(*(callers.write() for callers in daemons))

    rows = await shown(control, made.key_id)
    assert {row["address"] for row in rows} == {f"10.0.0.{at}" for at in range(8, 40)}
    assert len(rows) == 32


async def test_what_could_not_be_stored_is_noted_again(control: Control, admin: Principal) -> None:
    made = await a_key(control, admin)
    until = await rotated(control, made, by=admin)
    former = control.services.keys.uses.former
    caller = Caller("10.0.0.1", "steady")
    former.note(caller, key_id=made.key_id, until=until)
    away = control.database._pools.pop("control")
    await control.services.keys.uses.write()
    control.database._pools["control"] = away

    former.note(caller, key_id=made.key_id, until=until)

    assert await agents(control, made.key_id) == ["steady"]
