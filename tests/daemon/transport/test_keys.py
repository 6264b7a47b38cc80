"""API keys over HTTP (contract 9.1)."""

from __future__ import annotations

import pytest
from control import API, Control, bearer

pytestmark = pytest.mark.anyio
KEYS = f"{API}/keys"


async def test_a_secret_is_shown_once(control: Control) -> None:
    made = await control.client.post(
        KEYS, json={"name": "bus", "scopes": ["ingest"], "tier": "pro", "expires_in": "90d"}
    )
    body = made.json()
    shown = await control.client.get(f"{KEYS}/{body['key_id']}")
    listed = await control.client.get(KEYS)

    assert made.status_code == 201
    assert body["key"].startswith("tlm_live_")
    assert body["scopes"] == ["ingest"]
    assert body["expires_at"] > body["created_at"]
    assert body["last_used_at"] is None
    assert "key" not in shown.json()
    assert body["key"] not in listed.text
    assert listed.json()["total"] == 2
    assert listed.json()["keys"][0]["key_id"] == body["key_id"]


async def test_a_rotation_answers_with_the_new_secret(control: Control) -> None:
    made = (await control.client.post(KEYS, json={"name": "k", "scopes": ["read"]})).json()
    answer = await control.client.post(f"{KEYS}/{made['key_id']}/rotate", json={"overlap": "24h"})
    plain = await control.client.post(f"{KEYS}/{made['key_id']}/rotate")

    assert answer.status_code == 200
    assert answer.json()["key"] != made["key"]
    assert plain.status_code == 200
    assert plain.json()["key"] != answer.json()["key"]


async def test_a_revoked_key_is_a_401(control: Control) -> None:
    made = (await control.client.post(KEYS, json={"name": "k", "scopes": ["read"]})).json()
    before = await control.client.get("/auth/whoami", headers=bearer(made["key"]))
    revoked = await control.client.delete(f"{KEYS}/{made['key_id']}")
    after = await control.client.get("/auth/whoami", headers=bearer(made["key"]))
    again = await control.client.delete(f"{KEYS}/{made['key_id']}")

    assert before.json()["key_id"] == made["key_id"]
    assert revoked.json()["success"] is True
    assert after.status_code == 401
    assert again.status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": []},
        {"scopes": ["fly"]},
        {"tier": "gold"},
        {"expires_in": "soon"},
        {"expires_in": 0},
        {"devices": []},
        {"devices": ["[a]"]},
        {"name": ""},
    ],
)
async def test_a_wrong_field_is_a_422(control: Control, fields: dict[str, object]) -> None:
    answer = await control.client.post(KEYS, json={"name": "k", "scopes": ["read"], **fields})

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]


async def test_an_unknown_key_is_a_404(control: Control) -> None:
    answer = await control.client.get(f"{KEYS}/key_0000000000000000000000000z")

    assert answer.status_code == 404
