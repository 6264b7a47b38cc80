"""Writes man pages and docs/cli.md from the two programs: `python -m man.generate [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path

from daemon.cli import app as daemon_app
from man import markdown, programs, settings
from man.command_tree import options_of, read
from telemetryctl.options import CommonOptions
from telemetryctl.tree import app as client_app

ROOT = Path(__file__).parents[1]
SECTIONS = (1, 5, 8)


def pages() -> dict[Path, str]:
    """Every generated file below the checkout, with its text."""
    common = options_of(CommonOptions)
    client = read(client_app, program="telemetryctl", common=common)
    daemon = read(daemon_app, program="telemetryd")
    found = {
        Path("docs/cli.md"): markdown.reference(client, daemon, common=common),
        Path("man/man1/telemetryctl.1"): programs.client_page(client, common=common),
        Path("man/man5/telemetry.toml.5"): settings.page(ROOT / "config.example.toml"),
        Path("man/man8/telemetryd.8"): programs.daemon_page(daemon),
    }
    for one in client.verbs:
        name = one.name.replace(" ", "-")
        found[Path(f"man/man1/{name}.1")] = programs.command_page(one)
    return found


def main() -> int:
    """Write the files; with --check only name those that are not what they should be."""
    found = pages()
    folders = (ROOT / "man" / f"man{section}" for section in SECTIONS)
    there = {path.relative_to(ROOT) for folder in folders for path in folder.glob("*")}
    stale = [path for path, text in found.items() if _read(ROOT / path) != text]
    left = sorted(there - set(found))
    if "--check" in sys.argv[1:]:
        for path in [*stale, *left]:
            print(f"{path} is not what the programs say; run: make manual")
        return 1 if stale or left else 0
    for path in stale:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(found[path])
    for path in left:
        (ROOT / path).unlink()
    return 0


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
