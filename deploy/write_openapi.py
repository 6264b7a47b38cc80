"""Writes docs/openapi.json, what /api/openapi.json serves: `make openapi`."""

from __future__ import annotations

import json
from pathlib import Path

from daemon.transport.http import describe

FILE = Path(__file__).parents[1] / "docs" / "openapi.json"


def text() -> str:
    """The document, one member a line, so that a change of it can be read."""
    return json.dumps(describe().openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
