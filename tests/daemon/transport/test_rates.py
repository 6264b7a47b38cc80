"""Who sends how much just now, as a key may see it."""

from __future__ import annotations

from typing import Any

import pytest
from control import API, Control, bearer

pytestmark = pytest.mark.anyio


async def rates(control: Control, token: str | None = None, **params: Any) -> dict[str, Any]:
    headers = bearer(token) if token else {}
    answer = await control.client.get(f"{API}/rates", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def send_some(control: Control) -> None:
    now_us = control.clock.now_us()
    points = [("bus-1", "speed", now_us + n, 1.0) for n in range(30)]
    await control.send([*points, ("bus-2", "speed", now_us, 1.0), ("bus-2", "fuel", now_us, 1.0)])
    control.clock.advance_s(10)


def count(control: Control, *, sender: tuple[str, str]) -> None:
    """A request with fifty points."""
    second = int(control.clock.monotonic_s())
    kind = (("/write", "POST"), 200, second, sender, 50)
    control.services.traffic.count_request(kind, 0.1)


async def test_the_busiest_device_comes_first(control: Control) -> None:
    await send_some(control)

    found = await rates(control)

    assert found == {
        "by": "device",
        "window_s": 10,
        "rates": [
            {"name": "bus-1", "points": 30, "points_per_second": 3.0, "label": None},
            {"name": "bus-2", "points": 2, "points_per_second": 0.2, "label": None},
        ],
        "total_points_per_second": 3.2,
    }


async def test_rates_by_metric_are_over_all_devices(control: Control) -> None:
    await send_some(control)

    found = await rates(control, by="metric", window="20s", limit=1)

    assert [(rate["name"], rate["points"]) for rate in found["rates"]] == [("speed", 31)]
    assert found["total_points_per_second"] == 3.2


async def test_a_key_sees_the_rates_of_what_it_may_see(control: Control) -> None:
    await send_some(control)
    token = await control.key("read", devices=("bus-2",))

    found = await rates(control, token)

    assert [rate["name"] for rate in found["rates"]] == ["bus-2"]
    assert found["total_points_per_second"] == 0.2


async def test_rates_by_key_need_more_than_reading(control: Control) -> None:
    answer = await control.client.get(
        f"{API}/rates", params={"by": "key"}, headers=bearer(await control.key("read"))
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_key_is_counted_with_its_name(control: Control) -> None:
    count(control, sender=("key_1", "gateway"))
    control.clock.advance_s(10)

    found = await rates(control, by="key")

    assert found["rates"] == [
        {"name": "key_1", "points": 50, "points_per_second": 5.0, "label": "gateway"}
    ]


async def test_a_key_sees_the_rates_of_itself_and_of_keys_that_it_may_administer(
    control: Control,
) -> None:
    made: list[dict[str, Any]] = [
        {"devices": ("bus-*",), "name": "asker"},
        {"devices": ("bus-1",), "name": "narrower"},
        {"devices": ("van-*",), "name": "foreign"},
        {"name": "wider"},
    ]
    ids = {}
    for one in made:
        token = await control.key("keys", "read", **one)
        who = await control.services.keys.authenticate(token, address="test")
        ids[who.name] = (who.key_id, token)
    for sender in (*[(key_id, name) for name, (key_id, _) in ids.items()], ("acc_1", "ann")):
        count(control, sender=sender)
    control.clock.advance_s(10)

    found = await rates(control, ids["asker"][1], by="key")
    everything = await rates(control, by="key")

    assert {rate["label"] for rate in found["rates"]} == {"asker", "narrower"}
    assert found["total_points_per_second"] == 10.0
    assert len(everything["rates"]) == 5


@pytest.mark.parametrize(
    "params", [{"by": "colour"}, {"window": "61s"}, {"window": "0s"}, {"limit": "0"}]
)
async def test_impossible_rates_are_refused(control: Control, params: dict[str, str]) -> None:
    answer = await control.client.get(f"{API}/rates", params=params)

    assert answer.status_code == 400
