"""Every pattern is ours, and none takes long over hostile text (S-24)."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import daemon
import telemetryctl.api

ROOT = Path(__file__).parents[2]
LENGTH = 100_000
# A minute, where one step too many for each character takes hours.
PATIENCE_S = 60.0
PIECES = (
    "a", "A_", "a.", "0", "1e", "0.", "-", ":", "/", " ", "\t", '"', '\\"', "=", "%", "%3D", ",",
    "1,", "tag.", "a:", "a-", "2026-01-01T", "\u00e9", "\n", "{", "key_", "tlm_a_",
)  # fmt: skip
BEGINNINGS = ("", '"', "tag.", "a-0.", "2026-01-01T00:00:00", "key_")
# Bounded before it comes there, and tried in tests/daemon/test_redaction.py.
ELSEWHERE = {"daemon.redaction"}
# The paths of our own document, whose parameters become one expression each.
COMPILED = {"daemon/transport/methods.py"}


def patterns() -> Iterator[tuple[str, re.Pattern[str] | re.Pattern[bytes]]]:
    """(module and name, pattern) of everything that the daemon compiled."""
    for package in (daemon, telemetryctl.api):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__") or found.name in ELSEWHERE:
                continue
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                if isinstance(value, re.Pattern):
                    yield f"{found.name}.{name}", value


PATTERNS = dict(patterns())


@pytest.mark.parametrize("name", PATTERNS)
def test_hostile_text_ends_soon(name: str) -> None:
    pattern = PATTERNS[name]
    began_s = time.perf_counter()
    for piece in PIECES:
        for beginning in BEGINNINGS:
            text: str | bytes = beginning + piece * (LENGTH // len(piece)) + "\0!"
            if isinstance(pattern.pattern, bytes):
                text = str(text).encode()
            pattern.fullmatch(text)  # type: ignore[arg-type]
            pattern.match(text)  # type: ignore[arg-type]
            assert time.perf_counter() - began_s < PATIENCE_S, (beginning, piece)


def test_there_are_patterns_to_try() -> None:
    assert len(PATTERNS) > 15


@pytest.mark.parametrize("pattern", ["*a" * 64, "*?" * 64, "*" * 127 + "b", "?*" * 63 + "!"])
def test_a_glob_of_a_key_ends_soon(pattern: str) -> None:
    began_s = time.perf_counter()
    fnmatchcase("a" * 128, pattern)
    fnmatchcase("a" * 127 + "!", pattern)

    assert time.perf_counter() - began_s < PATIENCE_S


def test_no_pattern_is_made_of_what_somebody_sent() -> None:
    """`re` is given constants, or parts of constants, at the top of a module."""
    inside = []
    for path in sorted((ROOT / "daemon").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                inside += [
                    f"{path.relative_to(ROOT)}:{call.lineno}"
                    for call in ast.walk(function)
                    if isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Attribute)
                    and isinstance(call.func.value, ast.Name)
                    and call.func.value.id == "re"
                    and call.func.attr != "escape"
                    and not (call.args and isinstance(call.args[0], ast.Constant))
                ]

    assert {place.partition(":")[0] for place in inside} <= COMPILED, inside
