"""Data folders that an unprivileged account can reach, and daemons on them to be killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from embedded import Daemon, StartDaemon, postmasters_of


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder that every account may pass, but not read; what still runs in it is killed."""
    base = Path(tempfile.mkdtemp(prefix="telemetry-"))
    base.chmod(0o711)
    folder = base / "data"
    yield folder
    for pid in postmasters_of(folder):
        with suppress(psutil.NoSuchProcess):
            left_over = psutil.Process(pid)
            left_over.send_signal(signal.SIGQUIT)
            psutil.wait_procs([left_over], timeout=60)
    shutil.rmtree(base)


@pytest.fixture
def start_daemon(data_dir: Path) -> Iterator[StartDaemon]:
    """Starts supervising processes on the folder; they are killed at the end."""
    started: list[Daemon] = []

    def start(
        *,
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
        python: str = sys.executable,
    ) -> Daemon:
        program = Path(__file__).parent / "one_daemon.py"
        process = subprocess.Popen(
            [python, str(program), str(data_dir)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
        )
        started.append(Daemon(process))
        return started[-1]

    yield start
    for daemon in started:
        daemon.kill()
        assert daemon.process.stdout is not None
        daemon.process.stdout.close()
