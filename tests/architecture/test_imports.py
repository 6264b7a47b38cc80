"""The import contracts of pyproject.toml hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_the_package_named_daemon_is_ours() -> None:
    import daemon

    assert daemon.__doc__ is not None
    assert "one journal in PostgreSQL" in daemon.__doc__


def test_no_package_hides_the_code_under_test() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
