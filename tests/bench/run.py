"""`make bench`: measure the figures, or those that are named, and print one table."""

from __future__ import annotations

import os
import sys
import time
import traceback
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

TESTS = Path(__file__).parents[1]
# Started as a script, Python finds neither the package `bench` nor the daemons of the tests.
sys.path[0] = str(TESTS)

FIGURES = (
    "ingest", "singles", "disk", "reads", "routes", "latest", "streams", "alerts", "gates",
    "scale", "cli",
)  # fmt: skip
PACKAGES = ("asyncpg", "uvicorn", "uvloop", "httptools", "msgspec", "numpy", "orjson", "typer")
SETTINGS = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_compression",
    "shared_buffers", "max_wal_size", "autovacuum",
)  # fmt: skip


def main(names: list[str]) -> int:
    """Exit code: 0 all that were asked for are reached; 1 a figure is missed, or could not be
    measured; 2 usage."""
    unknown = sorted(set(names) - set(FIGURES))
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(FIGURES)}", file=sys.stderr)
        return 2
    from bench.figure import Figure, missed, table

    where = facts()
    rows: list[Figure] = []
    failures: list[str] = []
    for name in names or FIGURES:
        begun_s = time.monotonic()
        try:
            found = import_module(f"bench.{name}").measure()
        except Exception as error:
            failures.append("".join(traceback.format_exception(error)))
            found = []
        rows += found
        shown = [f"{one.measured} ({one.ratio})" for one in found]
        taken_s = time.monotonic() - begun_s
        print(f"{name}: {taken_s:.0f} s: {', '.join(shown)}", file=sys.stderr, flush=True)
    print(where)
    print(table(rows))
    ending = [*(f"not measured: {failure}" for failure in failures), *missed(rows)]
    for line in ending:
        print(line)
    return 1 if ending else 0


def facts() -> str:
    """Where and on what it was measured."""
    from bench.site import scratch

    with scratch() as site, site.daemon():
        query = "select name, current_setting(name) from unnest($1::text[]) as name"
        settings = ", ".join(f"{row[0]} {row[1]}" for row in site.ask(query, list(SETTINGS)))
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M}Z, {os.cpu_count()} cores, load {load:.1f}, "
        f"Python {sys.version.split()[0]}, {packages}\nPostgreSQL: {settings}\n"
    )


if __name__ == "__main__":
    sys.exit(main([name for name in ",".join(sys.argv[1:]).split(",") if name]))
