"""Few packages, free ones, and none of a version that is known to be broken (S-35, S-36)."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES_MAX = 75
FREE = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|Public Domain",
    re.IGNORECASE,
)
# Of older ones it is known how to break them: CVE-2025-62727 (Range), CVE-2024-27454 and
# CVE-2025-67221 (depth), CVE-2026-32597 (crit).
FLOORS = {"starlette": "0.49.0", "orjson": "3.11.5", "pyjwt": "2.11.0"}


def writer() -> object:
    spec = importlib.util.spec_from_file_location("licences", ROOT / "deploy/write_licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows() -> dict[str, str]:
    """Licence by package, as docs/licences.md says."""
    lines = (ROOT / "docs/licences.md").read_text().splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {name: licence for name, licence in cells[2:]}


def test_every_package_is_in_the_list_with_its_licence() -> None:
    module = writer()
    needed = module.closure(module.requirements())  # type: ignore[attr-defined]

    assert set(needed) <= set(rows()), "make licences"


def test_all_are_free_and_few() -> None:
    licences = rows()

    assert [name for name, licence in licences.items() if not FREE.search(licence)] == []
    assert 30 < len(licences) <= PACKAGES_MAX


@pytest.mark.parametrize("name", FLOORS)
def test_versions_that_are_known_to_be_broken_are_excluded(name: str) -> None:
    asked = [Requirement(text) for text in PROJECT["optional-dependencies"]["daemon"]]
    found = next(one for one in asked if one.name == name)

    assert not found.specifier.contains(FLOORS[name])


def test_no_file_is_served_by_ranges_and_no_form_is_parsed() -> None:
    """The doors of CVE-2025-62727 and of the multipart parsers stay unbuilt."""
    names = {
        alias.name
        for path in (ROOT / "daemon").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and re.match("fastapi|starlette", node.module or "")
        for alias in node.names
    }

    assert names.isdisjoint({"FileResponse", "StaticFiles", "UploadFile", "File", "Form"})
    assert not any("multipart" in text for text in PROJECT["optional-dependencies"]["daemon"])
