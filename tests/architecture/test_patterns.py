"""Every pattern is ours, and none takes long over hostile text (S-24)."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from math import inf
from pathlib import Path

import pytest

import daemon
import telemetryctl.api

ROOT = Path(__file__).parents[2]
LENGTH = 100_000
SOON_S = 0.005
"""Whatever takes longer must take longer by the length alone: four times for four times the text,
not sixteen times."""
GROWTH_MAX = 9.0
TRIES = 10
# Of a glob, where one step too many for each character takes hours.
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


def took_s(pattern: re.Pattern[str] | re.Pattern[bytes], start: str, piece: str, n: int) -> float:
    """How long the pattern is at work on hostile text of so many characters."""
    text: str | bytes = start + piece * (n // len(piece)) + "\0!"
    if isinstance(pattern.pattern, bytes):
        text = str(text).encode()
    began_s = time.process_time()
    pattern.fullmatch(text)  # type: ignore[arg-type]
    pattern.match(text)  # type: ignore[arg-type]
    return time.process_time() - began_s


def is_slow(pattern: re.Pattern[str] | re.Pattern[bytes], start: str, piece: str) -> bool:
    """Whether it takes long, and that grows faster than the text. The best of some tries counts:
    others compute here too."""
    if all(took_s(pattern, start, piece, LENGTH // 16) > 1.0 for _ in range(3)):
        # Steps by the square and worse would keep the whole text for hours.
        return True
    if took_s(pattern, start, piece, LENGTH) <= SOON_S:
        return False
    whole_s = quarter_s = inf
    for _ in range(TRIES):
        # Taken in turn, so that whoever else computes holds up both.
        whole_s = min(whole_s, took_s(pattern, start, piece, LENGTH))
        quarter_s = min(quarter_s, took_s(pattern, start, piece, LENGTH // 4))
        if whole_s <= max(SOON_S, GROWTH_MAX * quarter_s):
            return False
    return True


@pytest.mark.parametrize("name", PATTERNS)
def test_hostile_text_ends_soon(name: str) -> None:
    slow = [(s, p) for p in PIECES for s in BEGINNINGS if is_slow(PATTERNS[name], s, p)]

    assert slow == []


@pytest.mark.parametrize("pattern", [r"(a+)+b", r"a*a*b", r"(a|aa)+b"])
def test_a_pattern_that_takes_for_ever_is_noticed(pattern: str) -> None:
    """On a short text: the whole one would keep this test for ever, too."""
    short, long = GROWING[pattern]
    one = four = inf
    for _ in range(TRIES):
        one = min(one, took_s(re.compile(pattern), "", "a", short))
        four = min(four, took_s(re.compile(pattern), "", "a", long))
        if four > GROWTH_MAX * one:
            break

    assert four > GROWTH_MAX * one


GROWING = {r"(a+)+b": (16, 22), r"a*a*b": (1_000, 4_000), r"(a|aa)+b": (20, 28)}
"""Lengths of which the second is four times the first, or less."""


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
