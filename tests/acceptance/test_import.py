"""`telemetryctl import` with the real daemon: real files as they are, refusals, kills."""

from __future__ import annotations

import csv
import gzip
import json
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from command_line import PROGRAM
from daemons import DaemonProcess

FLEET = Path(__file__).parents[2] / "examples" / "fleet" / "capmetro-2015-03-07-noon.csv.gz"
FLEET_MAP = "device=vehicle_id,speed=speed:mph,position=geo(latitude,longitude),tags.route=route_id"
SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared_data = pytest.mark.skipif(not SHARED.exists(), reason="the data is not beside us")


def changes(daemon: DaemonProcess, metric: str, *, count: int) -> list[dict[str, Any]]:
    """All points of a metric in the order of storing, repeated ones too; `count` are there at
    least, though it may take the daemon a moment to show them."""
    found: list[dict[str, Any]] = []
    cursor = ""
    deadline = time.monotonic() + 60
    with daemon.http() as http:
        while True:
            query = {"metric_names": metric, "limit": "1000"} | (
                {"after": cursor} if cursor else {}
            )
            page = http.get("/changes", params=query).raise_for_status().json()
            found += page["data_points"]
            if not page["data_points"] and (len(found) >= count or time.monotonic() > deadline):
                return found
            cursor = page["cursor"]


def write_rows(path: Path, *, rows: int, metric: str) -> None:
    now = int(time.time())  # noqa: TID251, RUF100 - the daemon's clock is the real one
    lines = [f"{now - rows + i},d{i % 3},{metric},{i}\n" for i in range(rows)]
    path.write_text("timestamp,device_id,metric_name,value\n" + "".join(lines))


def wait_until_done(state: Path, *, rows: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            if sum(file["rows"] for file in json.loads(state.read_text())["files"]) >= rows:
                return
        time.sleep(0.01)
    raise AssertionError(f"no {rows} rows are done")


def test_the_fleet_is_imported_as_it_is(daemon: DaemonProcess) -> None:
    done = daemon.cli("import", str(FLEET), "--map", FLEET_MAP, "--define", "--shift-to", "now")

    assert "19,604 points of 9,802 rows stored" in done.stderr
    assert done.stdout == ""
    latest = json.loads(daemon.cli("latest", "2010", "-o", "json").stdout)["latest"]["2010"]
    assert latest["speed"]["unit"] == "mph"
    assert set(latest["speed"]["tags"]) == {"route"}
    assert set(latest["position"]["value"]) == {"lat", "lon"}


@needs_shared_data
@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("servers/rds_cpu_utilization_cc0c53.csv.gz", ["--name", "{metric}_{device}"]),
        ("servers/grok_asg_anomaly.csv.gz", []),
        ("plant/ambient_temperature_system_failure.csv.gz", ["-d", "plant", "-m", "ambient"]),
    ],
)
def test_files_without_zones_or_devices_are_imported_as_they_are(
    daemon: DaemonProcess, file: str, options: list[str]
) -> None:
    rows = len(gzip.decompress((SHARED / file).read_bytes()).splitlines()) - 1

    refused = daemon.cli("import", str(SHARED / file), *options, "--dry-run", check=False)
    done = daemon.cli(
        "import", str(SHARED / file), *options, "--tz", "utc", "--shift-to", "now", check=False
    )

    assert refused.returncode == 5
    assert "bad_timestamp" in refused.stderr
    # The plant's year is longer than the retention, and that is said too.
    assert done.returncode == (6 if "too_old" in done.stderr else 0)
    assert ("too_old" in done.stderr) == file.startswith("plant")
    assert f"of {rows:,} rows" in done.stderr


def test_refused_rows_are_kept_and_can_be_mended(daemon: DaemonProcess, tmp_path: Path) -> None:
    with daemon.http() as http:
        body = {"name": "checked", "data_type": "numeric", "metric_type": "gauge", "max_value": 10}
        http.post("/metrics", json=body).raise_for_status()
    now = int(time.time())  # noqa: TID251, RUF100 - the daemon's clock is the real one
    path, bad = tmp_path / "in.csv", tmp_path / "bad.csv"
    stamps = [now, "soon", now + 1, now + 2, now + 3]
    values = [1, 2, 99, "nan", 4]
    rows = [f"{stamp},d,{value}\n" for stamp, value in zip(stamps, values, strict=True)]
    path.write_text("time,device,checked\n" + "".join(rows))

    done = daemon.cli(
        "import", str(path), "--map", "checked=checked", "--errors-file", str(bad), check=False
    )

    assert done.returncode == 6
    assert "2 points of 5 rows stored" in done.stderr
    kept = list(csv.DictReader(bad.read_text().splitlines()))
    assert sorted((row["error_line"], row["error_code"], row["checked"]) for row in kept) == [
        ("3", "bad_timestamp", "2"),
        ("4", "out_of_bounds", "99"),
        ("5", "not_finite", "nan"),
    ]
    mended = bad.read_text().replace("soon", str(now + 5))
    bad.write_text(mended.replace(",99,", ",9,").replace(",nan,", ",8,"))
    daemon.cli("import", str(bad), "--map", "checked=checked")
    stored = Counter(point["value"] for point in changes(daemon, "checked", count=5))
    assert stored == Counter([1, 2, 4, 8, 9])


def test_a_dry_run_stores_nothing(daemon: DaemonProcess, tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", rows=10, metric="dry")

    done = daemon.cli("import", str(tmp_path / "a.csv"), "--dry-run")

    assert "10 points of 10 rows would be stored" in done.stderr
    assert changes(daemon, "dry", count=0) == []


def test_a_killed_import_goes_on_and_repeats_nothing(daemon: DaemonProcess, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_rows(path, rows=6000, metric="killed")
    state = tmp_path / "state.json"
    command = ["import", str(path), "--batch", "100", "--rate", "3000/s", "--state", str(state)]
    for rows in (500, 1500, 2500):
        process = subprocess.Popen(
            [PROGRAM, *command], env=daemon.environment, stderr=subprocess.DEVNULL
        )
        wait_until_done(state, rows=rows)
        process.send_signal(signal.SIGKILL)
        process.wait()

    done = daemon.cli(*command)

    assert "rows were done before" in done.stderr
    stored = Counter(point["value"] for point in changes(daemon, "killed", count=6000))
    assert stored == Counter(range(6000))


def test_a_batch_that_was_stored_but_not_noted_is_not_stored_again(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    path, state = tmp_path / "a.csv", tmp_path / "state.json"
    write_rows(path, rows=500, metric="unnoted")
    command = ["import", str(path), "--batch", "100", "--state", str(state)]
    daemon.cli(*command)
    # As if the kill had come between the server's answer and the note of it.
    document = json.loads(state.read_text())
    document["files"][0]["rows"] = 300
    state.write_text(json.dumps(document))

    done = daemon.cli(*command)

    assert "200 points of 200 rows stored" in done.stderr
    stored = Counter(point["value"] for point in changes(daemon, "unnoted", count=500))
    assert stored == Counter(range(500))


def test_resuming_a_finished_import_stores_nothing_more(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    write_rows(path, rows=50, metric="grown")
    daemon.cli("import", str(path))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[-1].replace(",49", ",50").replace("d1", "d9")]))

    done = daemon.cli("import", str(path), "--resume")

    assert "1 points of 1 rows stored" in done.stderr
    assert len(changes(daemon, "grown", count=51)) == 51


def test_a_state_of_another_mapping_is_refused(daemon: DaemonProcess, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_rows(path, rows=5, metric="mapped")
    daemon.cli("import", str(path))

    done = daemon.cli("import", str(path), "--resume", "--tag", "a=b", check=False)

    assert done.returncode == 2
    assert "another mapping" in done.stderr


def test_json_lines_are_imported_by_several_requests_at_once(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl.gz"
    now = int(time.time())  # noqa: TID251, RUF100 - the daemon's clock is the real one
    rows = [
        {"timestamp": now - i, "device_id": "j", "metric_name": "json", "value": {"n": i}}
        for i in range(500)
    ]
    path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))

    daemon.cli("import", str(path), "--jobs", "4", "--batch", "50")

    values = [point["value"] for point in changes(daemon, "json", count=500)]
    assert sorted(v["n"] for v in values) == list(range(500))
