"""An administrator that is bound to devices, groups or metrics: what is everybody's is not its."""

from __future__ import annotations

from typing import Any

import pytest
from control import API, Control, bearer

pytestmark = pytest.mark.anyio


async def test_an_administrator_that_is_bound_uses_its_own_subscriptions_only(
    control: Control,
) -> None:
    reader, bound = await control.key("read"), await control.key("admin", devices=("acme*",))
    made = await control.client.post(f"{API}/subscribe", json={}, headers=bearer(reader))
    url = f"{API}/subscribe/{made.json()['subscription_id']}"

    answer = await control.client.delete(url, headers=bearer(bound))
    done = await control.client.delete(url, headers=bearer(control.token))

    assert (answer.status_code, done.status_code) == (404, 200)


@pytest.mark.parametrize(
    "bound", [{"devices": ("acme*",)}, {"groups": ("g",)}, {"metrics": ("m",)}]
)
async def test_an_administrator_that_is_bound_does_nothing_to_what_is_everybodys(
    control: Control, bound: dict[str, Any]
) -> None:
    key = bearer(await control.key("admin", **bound))
    channel = {"name": "ops", "kind": "webhook", "url": "http://127.0.0.1:9/"}
    assert (await control.client.post(f"{API}/channels", json=channel)).status_code == 201

    refused = [
        await control.client.request(method, f"{API}{path}", headers=key, json=body)
        for method, path, body in (
            ("POST", "/admin/retention/run", None),
            ("GET", "/admin/partitions", None),
            ("POST", "/channels", channel | {"name": "mine"}),
            ("PATCH", "/channels/ops", {"url": "http://127.0.0.1:10/"}),
            ("POST", "/channels/ops/test", None),
            ("DELETE", "/channels/ops", None),
            ("GET", "/stats", None),
        )
    ]
    shown = await control.client.get(f"{API}/channels/ops", headers=key)

    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {
        (403, "outside_patterns")
    }
    assert shown.json().get("url") is None
