"""Man pages and docs/cli.md say what the programs are, and come with the installation."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import MISSING

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "man").glob("man?/*"))


def check(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "man.generate", "--check"],
        cwd=checkout, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_pages_are_those_of_the_programs() -> None:
    done = check(ROOT)

    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_a_page_that_says_something_else_is_named(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "man", tmp_path / "man")
    (tmp_path / "docs").mkdir()
    for name in ("docs/cli.md", "config.example.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    page = tmp_path / "man/man1/telemetryctl-write.1"
    page.write_text(page.read_text().replace("Send points", "Send money"))
    (tmp_path / "man/man1/telemetryctl-sell.1").write_text(".TH SELL 1\n")

    done = check(tmp_path)

    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "man/man1/telemetryctl-write.1",
        "man/man1/telemetryctl-sell.1",
    ]


def test_every_page_is_read_without_a_warning() -> None:
    if shutil.which("groff") is None:
        pytest.skip(f"groff {MISSING}")
    for page in PAGES:
        done = subprocess.run(
            ["groff", "-man", "-ww", "-z", "-k", "-Tutf8", page],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

        assert (done.returncode, done.stderr) == (0, ""), page.name


def test_a_page_shows_text_as_it_is_typed() -> None:
    if shutil.which("groff") is None:
        pytest.skip(f"groff {MISSING}")
    done = subprocess.run(
        ["groff", "-man", "-k", "-Tascii", "-P-cbou", ROOT / "man/man1/telemetryctl.1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown = " ".join(done.stdout.split())

    # In a page's own language these are a dash, a quotation mark and an accent.
    assert "-O '~/data/%Y-%m-%d.csv.gz' -q || [ $? -eq 3 ]" in shown
    assert "-o, --output OUTPUT" in shown


def test_the_links_of_the_reference_lead_somewhere() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    titles = {
        title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }

    links = set(re.findall(r"\]\(#([\w-]+)\)", text))
    assert links
    assert links <= titles
