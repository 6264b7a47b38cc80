"""An import while the daemon is killed and comes back: all points once, without anybody's help."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections import Counter
from pathlib import Path

from command_line import PROGRAM
from daemons import start_daemon
from databases import fresh_database
from receivers import free_port
from servers import PostgresServer


def test_an_import_outlives_a_killed_daemon(postgres: PostgresServer, tmp_path: Path) -> None:
    dsn, port = asyncio.run(fresh_database(postgres)), str(free_port())
    now = int(time.time())  # noqa: TID251, RUF100 - the daemon's clock is the real one
    path, state = tmp_path / "a.csv", tmp_path / "state.json"
    lines = [f"{now - 9000 + i},d{i % 7},m,{i}\n" for i in range(9000)]
    path.write_text("timestamp,device_id,metric_name,value\n" + "".join(lines))
    daemon = start_daemon(dsn, server__port=port)
    # So slow that it is not done before we look, on a busy machine.
    command = [PROGRAM, "import", str(path), "--batch", "200", "--rate", "1k/s"]
    importing = subprocess.Popen(
        [*command, "--state", str(state), "--jobs", "2"],
        env=daemon.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not state.exists() or json.loads(state.read_text())["stored"] < 2000:
            assert importing.poll() is None
            time.sleep(0.02)
        daemon.kill()
        daemon = start_daemon(dsn, home=daemon.home, key=daemon.key, server__port=port)
        _, said = importing.communicate(timeout=120)

        assert importing.returncode == 0
        assert "9,000 points of 9,000 rows stored" in said
        values: list[int] = []
        cursor, deadline = "", time.monotonic() + 60
        with daemon.http() as http:
            while page := http.get(
                "/changes", params={"limit": 1000} | ({"after": cursor} if cursor else {})
            ).json():
                values += [point["value"] for point in page["data_points"]]
                cursor = page["cursor"]
                # It may take the daemon a moment to show the last ones.
                is_all = len(values) >= 9000 or time.monotonic() > deadline
                if not page["data_points"] and is_all:
                    break
        assert Counter(values) == Counter(range(9000))
    finally:
        importing.kill()
        importing.communicate()
        daemon.stop()
