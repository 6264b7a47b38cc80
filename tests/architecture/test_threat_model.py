"""docs/threat-model.md names a defence and a test for every threat, and each test is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in (ROOT / "docs/threat-model.md").read_text().splitlines()
    if line.startswith("| S-")
]


def test_every_threat_has_one_row() -> None:
    assert [row[0] for row in ROWS] == [f"S-{number:02}" for number in range(1, 41)]


def test_every_row_says_what_is_done_and_which_test_shows_it() -> None:
    for name, threat, defence, test in ROWS:
        files = re.findall(r"`(tests/[^`]+\.py)`", test)

        assert min(len(threat), len(defence)) > 10, name
        assert files, f"{name} names no test"
        assert [file for file in files if not (ROOT / file).is_file()] == [], name


def test_what_is_not_defended_is_said_too() -> None:
    text = (ROOT / "docs/threat-model.md").read_text()
    points = re.findall(r"^- ", text[text.index("## Not defended") :], flags=re.MULTILINE)

    assert len(points) > 5
