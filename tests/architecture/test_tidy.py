"""Habits that a reader relies on: what opens a module, how long things are, what SQL is used."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(p for d in ("telemetryctl", "daemon") for p in (ROOT / d).rglob("*.py"))
FUNCTION_LINES_MAX = 50
FILE_LINES_MAX = 450


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_holds_and_fits_a_reader(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > FUNCTION_LINES_MAX]

    assert not text.strip() or ast.get_docstring(tree), "the module has no docstring"
    assert long == []
    assert len(text.splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", sorted((ROOT / "sql/queries").glob("*.sql")), ids=lambda p: p.stem)
def test_every_named_query_is_described_and_used(path: Path) -> None:
    pieces = re.split(r"^-- (\w+) --$", path.read_text(), flags=re.MULTILINE)
    code = "\n".join(p.read_text() for p in MODULES)
    names, statements = pieces[1::2], pieces[2::2]

    assert names
    for name, statement in zip(names, statements, strict=True):
        assert statement.strip().startswith("-- "), f"{name} has no sentence"
        assert f'"{name}"' in code, f"{name} is used nowhere"


def test_nothing_is_left_for_later() -> None:
    words = re.compile(r"\b(FIXME|XXX|TODO|HACK)\b")

    assert [name_of(p) for p in MODULES if words.search(p.read_text())] == []
