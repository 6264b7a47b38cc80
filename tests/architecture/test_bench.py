"""What `make bench` says of a figure that is not reached."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.figure import Figure, bounded, missed, ms

BENCH = Path(__file__).parents[1] / "bench"


def test_a_missed_figure_is_named_and_one_without_a_target_is_not() -> None:
    rows = [
        bounded("fast", 0.01, most=0.1, show=ms),
        bounded("slow", 0.2, most=0.1, show=ms),
        Figure("their load", "5 /s", "-", "-", "-", None),
    ]

    assert missed(rows) == ["missed: slow: 200 ms, wanted ≤ 100 ms"]


def test_each_part_of_the_bench_is_one_that_can_be_asked_for() -> None:
    done = subprocess.run(
        [sys.executable, BENCH / "run.py", "nothing"], capture_output=True, text=True, check=False
    )
    parts = done.stderr.rpartition("there are ")[2].strip().split(", ")
    measuring = {file.stem for file in BENCH.glob("*.py") if "\ndef measure(" in file.read_text()}

    assert done.returncode == 2
    assert set(parts) == measuring - {"clients"}
