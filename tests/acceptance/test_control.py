"""Definitions, devices, keys, figures and health of a real daemon, beside its ingest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from daemons import DaemonProcess

HOT = ("/devices/d/telemetry", "/devices/d/telemetry/batch", "/bulk", "/columns")


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[httpx.Client]:
    with daemon.http() as opened:
        yield opened


def point(metric_name: str, value: Any) -> dict[str, Any]:
    return {
        "timestamp": datetime.now(UTC).isoformat(), "metric_name": metric_name, "value": value
    }  # fmt: skip


def key_of(client: httpx.Client, **fields: Any) -> dict[str, str]:
    """The header of a new key."""
    made = client.post("/keys", json={"name": "k", **fields})
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json()['key']}"}


def test_a_definition_holds_for_the_very_next_point(client: httpx.Client) -> None:
    path = "/devices/oven/telemetry"
    before = client.post(path, json=point("heat", 500))
    client.post("/metrics", json={"name": "heat", "data_type": "numeric", "max_value": 300})
    refused = client.post(path, json=point("heat", 500))
    client.patch("/metrics/heat", json={"max_value": 600})
    after = client.post(path, json=point("heat", 500))

    assert [before.status_code, refused.status_code, after.status_code] == [200, 422, 200]
    assert refused.json()["code"] == "out_of_bounds"


def test_a_deleted_device_starts_anew_with_its_next_point(client: httpx.Client) -> None:
    client.post("/devices/fan/telemetry", json=point("rpm", 1))
    client.post("/devices/fan/telemetry", json=point("noise", 1))
    deleted = client.delete("/devices/fan")
    gone = client.get("/devices/fan")
    again = client.post("/devices/fan/telemetry", json=point("rpm", 2))
    stats = client.get("/devices/fan/stats").json()

    assert [deleted.status_code, gone.status_code, again.status_code] == [200, 404, 200]
    assert (stats["total_metrics"], stats["data_points_count"]) == (1, 1)


def test_a_stored_point_is_in_the_figures_at_once(client: httpx.Client) -> None:
    before = client.get("/stats").json()
    client.post("/devices/pump/telemetry", json=point("flow", 1))
    after = client.get("/stats").json()

    assert after["total_data_points"] == before["total_data_points"] + 1
    assert after["total_devices"] >= 1
    assert after["points_per_second"] > 0


@pytest.mark.parametrize("path", HOT)
def test_the_hot_routes_check_in_the_same_order(client: httpx.Client, path: str) -> None:
    reader = key_of(client, scopes=["read"])
    ids = {"X-Request-ID": "r-9"}

    missing = client.post(path, content=b"{", headers=ids | {"Authorization": ""})
    forbidden = client.post(path, content=b"{", headers=ids | reader)
    broken = client.post(path, content=b"{", headers=ids)

    answers = (missing, forbidden, broken)
    assert [answer.status_code for answer in answers] == [401, 403, 400]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == answer.json()["request_id"] == "r-9"


def test_a_revoked_key_stops_writing_at_once(client: httpx.Client) -> None:
    made = client.post("/keys", json={"name": "k", "scopes": ["ingest"]}).json()
    header = {"X-Api-Key": made["key"], "Authorization": ""}
    before = client.post("/devices/d/telemetry", json=point("m", 1), headers=header)
    client.delete(f"/keys/{made['key_id']}")
    after = client.post("/devices/d/telemetry", json=point("m", 1), headers=header)

    assert [before.status_code, after.status_code] == [200, 401]


def test_health_is_open_and_its_numbers_are_not(daemon: DaemonProcess) -> None:
    with httpx.Client(base_url=daemon.url) as stranger:
        health = stranger.get("/health")
        ready = stranger.get("/health/ready")
        for _ in range(60):
            if ready.status_code == 200:
                break
            # It was late for a moment, and says so.
            time.sleep(1)
            ready = stranger.get("/health/ready")
        detailed = stranger.get("/health/detailed").json()
    with daemon.http() as holder:
        numbers = holder.get(f"{daemon.url}/health/detailed").json()

    assert health.json()["dependencies"] == {"database": "up"}
    assert health.json()["port"] == int(daemon.url.rsplit(":", 1)[1])
    assert ready.json() == {"ready": True, "reasons": []}
    assert detailed["data_ingestion"] == {"status": "up"}
    assert numbers["data_ingestion"]["queue_points_max"] > 0
    assert numbers["time_series_db"]["journal_position"] >= 0


def test_the_log_holds_no_key(daemon: DaemonProcess) -> None:
    with daemon.http() as client:
        client.get("/metrics")
        client.get("/metrics", headers={"Authorization": f"Bearer {daemon.key}x"})

    daemon.wait_for("authentication_failed")
    assert daemon.key not in str(daemon.log)
    assert daemon.key.split("_")[3] not in str(daemon.log)
