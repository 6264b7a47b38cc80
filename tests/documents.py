"""Documents as tests read them: their blocks of code, run as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from daemons import DaemonProcess

ROOT = Path(__file__).parents[1]
MISSING = "is not installed (make test installs it)"
"""Why a test of a document is skipped, behind the name of what it needs."""
BIN = Path(sys.executable).parent


def text_of(name: str) -> str:
    """The document of this name below the checkout."""
    return (ROOT / name).read_text()


def blocks(name: str, language: str) -> list[str]:
    """What stands between the fences of this language."""
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```$", text_of(name), re.MULTILINE | re.DOTALL
    )
    return found


def steps(name: str) -> str:
    """All shell and Python blocks in their order, as one shell script."""
    found = re.findall(r"^```(sh|python)\n(.*?)^```$", text_of(name), re.MULTILINE | re.DOTALL)
    return "\n".join(
        text if language == "sh" else f"python3 - <<'PROGRAM'\n{text}PROGRAM\n"
        for language, text in found
    )


def run(
    *command: str | Path,
    daemon: DaemonProcess,
    folder: Path,
    environ: Mapping[str, str] | None = None,
) -> str:
    """What the command prints, both streams together. It has to end with 0."""
    path = f"{BIN}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder, env=daemon.environment | {"PATH": path} | dict(environ or {}),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}"
    return done.stdout


def run_shell(
    script: str, *, daemon: DaemonProcess, folder: Path, environ: Mapping[str, str] | None = None
) -> str:
    """The script in one shell that stops at the first failure; the port of the text is the
    daemon's."""
    text = script.replace(":8218", daemon.url[daemon.url.rindex(":") :])
    bash = ("bash", "-euo", "pipefail", "-c", text)
    return run(*bash, daemon=daemon, folder=folder, environ=environ)
