"""Points outside the patterns of a key are refused by themselves, beside those it may write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from stacks import Stack, a_stack

from daemon.domain.key_request import KeyRequest
from daemon.store.pool import Database

pytestmark = pytest.mark.anyio
POINT = {"timestamp": "2025-12-18T12:00:00Z", "metric_name": "speed", "value": 7}
SECOND = 1_766_059_200


@pytest.fixture
async def stack(database: Database) -> AsyncIterator[Stack]:
    async with a_stack(database) as opened:
        yield opened


async def a_key(stack: Stack, **bound: list[str]) -> dict[str, str]:
    admin = await stack.keys.authenticate(stack.token, address="test")
    made = await stack.keys.create(KeyRequest("test", ("ingest",), "free", **bound), by=admin)  # type: ignore[arg-type]
    return {"Authorization": f"Bearer {made.key}"}


def refused(index: object) -> list[dict[str, Any]]:
    detail = "the key may not write to this device or metric"
    return [{"index": index, "code": "forbidden", "detail": detail, "retryable": False}]


def series(stack: Stack) -> set[tuple[str, str]]:
    return {(d, m) for d, metrics in stack.registry.devices.items() for m in metrics}


async def send(stack: Stack, path: str, body: Any, key: dict[str, str]) -> httpx.Response:
    return await stack.post(path, body, headers=key)


@pytest.mark.parametrize("is_known", [False, True])
async def test_of_a_bulk_the_own_device_is_stored(stack: Stack, is_known: bool) -> None:
    if is_known:
        assert (await stack.post("/devices/bolt-1/telemetry", POINT)).status_code == 200
    key = await a_key(stack, devices=["acme-*"])

    answer = await send(stack, "/bulk", {"acme-1": [POINT], "bolt-1": [POINT]}, key)

    body = answer.json()
    assert (answer.status_code, body["ingested_count"], body["failed_count"]) == (200, 1, 1)
    assert body["results"]["acme-1"]["success"]
    assert body["results"]["bolt-1"]["errors"] == refused(0)
    assert series(stack) == {("acme-1", "speed")} | ({("bolt-1", "speed")} if is_known else set())


async def test_of_columns_the_own_series_are_stored(stack: Stack) -> None:
    key = await a_key(stack, metrics=["speed"])
    columns = [
        {"device_id": "d", "metric_name": name, "timestamps": [SECOND], "values": [1]}
        for name in ("speed", "fuel")
    ]

    answer = await send(stack, "/columns", {"series": columns}, key)

    assert (answer.status_code, answer.json()["errors"]) == (200, refused([1, 0]))
    assert series(stack) == {("d", "speed")}


async def test_of_a_batch_the_own_metrics_are_stored(stack: Stack) -> None:
    key = await a_key(stack, metrics=["speed"])
    points = [POINT | {"metric_name": "fuel"}, POINT, POINT | {"metric_name": "no name"}]

    answer = await send(stack, "/devices/d/telemetry/batch", {"data_points": points}, key)

    errors = answer.json()["errors"]
    assert (answer.status_code, answer.json()["ingested_count"]) == (200, 1)
    assert errors[:1] == refused(0)
    assert [(error["index"], error["code"]) for error in errors[1:]] == [(2, "bad_name")]


async def test_a_broken_point_of_others_is_broken(stack: Stack) -> None:
    key = await a_key(stack, devices=["acme-*"])
    body = {"acme-1": [POINT], "bolt-1": [POINT | {"value": None}, POINT]}

    answer = await send(stack, "/bulk", body, key)

    codes = [error["code"] for error in answer.json()["results"]["bolt-1"]["errors"]]
    assert codes == ["unknown_type", "forbidden"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/devices/bolt-1/telemetry", POINT),
        ("/devices/bolt-1/telemetry/batch", {"data_points": [POINT, POINT | {"value": None}]}),
        ("/bulk", {"bolt-1": [POINT], "bolt-2": [POINT]}),
    ],
)
async def test_a_request_of_nothing_but_others_is_forbidden(
    stack: Stack, path: str, body: Any
) -> None:
    key = await a_key(stack, devices=["acme-*"])

    answer = await send(stack, path, body, key)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert series(stack) == set()


async def test_a_batch_id_repeats_the_refusals(stack: Stack) -> None:
    key = await a_key(stack, metrics=["speed"])
    body = {"data_points": [POINT | {"metric_name": "fuel"}, POINT], "batch_id": "b"}

    first = await send(stack, "/devices/d/telemetry/batch", body, key)
    again = await send(stack, "/devices/d/telemetry/batch", body, key)

    assert again.json() == first.json() | {"duplicate": True}
