"""Reads against a real daemon: every kind of value comes back, and followers see each point
once."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from daemons import DaemonProcess

VALUES: dict[str, Any] = {
    "number": 25.5,
    "whole": 7,
    "text": "=in_service",
    "flag": True,
    "document": {"a": [1, {"b": None}], "ü": "x"},
    "place": {"lat": 30.25, "lon": -97.75, "accuracy": 4.5},
    "blob": "aGVsbG8=",
}
WRITERS = 4
TURNS = 25
DEFINED = {"place": "geolocation", "blob": "binary"}


def send(http: httpx.Client, device_id: str, points: list[dict[str, Any]]) -> None:
    answer = http.post(f"/devices/{device_id}/telemetry/batch", json={"data_points": points})
    assert answer.status_code == 200, answer.text


def test_every_kind_of_value_comes_back_through_every_door(daemon: DaemonProcess) -> None:
    stamp = int(time.time()) - 60
    with daemon.http() as http:
        for name, data_type in DEFINED.items():
            http.post("/metrics", json={"name": name, "data_type": data_type}).raise_for_status()
        points = [
            {"timestamp": stamp, "metric_name": name, "value": value, "tags": {"line": "7"}}
            for name, value in VALUES.items()
        ]
        send(http, "kinds", points)

        latest = http.get("/latest", params={"device_ids": "kinds"}).json()["latest"]["kinds"]
        body = {
            "metrics": list(VALUES),
            "devices": ["kinds"],
            "start_time": stamp,
            "end_time": stamp + 1,
        }
        queried = http.post("/query", json=body).json()["data_points"]
        changes = http.get("/changes", params={"device_ids": "kinds"}).json()["data_points"]
        params: dict[str, Any] = {"device_ids": "kinds", "start_time": stamp, "end_time": stamp + 1}
        raw = http.get("/export/csv", params=params | {"raw": "true"}).text
        safe = http.get("/export/csv", params=params).text

    assert {name: point["value"] for name, point in latest.items()} == VALUES
    for found in (queried, changes):
        assert {point["metric_name"]: point["value"] for point in found} == VALUES
        assert all(point["tags"] == {"line": "7"} for point in found)
    cells = {row["metric_name"]: row["value"] for row in csv.DictReader(io.StringIO(raw))}
    texts = {name: VALUES[name] for name in ("text", "blob")}
    assert {name: cells.pop(name) for name in texts} == texts
    assert {name: json.loads(cell) for name, cell in cells.items()} == {
        name: value for name, value in VALUES.items() if name not in texts
    }
    assert "'=in_service" in safe


@dataclass
class Crowd:
    """Writers, and two who follow them until they are done."""

    daemon: DaemonProcess
    first: int = field(default_factory=lambda: int(time.time()) - 3_000)
    is_done: threading.Event = field(default_factory=threading.Event)
    followed: list[tuple[str, str]] = field(default_factory=list)
    exported: list[tuple[str, str]] = field(default_factory=list)

    def write(self, number: int) -> None:
        with self.daemon.http() as http:
            for turn in range(TURNS):
                points = [
                    {"timestamp": self.first + turn * 4 + at, "metric_name": "n", "value": at}
                    for at in range(4)
                ]
                send(http, f"writer-{number}", points)

    def follow(self) -> None:
        with self.daemon.http() as http:
            params: dict[str, Any] = {"metric_names": "n", "limit": 7, "wait": 1}
            while True:
                was_done = self.is_done.is_set()
                page = http.get("/changes", params=params).json()
                self.followed += [(p["device_id"], p["timestamp"]) for p in page["data_points"]]
                if was_done and not page["data_points"]:
                    return
                params["after"] = page["cursor"]

    def export(self) -> None:
        with self.daemon.http() as http:
            after = ""
            while True:
                was_done = self.is_done.is_set()
                answer = http.get("/export/csv", params={"metric_names": "n", "after": after})
                after = answer.headers["x-next-cursor"]
                if answer.status_code == 200:
                    rows = csv.DictReader(io.StringIO(answer.text))
                    self.exported += [(row["device_id"], row["timestamp"]) for row in rows]
                elif was_done:
                    return


def test_followers_see_each_point_once_while_others_write(daemon: DaemonProcess) -> None:
    crowd = Crowd(daemon)
    writers = [threading.Thread(target=crowd.write, args=(n,)) for n in range(WRITERS)]
    readers = [threading.Thread(target=read) for read in (crowd.follow, crowd.export)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    crowd.is_done.set()
    for thread in readers:
        thread.join(150)

    assert len(crowd.followed) == len(set(crowd.followed)) == WRITERS * TURNS * 4
    assert sorted(crowd.exported) == sorted(crowd.followed)


def test_a_page_ends_in_a_cursor_that_goes_on(daemon: DaemonProcess) -> None:
    first = int(time.time()) - 3_000
    with daemon.http() as http:
        for number in range(3):
            points = [
                {"timestamp": first + at, "metric_name": "paged", "value": at} for at in range(50)
            ]
            send(http, f"paged-{number}", points)
        body: dict[str, Any] = {
            "metrics": ["paged"],
            "start_time": first,
            "end_time": first + 100,
            "limit": 40,
        }
        found: list[tuple[str, str]] = []
        while True:
            page = http.post("/query", json=body).json()
            found += [(p["timestamp"], p["device_id"]) for p in page["data_points"]]
            if not page["truncated"]:
                break
            body["cursor"] = page["next_cursor"]

    assert len(found) == 150
    assert found == sorted(set(found))
