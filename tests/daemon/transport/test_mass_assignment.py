"""What only the server says of a thing can't be sent along with it (S-10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from control import API, Control

pytestmark = pytest.mark.anyio

OWNED = {
    "created_by": "me", "created_at": "2020-01-01T00:00:00Z", "updated_at": 0, "tenant_id": "t",
    "owner": "me", "revision": 9, "status": "resolved", "state": "expired", "key_id": "key_1",
    "secret_hash": "00", "is_admin": True, "total_triggers": 9, "last_triggered": 0,
    "last_used_at": 0, "acknowledged_by": "me", "fired_at": 0, "failures": 0, "seq": 1,
}  # fmt: skip
MADE: dict[str, dict[str, Any]] = {
    "/metrics": {"name": "m", "data_type": "numeric"},
    "/groups": {"name": "g", "kind": "k"},
    "/events": {"type": "x"},
    "/alerts/rules": {
        "name": "r", "metric_name": "m", "condition": ">", "threshold_value": 1,
    },
    "/channels": {"name": "c", "kind": "stream"},
    "/silences": {"matchers": {"device_id": "d"}, "ends_at": "2999-01-01T00:00:00Z"},
    "/watches": {"device_id": "d", "metric_name": "m", "to": 1},
    "/keys": {"name": "k", "scopes": ["read"]},
    "/accounts": {"username": "a", "password": "long enough", "scopes": ["read"]},
    "/subscribe": {},
    "/tickets": {},
}  # fmt: skip


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, schema) of every object that a body may hold, however deep, with those of points."""
    schemas = document["components"]["schemas"]
    waiting: list[Any] = [
        operation["requestBody"]["content"]["application/json"]["schema"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    ]
    seen = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            name = str(node.get("$ref", "")).rpartition("/")[2]
            if name and name not in seen:
                seen.add(name)
                waiting.append(schemas[name])
                yield name, schemas[name]
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


async def test_no_body_has_room_for_what_it_does_not_name(control: Control) -> None:
    document = (await control.client.get("/api/openapi.json")).json()
    found = {name: schema for name, schema in bodies(document) if "properties" in schema}
    loose = [name for name, s in found.items() if s.get("additionalProperties") is not False]

    assert len(found) > 25
    assert loose == []


@pytest.mark.parametrize("path", MADE)
async def test_a_field_of_the_server_is_refused_and_nothing_is_made(
    control: Control, path: str
) -> None:
    for name, value in OWNED.items():
        answer = await control.client.post(API + path, json={**MADE[path], name: value})

        assert answer.status_code == 422, (name, answer.text)
        assert answer.json()["errors"][0]["code"] == "extra_forbidden"
        assert answer.json()["errors"][0]["pointer"] == f"/{name}"
