"""Secrets are compared in constant time, never skipped in TLS, and never asked for on a command
line (S-37, S-39)."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from telemetryctl.tree import COMMANDS, app, load_command

ROOT = Path(__file__).parents[2]
MODULES = sorted(p for d in ("telemetryctl", "daemon") for p in (ROOT / d).rglob("*.py"))
SECRET = re.compile(
    r"(^|_)(secret|token|password|digest|signature|mac|hmac|secret_hash|former_hash|crc|verifier)s?$"
)
# Where `==` compares no secret, and why.
NO_SECRET = {
    # Two credentials of one request, both shown by its client.
    "daemon/transport/auth.py:token",
}


def compared(path: Path) -> list[str]:
    """Names that look secret and stand beside `==` or `!=`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Compare):
            continue
        if not any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            continue
        sides = [node.left, *node.comparators]
        # A comparison with a constant, as `token != ""`, tells nothing of a secret.
        if any(isinstance(side, ast.Constant) for side in sides):
            continue
        names = [
            side.id if isinstance(side, ast.Name) else side.attr
            for side in sides
            if isinstance(side, ast.Name | ast.Attribute)
        ]
        found += [name for name in names if SECRET.search(name)]
    return found


def test_no_secret_is_compared_letter_by_letter() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{name}"
        for path in MODULES
        if path.is_relative_to(ROOT / "daemon")
        for name in compared(path)
    }

    assert found - NO_SECRET == set()


def test_the_rule_notices_a_comparison(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("ok = row.secret_hash == digest_of(x) or kind == token_type or token != ''")

    assert compared(module) == ["secret_hash"]


def test_certificates_are_always_checked() -> None:
    loose = re.compile(r"(verify|check_hostname)\s*=\s*False|CERT_NONE|_create_unverified")
    found = [str(p.relative_to(ROOT)) for p in MODULES if loose.search(p.read_text())]

    assert found == []


def test_no_option_takes_a_secret_as_its_value() -> None:
    """What stands on a command line stands in the process list and in the shell's history."""
    found = []
    waiting: list[tuple[str, Any]] = [("telemetryctl", typer.main.get_command(app))]
    waiting += [(name, load_command(name)) for name in COMMANDS]
    assert len(waiting) > 20
    while waiting:
        path, node = waiting.pop()
        waiting += [(f"{path} {n}", c) for n, c in getattr(node, "commands", {}).items()]
        for parameter in node.params:
            names = [name for name in parameter.opts if name.startswith("--")]
            is_flag = getattr(parameter, "is_flag", False)
            is_secret = any(re.search(r"token|password|secret|api-?key", name) for name in names)
            if is_secret and not is_flag and not any(name.endswith("-file") for name in names):
                found.append(f"{path} {names}")

    assert found == []


@pytest.mark.parametrize("word", ["--insecure", "--no-verify", "--skip-tls"])
def test_no_option_turns_tls_off(word: str) -> None:
    assert [str(p) for p in MODULES if word in p.read_text()] == []
