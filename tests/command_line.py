"""Running the real `telemetryctl` as a process: in a pipe, or on a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pexpect

PROGRAM = str(Path(sys.executable).with_name("telemetryctl"))
TIMEOUT_S = 120


@dataclass(frozen=True)
class Result:
    """What a run left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class CommandLine:
    """A user with a home of their own; `environ` stands above the one of the tests."""

    home: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def config_folder(self) -> Path:
        """Where the contexts lie."""
        return self.home / "config" / "telemetryctl"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a run: nothing of whoever runs the tests but the path."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            **self.environ,
            **more,
        }

    def run(self, *arguments: str, stdin: str = "", **environ: str) -> Result:
        """Run a command with stdout and stderr in pipes."""
        done = subprocess.run(
            [PROGRAM, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment(**environ),
            timeout=TIMEOUT_S,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def run_shell(self, script: str, **environ: str) -> Result:
        """Run a shell script in which `$T` is the program; the exit code is the script's."""
        done = subprocess.run(
            ["bash", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment(T=PROGRAM, **environ),
            timeout=TIMEOUT_S,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def run_on_terminal(
        self,
        *arguments: str,
        answers: Mapping[str, str] | None = None,
        columns: int = 80,
        **environ: str,
    ) -> Result:
        """Run a command on a terminal; `answers` are typed when their key is seen."""
        environment = self.environment(TERM="xterm", **environ)
        child: pexpect.spawn[str] = pexpect.spawn(
            PROGRAM,
            list(arguments),
            env=environment,
            encoding="utf-8",
            dimensions=(40, columns),
            timeout=TIMEOUT_S,
            echo=False,
        )
        seen = ""
        for question, answer in (answers or {}).items():
            child.expect_exact(question)
            seen += (child.before or "") + question
            child.sendline(answer)
        child.expect(pexpect.EOF)
        seen += child.before or ""
        child.close()
        code = child.exitstatus if child.exitstatus is not None else 128 + (child.signalstatus or 0)
        return Result(code, seen.replace("\r\n", "\n"), "")
