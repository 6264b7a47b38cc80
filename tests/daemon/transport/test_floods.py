"""A flood of made-up credentials loads no database, whatever address it seems to come from."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from control import Control, services_over
from daemons import DaemonProcess, start_daemon
from databases import fresh_database
from servers import PostgresServer

from daemon.domain.errors import Busy, Unauthenticated
from daemon.domain.former_callers import Caller
from daemon.domain.key_request import KeyRequest
from daemon.domain.tokens import new_token
from daemon.service.lookups import VAIN_PER_S
from daemon.service.tickets import Tickets
from daemon.store.accounts import AccountRow, AccountStore
from daemon.store.pool import Database
from daemon.store.sessions import SessionStore
from daemon.store.tickets import TicketRow, TicketStore
from daemon.transport.http import build_api

pytestmark = pytest.mark.anyio

FLOOD = 400
Say = Callable[[int], tuple[str, dict[str, Any]]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the database was asked for each kind of thing."""
    counted: Counter[str] = Counter()
    find, use, session_of = AccountStore.find, SessionStore.use, SessionStore.session_of

    async def find_counted(self: AccountStore, username: str) -> AccountRow | None:
        counted["name"] += 1
        return await find(self, username)

    async def use_counted(self: SessionStore, digest: bytes, **how: Any) -> None:
        counted["refresh"] += 1
        await use(self, digest, **how)

    async def session_counted(self: SessionStore, digest: bytes) -> str | None:
        counted["logout"] += 1
        return await session_of(self, digest)

    monkeypatch.setattr(AccountStore, "find", find_counted)
    monkeypatch.setattr(SessionStore, "use", use_counted)
    monkeypatch.setattr(SessionStore, "session_of", session_counted)
    return counted


class Anywhere:
    """A client that comes from another address each time, as behind a proxy that says so."""

    def __init__(self, control: Control) -> None:
        self._app = build_api(control.services)
        self._number = 0

    async def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        self._number += 1
        address = f"10.{self._number >> 16}.{self._number >> 8 & 255}.{self._number & 255}"
        transport = httpx.ASGITransport(app=self._app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://daemon") as client:
            return await client.post(path, json=body)


@pytest.fixture
async def anywhere(control: Control) -> Anywhere:
    return Anywhere(control)


def a_name(number: int) -> tuple[str, dict[str, Any]]:
    return "/auth/login", {"username": f"nobody{number}", "password": "wrong"}


def a_refresh(number: int) -> tuple[str, dict[str, Any]]:
    return "/auth/refresh", {"refresh_token": f"tlr_{number:043d}"}


def a_logout(number: int) -> tuple[str, dict[str, Any]]:
    return "/auth/logout", {"refresh_token": f"tlr_{number:043d}"}


@pytest.mark.parametrize(
    ("kind", "say"), [("name", a_name), ("refresh", a_refresh), ("logout", a_logout)]
)
async def test_what_is_made_up_is_looked_up_so_often_a_second_only(
    control: Control, anywhere: Anywhere, asked: Counter[str], kind: str, say: Say
) -> None:
    statuses = Counter([(await anywhere.post(*say(n))).status_code for n in range(FLOOD)])

    assert asked == {kind: VAIN_PER_S}
    assert statuses == {401: VAIN_PER_S, 503: FLOOD - VAIN_PER_S}
    control.clock.advance_s(1)
    assert (await anywhere.post(*say(FLOOD))).status_code == 401


async def test_who_was_here_lately_gets_through_a_flood(
    control: Control, anywhere: Anywhere
) -> None:
    account = {"username": "ann", "password": "a long password", "scopes": ["read"], "tier": "free"}
    made = await control.client.post("/api/v1/telemetry/accounts", json=account)
    assert made.status_code == 201, made.text
    said = {"username": "ann", "password": "a long password"}
    first = await control.client.post("/auth/login", json=said)
    for number in range(2 * VAIN_PER_S):
        await anywhere.post(*a_name(number))
        await anywhere.post(*a_refresh(number))

    again = await control.client.post("/auth/login", json=said)
    next_one = await control.client.post(
        "/auth/refresh", json={"refresh_token": first.json()["refresh_token"]}
    )
    gone = await control.client.post(
        "/auth/logout", json={"refresh_token": next_one.json()["refresh_token"]}
    )
    assert [a.status_code for a in (again, next_one, gone)] == [200, 200, 200]


async def test_many_who_come_at_once_after_a_restart_all_get_in(control: Control) -> None:
    tokens = []
    for _ in range(3 * VAIN_PER_S):
        login = await control.client.post("/auth/login", json={"api_key": control.token})
        tokens.append(login.json()["refresh_token"])
    anew = services_over(control.database, clock=control.clock, tail=control.tail)
    shown = [(token, Caller(f"10.0.0.{number}")) for number, token in enumerate(tokens)]
    found = await asyncio.gather(
        *(anew.sessions.refresh(token, caller=who) for token, who in shown)
    )

    assert len({login.refresh_token for login in found}) == len(tokens)


async def test_a_token_that_was_used_up_is_no_way_round(
    control: Control, anywhere: Anywhere, asked: Counter[str]
) -> None:
    login = await control.client.post("/auth/login", json={"api_key": control.token})
    used = {"refresh_token": login.json()["refresh_token"]}
    await control.client.post("/auth/refresh", json=used)
    control.clock.advance_s(11)
    for _ in range(FLOOD):
        await anywhere.post("/auth/refresh", used)

    assert asked["refresh"] <= VAIN_PER_S + 2


async def test_logouts_of_one_address_end_with_429(control: Control) -> None:
    answers = [
        await control.client.post("/auth/logout", json={"refresh_token": f"tlr_{number:043d}"})
        for number in range(60)
    ]

    assert Counter(a.status_code for a in answers) == {401: 50, 429: 10}
    assert int(answers[-1].headers["retry-after"]) > 0


async def test_tickets_that_are_made_up_are_looked_up_so_often_a_second_only(
    control: Control,
) -> None:
    class Counting(TicketStore):
        asked = 0

        async def use(self, digest: bytes) -> TicketRow | None:
            self.asked += 1
            return await super().use(digest)

    store, keys = Counting(control.database), control.services.keys
    tickets = Tickets(store, keys=keys, clock=control.clock)
    who = await keys.authenticate(control.token, address="test")
    good = await tickets.create(who, subscription_id=None, channel=None)
    codes: Counter[str] = Counter()
    for number in range(FLOOD):
        try:
            await tickets.use(f"tic_{number:043d}", subscription_id=None, channel=None)
        except (Unauthenticated, Busy) as error:
            codes[error.error_code] += 1

    assert store.asked == VAIN_PER_S
    assert codes == {"unauthenticated": VAIN_PER_S, "busy": FLOOD - VAIN_PER_S}
    assert await tickets.use(good, subscription_id=None, channel=None) == who


# -- on a daemon ---------------------------------------------------------------------------------


@pytest.fixture
def limited(postgres: PostgresServer) -> Iterator[tuple[DaemonProcess, str]]:
    """A daemon that exempts nobody, and its database."""
    dsn = asyncio.run(fresh_database(postgres))
    process = start_daemon(dsn, limits__exempt_networks="[]", streams__connects_per_hour="30")
    yield process, dsn
    process.stop()


async def test_an_address_that_guessed_too_often_has_no_ticket_looked_up(
    limited: tuple[DaemonProcess, str],
) -> None:
    daemon, dsn = limited
    with daemon.http() as http:
        good = http.post("/tickets", json={}).json()["ticket"]
        del http.headers["Authorization"]
        http.headers["Accept"] = "text/event-stream"
        answers = [
            http.get("/stream/events", params={"ticket": f"tic_{number:043d}"}).status_code
            for number in range(40)
        ]
        refused = http.get("/stream/events", params={"ticket": good})
    database = Database(dsn)
    await database.open()
    async with database.connection("control") as connection:
        left = await connection.fetchval("select count(*) from telemetry.ticket")
    await database.close()

    assert Counter(answers) == {401: 30, 429: 10}
    assert refused.status_code == 429
    assert left == 1


async def test_a_secret_that_was_given_out_gets_through_a_flood(control: Control) -> None:
    keys = control.services.keys
    admin = await keys.authenticate(control.token, address="test")
    for number in range(2 * VAIN_PER_S):
        made_up = new_token(f"key_{number:026}", env="live")
        with pytest.raises((Busy, Unauthenticated)):
            await keys.authenticate(made_up, address="flood")

    made = await keys.create(KeyRequest("bus", ["read"], "pro"), by=admin)
    turned = await keys.rotate(made.key_id, overlap=timedelta(hours=1), by=admin)

    for token in (made.key, turned.key):
        holder = await keys.authenticate(token, address="test")
        assert holder.key_id == made.key_id
