"""What a key may do, as the API says it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from control import API, Control, bearer

from daemon.domain.access import Principal, Session
from daemon.domain.rights import Operation, lack_of

pytestmark = pytest.mark.anyio
KEYS = f"{API}/keys"


async def a_key(control: Control, **wanted: Any) -> dict[str, Any]:
    body = {"name": "bus", "scopes": ["ingest", "read"]} | wanted
    answer = await control.client.post(KEYS, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def access(
    control: Control, key_id: str = "self", *, token: str | None = None, **asked: str
) -> dict[str, Any]:
    headers = bearer(token) if token else {}
    answer = await control.client.get(f"{KEYS}/{key_id}/access", params=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def allowed(told: dict[str, Any]) -> set[str]:
    return {one["operation"] for one in told["operations"] if one["allowed"]}


async def test_every_operation_of_the_document_is_told_of(control: Control) -> None:
    document = (await control.client.get("/api/openapi.json")).json()

    told = await access(control)

    assert {
        (one["operation"], one["method"].lower(), one["path"], one["scope"])
        for one in told["operations"]
    } == {
        (operation["operationId"], method, path, operation["x-scope"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert allowed(told) == {one["operation"] for one in told["operations"]}


async def test_a_key_is_told_what_its_scopes_allow(control: Control) -> None:
    made = await a_key(control, devices=["bus-*"])

    told = await access(control, token=made["key"])

    assert (told["key_id"], told["name"], told["state"]) == (made["key_id"], "bus", "active")
    assert (told["scopes"], told["devices"], told["allowed"]) == (["ingest", "read"], ["bus-*"],
                                                                  None)  # fmt: skip
    assert {"write_point", "query", "whoami", "login", "show_key_access"} <= allowed(told)
    lacks = {one["operation"]: one["lack"] for one in told["operations"]}
    assert lacks["create_rule"] == "scope"
    assert lacks["service_stats"] == "patterns"
    assert lacks["write_bulk"] is None


@pytest.mark.parametrize(("asked", "expected"), [
    ({"operation": "write_point"}, True),
    ({"operation": "create_rule"}, False),
    ({"device_id": "bus-7"}, True),
    ({"device_id": "van-7"}, False),
    ({"metric_name": "speed"}, True),
    ({"metric_name": "fuel"}, False),
    ({"operation": "write_point", "device_id": "bus-7", "metric_name": "speed"}, True),
    ({"operation": "write_point", "device_id": "bus-7", "metric_name": "fuel"}, False),
    ({"operation": "delete_device", "device_id": "bus-7"}, False),
])  # fmt: skip
async def test_one_thing_is_answered_with_yes_or_no(
    control: Control, asked: dict[str, str], expected: bool
) -> None:
    made = await a_key(control, devices=["bus-*"], metrics=["speed"])

    mine = await access(control, token=made["key"], **asked)
    told = await access(control, made["key_id"], **asked)

    assert mine["allowed"] is expected
    assert told == mine
    assert (len(told["operations"]) == 1) == ("operation" in asked)


async def test_a_key_that_ends_says_so_and_what_it_can_not_give(control: Control) -> None:
    made = await a_key(control, scopes=["admin"], expires_in="1d")
    rotated = await control.client.post(f"{KEYS}/{made['key_id']}/rotate", json={"overlap": "1h"})
    assert rotated.status_code == 200

    overlapping = await access(control, made["key_id"])
    control.clock.advance_s(3601)
    active = await access(control, made["key_id"])
    control.clock.advance_s(timedelta(days=1).total_seconds())
    expired = await access(control, made["key_id"], device_id="d")
    await control.client.delete(f"{KEYS}/{made['key_id']}")
    revoked = await access(control, made["key_id"])

    assert [one["state"] for one in (overlapping, active, expired, revoked)] == [
        "overlapping", "active", "expired", "revoked",
    ]  # fmt: skip
    assert [one["is_alive"] for one in (overlapping, active, expired, revoked)] == [
        True, True, False, False,
    ]  # fmt: skip
    assert "create_account" not in allowed(active)
    assert "change_account" in allowed(active)
    assert allowed(expired) == allowed(revoked)
    assert "login" in allowed(revoked)
    assert "whoami" not in allowed(revoked)
    assert expired["allowed"] is False
    assert revoked["revoked_at"] is not None
    assert expired["revoked_at"] is None


async def test_what_may_not_be_seen_is_not_there(control: Control) -> None:
    wide = await a_key(control, scopes=["read"])
    narrow = await a_key(control, scopes=["keys", "read"], devices=["bus-*"])
    plain = await a_key(control, scopes=["ingest"])

    for token, key_id in (
        (narrow["key"], wide["key_id"]),
        (plain["key"], wide["key_id"]),
        (control.token, "key_0000000000000000000000000z"),
        (plain["key"], "key_0000000000000000000000000z"),
    ):
        answer = await control.client.get(f"{KEYS}/{key_id}/access", headers=bearer(token))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await access(control, plain["key_id"], token=plain["key"]))["is_alive"]


async def test_who_logged_in_asks_for_itself(control: Control) -> None:
    body = {"username": "ann", "password": "long enough", "scopes": ["read"]}
    await control.client.post(f"{API}/accounts", json=body)
    login = {"username": "ann", "password": "long enough"}
    token = (await control.client.post("/auth/login", json=login)).json()["access_token"]

    told = await access(control, token=token, operation="query")

    assert (told["key_id"], told["name"], told["allowed"]) == (None, "ann", True)
    assert told["expires_at"] is not None


@pytest.mark.parametrize("query", [
    "operation=fly", "operation=", "operation=A", "device_id=%20", "metric_name=",
])  # fmt: skip
async def test_a_question_that_can_not_be_read_is_a_400(control: Control, query: str) -> None:
    answer = await control.client.get(f"{KEYS}/self/access?{query}")

    assert answer.status_code == 400, answer.text


def test_a_token_of_another_issuer_makes_nothing_that_outlives_it() -> None:
    foreign = Principal("x:1", "x", frozenset({"admin"}), session=Session(None, 1.0))

    lacks = {
        name: lack_of(foreign, Operation(name, "POST", "/", "admin"), is_alive=True)
        for name in ("create_key", "rotate_key", "create_account", "make_ticket", "create_group")
    }

    assert set(lacks.values()) == {"issuer", None}
    assert lacks["create_group"] is None
