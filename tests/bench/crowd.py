"""Crowds of subscribers and publishers of stamped points, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from bench import clients

Ask = dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Counted:
    """What a crowd saw in a window; `points` is from a sample of the frames, `stamps_s` and
    `arrivals_s` are of all points, if wanted."""

    frames: int
    points: int
    size: int
    lost: int
    seconds: float
    stamps_s: npt.NDArray[np.float64]
    arrivals_s: npt.NDArray[np.float64]
    server_cpu_s: float = 0.0

    @property
    def per_core_s(self) -> float:
        """Frames for each second that the server's process was computing: what it would reach if
        it had a core to itself."""
        return self.frames / max(self.server_cpu_s, 1e-3)

    @property
    def per_s(self) -> float:
        return self.frames / self.seconds

    @property
    def delays_s(self) -> npt.NDArray[np.float64]:
        """From the stamp to the arrival."""
        delays: npt.NDArray[np.float64] = self.arrivals_s - self.stamps_s
        return delays

    def percentile_s(self, percent: float) -> float:
        return float(np.percentile(self.delays_s, percent))


@dataclass(frozen=True, slots=True)
class Crowd:
    """Processes that hold subscribers and wait for steps."""

    processes: list[subprocess.Popen[str]]

    def begin(self, do: str, **step: Any) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"do": do, **step}) + "\n")
            process.stdin.flush()

    def end(self) -> list[dict[str, Any]]:
        """What each process says about the step that was begun."""
        return [json.loads(clients.said(process)) for process in self.processes]

    def count(
        self, *, warm_s: float, seconds: float, stamps: bool = False, server: int | None = None
    ) -> Counted:
        """Of what arrives; `server` is the process whose computing is counted beside it.

        Raises RuntimeError when a connection is lost meanwhile, or nothing comes.
        """
        self.begin("count", warm_s=warm_s, seconds=seconds, stamps=stamps)
        server_cpu_s = _cpu_s(server, warm_s=warm_s, seconds=seconds) if server else 0.0
        told = self.end()
        counted = Counted(
            sum(one["frames"] for one in told),
            sum(one["points"] for one in told),
            sum(one["size"] for one in told),
            sum(one["lost"] for one in told),
            seconds,
            np.concatenate([np.array(one["stamps"], np.float64) for one in told]),
            np.concatenate([np.array(one["arrivals"], np.float64) for one in told]),
            server_cpu_s,
        )
        if counted.lost or not counted.frames:
            seen = [one["seen"] for one in told]
            raise RuntimeError(f"{counted.lost} lost, {counted.frames} frames; others: {seen}")
        return counted


def _cpu_s(pid: int, *, warm_s: float, seconds: float) -> float:
    """How long a process computes in the window."""
    process = psutil.Process(pid)
    time.sleep(warm_s)
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system


@contextmanager
def crowd(
    port: int, asks: Sequence[Ask], *, token: str = "", processes: int = 2, is_slow: bool = False
) -> Iterator[Crowd]:
    """One connection for each ask, which is a subscription or None; all are subscribed."""
    specs = [
        {"port": port, "path": "/ws", "token": token, "is_slow": is_slow,
         "asks": list(asks[at::processes])}
        for at in range(processes)
    ]  # fmt: skip
    with clients.running("listeners", specs) as started:
        yield Crowd(started)


@contextmanager
def publishing(
    port: int, lanes: Sequence[Sequence[int]], *, token: str, per_s: float, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """A publisher at its work; `answers` tells how it went."""
    spec = {"port": port, "token": token, "lanes": [list(lane) for lane in lanes], "per_s": per_s}
    with clients.running("publisher", [spec | options]) as (process,):
        yield process


def answers(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The report of a publisher at its end. Raises RuntimeError if a point was refused."""
    told: dict[str, Any] = json.loads(clients.said(process))
    if told["failure"]:
        raise RuntimeError(f"a request failed: {told['failure']}")
    return told
