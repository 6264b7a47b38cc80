"""Finding the PostgreSQL programs, and saying what to install when they are missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from daemon.postgres.binaries import PACKAGE, locate
from daemon.postgres.errors import BinariesMissing


def test_the_newest_build_is_found_without_importing_the_package() -> None:
    binaries = locate()
    said = subprocess.check_output([binaries.program("postgres"), "--version"], text=True)

    assert f"(PostgreSQL) {binaries.major}." in said
    assert PACKAGE not in sys.modules


def test_an_older_cluster_gets_the_build_that_can_read_it() -> None:
    assert locate(16).major == 16


def test_a_version_the_wheel_does_not_bring_is_named() -> None:
    with pytest.raises(BinariesMissing, match="made by PostgreSQL 12"):
        locate(12)


def test_a_missing_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})

    with pytest.raises(BinariesMissing, match=r"pip install 'telemetryctl\[embedded\]'"):
        locate()
