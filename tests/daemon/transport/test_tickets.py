"""A ticket is made for what there is: an own subscription, a known channel."""

from __future__ import annotations

from typing import Any

import pytest
from control import API, Control, bearer

pytestmark = pytest.mark.anyio


async def a_subscription(control: Control, token: str) -> str:
    answer = await control.client.post(f"{API}/subscribe", json={}, headers=bearer(token))
    assert answer.status_code == 201
    return str(answer.json()["subscription_id"])


async def said(control: Control, token: str, body: dict[str, Any]) -> tuple[int, str | None]:
    answer = await control.client.post(f"{API}/tickets", json=body, headers=bearer(token))
    return answer.status_code, answer.json().get("code")


async def test_a_ticket_is_for_a_subscription_of_its_maker(control: Control) -> None:
    own, other = await control.key("read"), await control.key("read")
    subscription_id = await a_subscription(control, own)
    wanted = {"subscription_id": subscription_id}

    assert await said(control, own, wanted) == (201, None)
    for token, body in (
        (other, wanted),
        (own, {"subscription_id": "sub_nope"}),
        (own, wanted | {"subscription_id": subscription_id[:-1] + "_"}),
    ):
        assert await said(control, token, body) == (404, "unknown_subscription")
    assert (await said(control, own, {"subscription_id": "sub_\u0000"}))[0] == 422


async def test_a_ticket_is_for_a_channel_that_there_is(control: Control) -> None:
    token = await control.key("read")

    assert await said(control, token, {"channel": "events"}) == (201, None)
    assert await said(control, token, {"channel": "nope"}) == (422, "unknown_channel")
