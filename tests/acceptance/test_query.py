"""`telemetryctl query` and `simulate` with the real daemon."""

from __future__ import annotations

import json
import time

from daemons import DaemonProcess


def now_s() -> int:
    return int(time.time())  # noqa: TID251, RUF100 - the daemon's clock is the real one


def send(daemon: DaemonProcess, metric: str, values: dict[int, float], *, device: str) -> None:
    series = {
        "device_id": device,
        "metric_name": metric,
        "timestamps": list(values),
        "values": list(values.values()),
        "tags": {"room": device},
    }
    with daemon.http() as http:
        http.post("/columns", json={"series": [series]}).raise_for_status()


def test_all_pages_hold_each_point_once(daemon: DaemonProcess) -> None:
    start = now_s() - 30_000
    send(daemon, "paged", {start + i: i for i in range(25_000)}, device="d")

    done = daemon.cli("query", "paged", "--since", "1d", "--all", "-o", "jsonl")
    cut = daemon.cli("query", "paged", "--since", "1d", "--limit", "3")

    assert [json.loads(line)["value"] for line in done.stdout.splitlines()] == list(range(25_000))
    assert len(cut.stdout.splitlines()) == 4
    assert "cut after 3 points" in cut.stderr


def test_devices_and_tags_select(daemon: DaemonProcess) -> None:
    start = now_s() - 100
    for device in ("a", "b", "c"):
        send(daemon, "selected", {start: 1}, device=device)

    by_device = daemon.cli("query", "selected", "-d", "a", "-d", "b", "--no-headers")
    by_tag = daemon.cli("query", "selected", "--tag", "room=c", "--no-headers")

    assert [line.split("\t")[1] for line in by_device.stdout.splitlines()] == ["a", "b"]
    assert [line.split("\t")[1] for line in by_tag.stdout.splitlines()] == ["c"]


def test_aggregations_side_by_side_agree_with_the_points(daemon: DaemonProcess) -> None:
    start = (now_s() - 7200) // 3600 * 3600
    send(daemon, "aggregated", {start + i: i for i in range(101)}, device="d")

    done = daemon.cli(
        *("query", "aggregated", "--agg", "avg,max,count,p95", "--every", "1h"),
        *("--since", f"@{start}", "--until", f"@{start + 3600}", "--no-headers"),
    )

    cells = done.stdout.rstrip("\n").split("\t")
    assert [float(cell) for cell in cells[3:7]] == [50, 100, 101, 95]


def test_pictures_are_drawn_of_real_answers(daemon: DaemonProcess) -> None:
    start = now_s() - 3000
    send(daemon, "drawn", {start + 60 * i: i for i in range(50)}, device="d")

    spark = daemon.cli("query", "drawn", "--since", "1h", "--spark", LANG="C.UTF-8")
    plot = daemon.cli("query", "drawn", "--since", "1h", "--plot", LANG="C.UTF-8")

    # The last bucket may have begun after the last point.
    assert spark.stdout.splitlines()[1].rstrip().endswith("█")
    assert "d  avg drawn" in plot.stdout


def test_a_simulation_sends_live_until_its_duration(daemon: DaemonProcess) -> None:
    done = daemon.cli(
        *("simulate", "--profile", "fleet", "--devices", "3", "--rate", "60/s"),
        *("--duration", "2s", "--seed", "1", "--fault", "spike"),
    )

    assert "points sent" in done.stderr
    latest = json.loads(daemon.cli("latest", "bus_001", "-o", "json").stdout)["latest"]["bus_001"]
    assert set(latest) == {"speed", "position", "fuel_level"}
    assert latest["speed"]["age_seconds"] < 60
    assert latest["speed"]["tags"]["route"]


def test_a_simulation_that_makes_no_sense_is_a_usage_error(daemon: DaemonProcess) -> None:
    for options in (["--profile", "zoo"], ["--fault", "flood"], ["--rate", "fast"]):
        assert daemon.cli("simulate", *options, check=False).returncode == 2
