"""telemetryd: the command line of the daemon. What it starts is built in app.py."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("asyncpg", "fastapi", "uvicorn", "msgspec", "numpy", "pydantic_settings", "structlog")


def main() -> None:
    """Entry point; says what to install when the extra `daemon` is missing."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"error: telemetryd is not installed: {', '.join(missing)} missing\n"
            "  this installation holds the command line telemetryctl only\n"
            "hint: pip install 'telemetryctl[daemon,embedded]'\n"
        )
        raise SystemExit(78)
    from daemon.cli import app

    app()


if __name__ == "__main__":
    main()
