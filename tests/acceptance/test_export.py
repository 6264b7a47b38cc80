"""`telemetryctl export csv` with the real daemon: what is in the files is what is in the table."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from command_line import PROGRAM
from daemons import DaemonProcess

HEADER = "timestamp,device_id,metric_name,value,unit,tags"
DAY_S = 86_400
Row = tuple[str, str, str]


def send(daemon: DaemonProcess, metric: str, values: dict[int, Any], *, device: str = "d") -> None:
    """Store values by their second since 1970."""
    series = {
        "device_id": device,
        "metric_name": metric,
        "timestamps": list(values),
        "values": list(values.values()),
        "unit": "celsius",
        "tags": {"room": 'a "b", c'},
    }
    with daemon.http() as http:
        http.post("/columns", json={"series": [series]}).raise_for_status()


def now_s() -> int:
    return int(time.time())  # noqa: TID251, RUF100 - the daemon's clock is the real one


def rows_of(text: str) -> list[dict[str, str]]:
    assert text.splitlines()[0] == HEADER
    return list(csv.DictReader(io.StringIO(text)))


def read(path: Path) -> list[dict[str, str]]:
    content = path.read_bytes()
    return rows_of((gzip.decompress(content) if path.suffix == ".gz" else content).decode())


def test_a_window_is_exported_with_unit_and_tags(daemon: DaemonProcess) -> None:
    start = now_s() - 100
    send(daemon, "window", {start: 1.5, start + 1: 2, start + 2: 3})

    done = daemon.cli(
        "export", "csv", "-m", "window", "--since", f"@{start}", "--until", f"@{start + 2}"
    )

    assert [row["value"] for row in rows_of(done.stdout)] == ["1.5", "2"]
    first = rows_of(done.stdout)[0]
    assert (first["device_id"], first["unit"]) == ("d", "celsius")
    assert json.loads(first["tags"]) == {"room": 'a "b", c'}
    assert daemon.cli("export", "csv", "-m", "none", "--since", "1h", check=False).returncode == 3


def test_formulas_are_raw_unless_a_spreadsheet_is_to_read_them(daemon: DaemonProcess) -> None:
    send(daemon, "formula", {now_s(): "=1+1"})
    command = ["export", "csv", "-m", "formula", "--since", "1h"]

    assert rows_of(daemon.cli(*command).stdout)[0]["value"] == "=1+1"
    assert rows_of(daemon.cli(*command, "--excel-safe").stdout)[0]["value"] == "'=1+1"


def test_an_export_is_imported_as_it_is(daemon: DaemonProcess, tmp_path: Path) -> None:
    start = now_s() - 100
    send(daemon, "round", {start + i: i / 7 for i in range(50)})
    send(daemon, "round_text", {start: 'x,"y"\nz', start + 1: "=1", start + 2: "ä"})
    path = tmp_path / "a.csv"
    daemon.cli("export", "csv", "-m", "round,round_text", "--since", "1h", "-O", str(path))

    daemon.cli("import", str(path), "-d", "copy")

    command = ["export", "csv", "-m", "round,round_text", "--since", "1h"]
    copied = rows_of(daemon.cli(*command, "-d", "copy").stdout)
    assert [{**row, "device_id": "d"} for row in copied] == read(path)


def test_a_week_is_split_into_days_and_resumed(daemon: DaemonProcess, tmp_path: Path) -> None:
    midnight = now_s() // DAY_S * DAY_S
    send(daemon, "days", {midnight - i * DAY_S // 2: i for i in range(1, 11)})
    command = ["export", "csv", "-m", "days", "--since", f"@{midnight - 5 * DAY_S}"]
    command += ["--until", f"@{midnight}", "--split", "1d", "-O", str(tmp_path / "%Y-%m-%d.csv.gz")]

    daemon.cli(*command)
    files = sorted(tmp_path.glob("*.csv.gz"))
    files[2].unlink()
    again = daemon.cli(*command, "--resume")

    assert len(files) == 5
    assert [len(read(path)) for path in files] == [2] * 5
    assert "exported 2 rows to 1 file" in again.stderr


def test_incremental_runs_hold_each_row_once_and_corrections_last(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    start = now_s() - 1000
    target = tmp_path / "all.csv"
    command = ["export", "csv", "-m", "new", "--incremental", "--state", str(tmp_path / "s.json")]
    command += ["-O", str(target)]

    send(daemon, "new", {start: 1, start + 1: 2})
    daemon.cli(*command)
    send(daemon, "new", {start: 10, start - 500: 3})
    daemon.cli(*command)
    nothing = daemon.cli(*command, check=False)

    assert [row["value"] for row in read(target)] == ["1", "2", "10", "3"]
    assert (nothing.returncode, "error" in nothing.stderr) == (3, False)
    manifest = json.loads((tmp_path / "all.csv.manifest.json").read_text())
    assert manifest["rows"] == 4
    assert [portion["rows"] for portion in manifest["portions"]] == [2, 2]


def test_what_was_stored_just_now_is_left_to_settle(daemon: DaemonProcess, tmp_path: Path) -> None:
    send(daemon, "settling", {now_s(): 1})
    command = ["export", "csv", "-m", "settling", "--incremental", "--state", str(tmp_path / "s")]
    command += ["-O", str(tmp_path / "a.csv")]

    early = daemon.cli(*command, "--settle", "5m", check=False)
    late = daemon.cli(*command)

    assert early.returncode == 3
    assert late.returncode == 0


def test_other_metrics_move_the_position_too(daemon: DaemonProcess, tmp_path: Path) -> None:
    state = tmp_path / "s.json"
    command = ["export", "csv", "-m", "rare", "--incremental", "--state", str(state)]
    command += ["-O", str(tmp_path / "a.csv")]
    send(daemon, "frequent", {now_s(): 1})
    daemon.cli(*command, check=False)
    before = json.loads(state.read_text())["cursor"]
    send(daemon, "frequent", {now_s(): 2})

    daemon.cli(*command, check=False)

    assert json.loads(state.read_text())["cursor"] != before


def test_runs_killed_at_random_while_points_come_in_miss_and_repeat_nothing(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    chance = random.Random(1)
    start = now_s() - 50_000
    out = tmp_path / "%Y-%m-%d.csv.gz"
    command = [
        "export",
        "csv",
        "-m",
        "killed",
        "--incremental",
        "--state",
        str(tmp_path / "s.json"),
    ]
    command += ["--split", "1d", "-O", str(out), "-q"]
    sent = []
    for number in range(12):
        seconds = chance.sample(range(50_000), 200)
        send(
            daemon,
            "killed",
            {start + second: number * 1000 + i for i, second in enumerate(seconds)},
        )
        sent += [number * 1000 + i for i in range(200)]
        process = subprocess.Popen([PROGRAM, *command], env=daemon.environment)
        try:
            process.wait(chance.uniform(0.15, 0.6))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
    daemon.cli(*command, check=False)

    values = [int(row["value"]) for path in tmp_path.glob("*.csv.gz") for row in read(path)]
    assert sorted(values) == sent
    latest: dict[str, str] = {}
    for path in tmp_path.glob("*.csv.gz"):
        latest |= {row["timestamp"]: row["value"] for row in read(path)}
    table = rows_of(daemon.cli("export", "csv", "-m", "killed", "--since", "1d").stdout)
    assert latest == {row["timestamp"]: row["value"] for row in table}
