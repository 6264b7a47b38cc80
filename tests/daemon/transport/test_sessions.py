"""Logging in over HTTP: tokens for a key or a password, and what ends them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from control import API, Control, bearer

from daemon.service.sessions import GRACE

pytestmark = pytest.mark.anyio
NONE = {"Authorization": ""}
PASSWORD = "correct horse battery staple"


async def login(control: Control, **body: Any) -> httpx.Response:
    return await control.client.post("/auth/login", json=body, headers=NONE)


async def refresh(control: Control, token: str) -> httpx.Response:
    body = {"refresh_token": token}
    return await control.client.post("/auth/refresh", json=body, headers=NONE)


async def status_of(control: Control, token: str) -> int:
    answer = await control.client.get(f"{API}/devices", headers=bearer(token))
    return answer.status_code


async def an_account(control: Control, username: str = "ann", **fields: Any) -> dict[str, Any]:
    body = {"username": username, "password": PASSWORD, "scopes": ["read"], "tier": "pro"}
    answer = await control.client.post(f"{API}/accounts", json=body | fields)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def logged_in(control: Control, username: str = "ann") -> dict[str, Any]:
    answer = await login(control, username=username, password=PASSWORD)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


async def test_a_key_is_exchanged_for_tokens_that_are_accepted_everywhere(control: Control) -> None:
    answer = await login(control, api_key=control.token)

    tokens = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert set(tokens) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 900)
    assert await status_of(control, tokens["access_token"]) == 200
    who = await control.client.get("/auth/whoami", headers=bearer(tokens["access_token"]))
    assert who.json()["key_id"].startswith("key_")
    assert who.json()["scopes"] == ["admin"]


async def test_a_password_is_exchanged_for_tokens_with_the_rights_of_its_account(
    control: Control,
) -> None:
    made = await an_account(control, devices=["bus-*"])
    tokens = await logged_in(control)

    who = await control.client.get("/auth/whoami", headers=bearer(tokens["access_token"]))

    said = who.json()
    assert said["principal"] == made["account_id"]
    assert (said["name"], said["scopes"], said["tier"]) == ("ann", ["read"], "pro")
    assert said["devices"] == ["bus-*"]
    assert await status_of(control, tokens["access_token"]) == 200
    refused = await control.client.get(f"{API}/keys", headers=bearer(tokens["access_token"]))
    assert refused.status_code == 403


async def test_a_refresh_gives_the_next_pair(control: Control) -> None:
    await an_account(control)
    first = await logged_in(control)

    second = (await refresh(control, first["refresh_token"])).json()

    assert second["refresh_token"] != first["refresh_token"]
    assert await status_of(control, second["access_token"]) == 200


async def test_parallel_refreshes_get_the_one_same_successor(control: Control) -> None:
    await an_account(control)
    first = await logged_in(control)

    answers = await asyncio.gather(*(refresh(control, first["refresh_token"]) for _ in range(10)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


async def test_a_refresh_token_that_comes_again_later_ends_its_session(control: Control) -> None:
    await an_account(control)
    first = await logged_in(control)
    second = (await refresh(control, first["refresh_token"])).json()
    control.clock.advance_s(GRACE.total_seconds() + 1)

    assert (await refresh(control, first["refresh_token"])).status_code == 401
    assert (await refresh(control, second["refresh_token"])).status_code == 401
    assert await status_of(control, second["access_token"]) == 401
    events = await control.client.get(f"{API}/events?type=account.session.reused")
    assert len(events.json()["events"]) == 1


async def test_a_token_ends_after_its_life_and_a_session_after_its_own(control: Control) -> None:
    await an_account(control)
    tokens = await logged_in(control)
    control.clock.advance_s(901)

    assert await status_of(control, tokens["access_token"]) == 401
    again = (await refresh(control, tokens["refresh_token"])).json()
    assert await status_of(control, again["access_token"]) == 200
    control.clock.advance_s(31 * 86_400)
    assert (await refresh(control, again["refresh_token"])).status_code == 401


@pytest.mark.parametrize("by", ["refresh_token", "access_token"])
async def test_a_logout_ends_the_session_of_either_token(control: Control, by: str) -> None:
    await an_account(control)
    tokens = await logged_in(control)
    assert await status_of(control, tokens["access_token"]) == 200

    body = {"refresh_token": tokens["refresh_token"]} if by == "refresh_token" else None
    headers = NONE if by == "refresh_token" else bearer(tokens["access_token"])
    answer = await control.client.post("/auth/logout", json=body, headers=headers)

    assert answer.json()["success"] is True
    assert await status_of(control, tokens["access_token"]) == 401
    assert (await refresh(control, tokens["refresh_token"])).status_code == 401


async def test_a_key_ends_no_session(control: Control) -> None:
    answer = await control.client.post("/auth/logout")

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"disabled": True}, 401), ({"password": "another password"}, 401), (None, 401)],
)
async def test_a_change_of_the_account_ends_its_sessions(
    control: Control, change: dict[str, Any] | None, expected: int
) -> None:
    await an_account(control)
    tokens = await logged_in(control)
    if change is None:
        await control.client.delete(f"{API}/accounts/ann")
    else:
        await control.client.patch(f"{API}/accounts/ann", json=change)

    assert await status_of(control, tokens["access_token"]) == expected
    assert (await refresh(control, tokens["refresh_token"])).status_code == 401
    assert (await login(control, username="ann", password=PASSWORD)).status_code == 401


async def test_a_revoked_key_ends_the_sessions_it_opened(control: Control) -> None:
    key = await control.key("read")
    tokens = (await login(control, api_key=key)).json()
    assert await status_of(control, tokens["access_token"]) == 200
    who = await control.client.get("/auth/whoami", headers=bearer(key))
    await control.client.delete(f"{API}/keys/{who.json()['key_id']}")

    assert await status_of(control, tokens["access_token"]) == 401
    assert (await refresh(control, tokens["refresh_token"])).status_code == 401


async def test_a_rotated_key_ends_the_sessions_of_its_former_secret(control: Control) -> None:
    key = await control.key("read")
    tokens = (await login(control, api_key=key)).json()
    key_id = (await control.client.get("/auth/whoami", headers=bearer(key))).json()["key_id"]
    await control.client.post(f"{API}/keys/{key_id}/rotate", json={"overlap": 60})

    assert await status_of(control, tokens["access_token"]) == 200
    control.clock.advance_s(61)
    assert await status_of(control, tokens["access_token"]) == 401


@pytest.mark.parametrize(
    "body",
    [
        {"username": "ann", "password": "wrong password"},
        {"username": "nobody", "password": PASSWORD},
        {"username": "a b", "password": PASSWORD},
        {"api_key": "tlm_live_x"},
        {"api_key": "é"},
    ],
)
async def test_a_wrong_credential_is_401_with_one_message(
    control: Control, body: dict[str, str]
) -> None:
    await an_account(control)

    answer = await login(control, **body)

    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"


async def test_an_unknown_name_and_a_wrong_password_are_answered_alike(control: Control) -> None:
    await an_account(control)
    answers = [
        (await login(control, username=name, password="wrong password")).json()
        for name in ("ann", "bob")
    ]

    assert {**answers[0], "request_id": ""} == {**answers[1], "request_id": ""}


@pytest.mark.parametrize(
    "body", [{}, {"username": "a"}, {"password": "x"}, {"api_key": "x", "username": "a"},
             {"api_key": "x", "username": "a", "password": "x"}, {"api_key": 1}]
)  # fmt: skip
async def test_a_body_that_is_neither_or_both_is_422(
    control: Control, body: dict[str, Any]
) -> None:
    assert (await login(control, **body)).status_code == 422


async def test_guesses_at_one_account_end_with_429(control: Control) -> None:
    await an_account(control)
    statuses = [
        (await login(control, username="ann", password=f"guess {n}")).status_code
        for n in range(1_000)
    ]
    refused = await login(control, username="ANN", password=PASSWORD)

    assert statuses == [401] * 10 + [429] * 990
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    control.clock.advance_s(91)
    assert (await login(control, username="ann", password=PASSWORD)).status_code == 200


async def test_guesses_from_one_address_end_with_429(control: Control) -> None:
    answers = [await login(control, api_key=f"guess {n}") for n in range(60)]

    assert [answer.status_code for answer in answers] == [401] * 50 + [429] * 10
    said = answers[-1].headers
    assert (said["x-ratelimit-limit"], said["x-ratelimit-remaining"]) == ("50", "0")
    wait_s = int(said["x-ratelimit-reset"]) - control.clock.now_us() // 1_000_000
    assert wait_s == int(said["retry-after"])
    assert said["ratelimit-policy"] == '"refused";q=50;w=900'


async def test_right_logins_are_not_counted(control: Control) -> None:
    await an_account(control)

    for _ in range(12):
        await logged_in(control)


async def test_an_access_token_logs_nobody_in(control: Control) -> None:
    tokens = (await login(control, api_key=control.token)).json()

    assert (await login(control, api_key=tokens["access_token"])).status_code == 401


@pytest.mark.parametrize("kind", ["refresh_token", "ticket"])
async def test_a_token_of_another_kind_is_no_access_token(control: Control, kind: str) -> None:
    tokens = (await login(control, api_key=control.token)).json()
    token = tokens.get(kind) or (await control.client.post(f"{API}/tickets")).json()[kind]

    assert await status_of(control, token) == 401
    answer = await control.client.get(f"{API}/devices", headers=NONE | {"X-Api-Key": token})
    assert answer.status_code == 401


async def test_the_database_holds_no_token_and_no_password(control: Control) -> None:
    await an_account(control)
    tokens = await logged_in(control)
    tokens = (await refresh(control, tokens["refresh_token"])).json()
    held = ""
    async with control.database.connection("control") as connection:
        for table in ("account", "session", "refresh_token", "ticket", "event"):
            held += str(await connection.fetch(f"select t::text from telemetry.{table} t"))

    for secret in (PASSWORD, tokens["refresh_token"], tokens["access_token"]):
        assert secret not in held
    assert "$argon2id$" in held


async def test_a_session_makes_tickets_that_end_with_it(control: Control) -> None:
    await an_account(control)
    tokens = await logged_in(control)
    ticket = await control.client.post(f"{API}/tickets", headers=bearer(tokens["access_token"]))
    assert ticket.status_code == 201
    await control.client.post("/auth/logout", headers=bearer(tokens["access_token"]))

    from daemon.domain.errors import Unauthenticated

    with pytest.raises(Unauthenticated):
        await control.services.tickets.use(
            ticket.json()["ticket"], subscription_id=None, channel=None
        )


async def test_a_key_that_expires_gives_nobody_a_password(control: Control) -> None:
    await an_account(control)
    ending = bearer(await control.key("admin", tier="enterprise", lifetime=timedelta(hours=1)))
    body = {"username": "bob", "password": PASSWORD, "scopes": ["read"], "tier": "pro"}
    accounts = f"{API}/accounts"

    made = await control.client.post(accounts, json=body, headers=ending)
    taken = await control.client.patch(
        f"{accounts}/ann", json={"password": PASSWORD}, headers=ending
    )
    shut = await control.client.patch(f"{accounts}/ann", json={"disabled": True}, headers=ending)

    assert (made.status_code, made.json()["code"]) == (403, "wider_account")
    assert (taken.status_code, taken.json()["code"]) == (403, "wider_account")
    assert shut.status_code == 200
