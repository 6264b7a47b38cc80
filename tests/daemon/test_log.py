"""What a line of the daemon may hold: bounded fields, no secrets, nothing a terminal would obey."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.log import FIELD_CHARACTERS_MAX, bound_fields, bounded, name_request
from daemon.tracing import CAUSE, Cause, Trace

SECRET = "A7f9Kq2LmZ0xYtR4vB8nW1cE5uHs3Jd6"
HOSTILE = 'a\r\nb\x1b[31mred\x9b\u2028 " = x'


def said(*, text: bool, code: str) -> list[str]:
    """Lines that a process writes which logs what `code` says."""
    program = (
        "import logging; from daemon.log import set_up, get_logger;"
        f"set_up(level='info', text={text}); log = get_logger();\n{code}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stderr.split("\n")[:-1]


def test_every_line_is_json_whoever_writes_it() -> None:
    code = f"""
log.warning("odd", value={HOSTILE!r}, number=1, much="x" * 1_000_000, items=["y" * 500] * 99)
logging.getLogger("uvicorn.error").warning("Invalid %s", {HOSTILE!r})
log.info("login", authorization="Bearer {SECRET}", password="{SECRET}", a={{"token": "{SECRET}"}})
try:
    raise ValueError("postgresql://ann:{SECRET}@db and tlm_live_abcdef_{SECRET}_crc")
except ValueError:
    log.error("failed", exc_info=True)
"""
    lines = said(text=False, code=code)
    parsed = [json.loads(line) for line in lines]

    assert [line["event"][:7] for line in parsed] == ["odd", "Invalid", "login", "failed"]
    assert SECRET not in "".join(lines)
    assert "ValueError" in parsed[3]["exception"]
    assert len(lines[1]) < 2_048
    assert len(parsed[0]["much"]) <= FIELD_CHARACTERS_MAX + 1


def test_on_a_terminal_nothing_is_obeyed() -> None:
    code = f"log.warning('odd', value={HOSTILE!r}); log.info('next')"
    lines = said(text=True, code=code)

    assert [line.split(" level=")[1].split(" ")[0] for line in lines] == ["warning", "info"]
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for line in lines for c in line)


@pytest.mark.parametrize("text", ["x" * 300, "\U0001f4a9" * 300, "\x00" * 300, "é" * 300])
def test_a_field_is_bounded_as_it_is_written(text: str) -> None:
    kept = bounded(text)

    assert len(json.dumps(kept)) <= FIELD_CHARACTERS_MAX + 10
    assert kept.endswith("…")
    assert text.startswith(kept[:-1])


def test_a_value_of_any_kind_is_bounded() -> None:
    found: Any = bounded({"a": [{"b": {"c": {"d": object()}}}], "token": SECRET, "n": None})

    assert found["token"] == "***"
    assert found["n"] is None
    assert len(json.dumps(found)) < 1_000


def test_a_stack_keeps_its_begin_and_its_end() -> None:
    stack = "first\n" + "middle\n" * 100_000 + "last"
    kept = bound_fields(None, "error", {"exception": stack})["exception"]

    assert kept.startswith("first\n")
    assert kept.endswith("last")
    assert len(kept) < 17_000


def test_a_line_says_which_request_it_is_of() -> None:
    token = CAUSE.set(Cause("r-7", Trace("a" * 32)))
    try:
        line = name_request(None, "info", {"event": "alert_acknowledged"})
        own = name_request(None, "info", {"event": "x", "request_id": "other"})
    finally:
        CAUSE.reset(token)

    assert (line["request_id"], line["trace_id"]) == ("r-7", "a" * 32)
    assert own["request_id"] == "other"
    assert "request_id" not in name_request(None, "info", {"event": "x"})


def test_lines_for_the_journal_begin_with_their_priority(tmp_path: Path) -> None:
    file = tmp_path / "stream"
    file.touch()
    found = file.stat()
    program = (
        "from daemon.log import set_up, get_logger, STDERR;"
        "set_up(level='info', text=False); get_logger().error('bad'); get_logger().info('good');"
        "STDERR.add(b'request\\n')"
    )
    with file.open("w") as stream:
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
            stderr=stream, check=True,
        )  # fmt: skip
    lines = file.read_text().splitlines()

    assert [line[:3] for line in lines] == ["<3>", "<6>", "<6>"]
    assert json.loads(lines[0][3:])["event"] == "bad"


def test_elsewhere_they_do_not() -> None:
    assert said(text=False, code="log.error('bad')")[0].startswith("{")
