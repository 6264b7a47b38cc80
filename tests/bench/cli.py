"""How long commands take from exec to exit, beside a bare typer app."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from bench.bodies import device_id
from bench.figure import Figure, at_most, ms
from bench.site import scratch

REPEATS = 15
BARE = Path(__file__).with_name("bare_typer.py")
PROGRAM = Path(sys.executable).parent / "telemetryctl"


def measure() -> list[Figure]:
    with scratch() as site, site.daemon() as daemon:
        daemon.cli("write", device_id(0), "speed=31.5")
        commands = {
            "bare": [sys.executable, str(BARE)],
            "version": [str(PROGRAM), "--version"],
            "status": [str(PROGRAM), "status"],
            "latest": [str(PROGRAM), "latest", device_id(0)],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(REPEATS + 1):
            for name, command in commands.items():
                taken_s = _time_s(command, daemon.environment)
                if turn:
                    times[name].append(taken_s)
    took = {name: median(values) for name, values in times.items()}
    return [
        at_most(
            f"telemetryctl {shown}", took[name], took["bare"], most=most, show=ms, of="bare typer"
        )
        for name, shown, most in (
            ("version", "--version", 1.5), ("status", "status", 2.5), ("latest", "latest", 2.5),
        )
    ]  # fmt: skip


def _time_s(command: list[str], environment: Mapping[str, str]) -> float:
    begun_s = time.perf_counter()
    subprocess.run(command, env=dict(environment), capture_output=True, check=True)
    return time.perf_counter() - begun_s
