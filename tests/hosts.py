"""A host of its own for a test: this machine's files under an overlay, and systemd as its first
process, in namespaces that end with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MISSING = "a host with systemd can't be booted here (it needs root, overlayfs and namespaces)"
PROGRAMS = (
    "/lib/systemd/systemd",
    "dbus-daemon",
    "unshare",
    "setpriv",
    "nsenter",
    "pgrep",
    "useradd",
)
BOOT_S = 60
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("HOME", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE", "PIP_TRUSTED_HOST",
         "PIP_CERT", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy", "no_proxy")  # fmt: skip
"""What tells an installation where packages come from."""


@dataclass(frozen=True)
class Host:
    """`pid` is its first process, as this machine numbers it."""

    pid: int

    def run(
        self, *command: str | Path, is_online: bool = False, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """A command as its root; its network is one without a way out, unless `is_online`."""
        spaces = ["-m", "-p", "-u", "-i", "-C", "-r", "-w", *([] if is_online else ["-n"])]
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        words = [f"{name}={value}" for name, value in ({"PATH": PATH} | kept).items()]
        return subprocess.run(
            ["nsenter", f"--target={self.pid}", *spaces, "env", "-i", *words, *map(str, command)],
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    def says(self, *command: str | Path, timeout_s: float = 120) -> str:
        """What a command prints that has to succeed."""
        done = self.run(*command, timeout_s=timeout_s)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def log_of(self, unit: str) -> str:
        """All that a unit and its manager have written."""
        self.says("journalctl", "--sync")
        return self.says("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def until(self, is_so: Callable[[], bool], *, what: str, timeout_s: float = 90) -> None:
        """Wait for it. Raises AssertionError."""
        deadline = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline, f"no {what} after {timeout_s:.0f} s"
            time.sleep(0.1)


@contextmanager
def a_host(boot_with: Path = ROOT / "tests/boot_host.sh") -> Iterator[Host]:
    """Booted until the end of the block; skips the test where that is not possible."""
    with ExitStack() as stack:
        cgroup = _new_cgroup()
        stack.callback(_remove_cgroup, cgroup)
        folder = Path(tempfile.mkdtemp(prefix="tlmhost-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        said = stack.enter_context((folder / "said").open("w+"))
        boot = subprocess.Popen(
            [boot_with, folder, ROOT, cgroup], stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        stack.callback(boot.wait)
        stack.callback(boot.kill)
        host = _booted(boot)
        if host is None:
            said.seek(0)
            pytest.skip(f"{MISSING}: {said.read()}")
        yield host


def _new_cgroup() -> Path:
    """Skips the test where that is not possible."""
    with suppress(OSError, StopIteration):
        mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
        at = next(Path(mount[1]) for mount in mounts if mount[2] == "cgroup2")
        if os.geteuid() == 0 and all(map(shutil.which, PROGRAMS)):
            for left in at.glob("tlmhost-*"):
                # Of a run that was killed.
                if "populated 0" in (left / "cgroup.events").read_text():
                    _remove_cgroup(left)
            return Path(tempfile.mkdtemp(prefix="tlmhost-", dir=at))
    pytest.skip(MISSING)


def _booted(boot: subprocess.Popen[bytes]) -> Host | None:
    """None when it ends by itself, or has not booted in time."""
    deadline = time.monotonic() + BOOT_S
    while boot.poll() is None and time.monotonic() < deadline:
        # What is read may be gone, or not yet there.
        with suppress(OSError, subprocess.TimeoutExpired):
            children = Path(f"/proc/{boot.pid}/task/{boot.pid}/children").read_text().split()
            if children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n":
                host = Host(int(children[0]))
                state = host.run("systemctl", "is-system-running", timeout_s=10).stdout.strip()
                if state in ("running", "degraded"):
                    return host
        time.sleep(0.1)
    return None


def _remove_cgroup(cgroup: Path) -> None:
    """The kernel ends what was in it a moment later; then its folders may go, the inner first."""
    deadline = time.monotonic() + 30
    while cgroup.exists() and time.monotonic() < deadline:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
        time.sleep(0.05)
