"""Client processes from outside: start them, let them begin together, add up what they saw."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Answers:
    """What all clients of one run saw; `latencies_s` are in the order of answers."""

    requests: int
    elapsed_s: float
    answer_bytes: int
    latencies_s: npt.NDArray[np.float64]

    @property
    def per_s(self) -> float:
        return self.requests / self.elapsed_s

    def percentile_s(self, percent: float) -> float:
        return float(np.percentile(self.latencies_s, percent))


def start(module: str, spec: dict[str, Any]) -> subprocess.Popen[str]:
    """A process of a module of this package; it gets `spec` as its first line."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"bench.{module}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"PYTHONPATH": str(TESTS), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(spec) + "\n")
    process.stdin.flush()
    return process


def said(process: subprocess.Popen[str]) -> str:
    """The next line of a client. Raises RuntimeError when it ended instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a client ended with {process.wait(10)}")
    return line.strip()


@contextmanager
def running(module: str, specs: Sequence[dict[str, Any]]) -> Iterator[list[subprocess.Popen[str]]]:
    """Clients that are ready and then told to begin together; killed at the end if need be."""
    processes = [start(module, spec) for spec in specs]
    try:
        for process in processes:
            assert said(process) == "ready"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def reports(processes: Sequence[subprocess.Popen[str]]) -> Answers:
    """Wait for the reports of all. Raises RuntimeError with the first answer that was not 200."""
    told = [json.loads(said(process)) for process in processes]
    for one in told:
        if one["failure"]:
            raise RuntimeError(f"a request failed: {one['failure']}")
    latencies = np.concatenate([np.array(one["latencies_us"], np.float64) for one in told])
    return Answers(
        sum(one["requests"] for one in told),
        max(one["elapsed_s"] for one in told),
        sum(one["answer_bytes"] for one in told),
        latencies / 1e6,
    )


def measure(module: str, specs: Sequence[dict[str, Any]]) -> Answers:
    """Run clients to their end."""
    with running(module, specs) as processes:
        return reports(processes)


def send(
    port: int,
    sources: Sequence[dict[str, Any]],
    *,
    token: str = "",
    processes: int = 2,
    **options: Any,
) -> Answers:
    """One connection per source, spread over processes; options: warm_s, seconds, interval_s."""
    return measure("load", load_specs(port, sources, token=token, processes=processes, **options))


def load_specs(
    port: int,
    sources: Sequence[dict[str, Any]],
    *,
    token: str,
    processes: int,
    **options: Any,
) -> list[dict[str, Any]]:
    """The orders of `send`, for `running`."""
    processes = min(processes, len(sources))
    return [
        {"port": port, "token": token, "sources": sources[at::processes], **options}
        for at in range(processes)
    ]
