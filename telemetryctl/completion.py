"""What the shell offers: contexts, devices, groups, metrics, rules, alerts; from a short cache,
else from the server.

Whatever goes wrong, nothing is offered and nothing is said: the user is typing.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

Completer = Callable[[typer.Context, str], list[str]]

CACHE_S = 60
BUDGET_S = 2.0
CANDIDATES_MAX = 1_000


def complete_contexts(incomplete: str) -> list[str]:
    """Return the names of contexts that begin so."""
    from telemetryctl.api import contexts

    with suppress(Exception):
        known = contexts.read_config(contexts.config_home()).get("contexts", {})
        return [name for name in known if name.startswith(incomplete)]
    return []


def _completer(kind: str, key: str) -> Completer:
    """What offers the `key` of those of this kind that begin so."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        with suppress(Exception):
            return [name for name in _candidates(ctx, kind, key) if name.startswith(incomplete)]
        return []

    return complete


complete_devices = _completer("devices", "device_id")
complete_metrics = _completer("metrics", "name")
complete_groups = _completer("groups", "name")
complete_keys = _completer("keys", "key_id")
complete_rules = _completer("rules", "name")
complete_alerts = _completer("alerts", "alert_id")
complete_channels = _completer("channels", "name")
complete_silences = _completer("silences", "silence_id")
complete_watches = _completer("watches", "watch_id")
complete_jobs = _completer("jobs", "job_id")


def _candidates(ctx: typer.Context, kind: str, key: str) -> list[str]:
    from telemetryctl import config

    params = ctx.params
    flags = config.Flags(
        context=params.get("context"),
        server=params.get("server"),
        token_file=params.get("token_file"),
    )
    settings = config.resolve(flags)
    owner = f"{settings.server} {settings.token.value if settings.token else ''}"
    path = _cache_folder() / f"{hashlib.sha256(owner.encode()).hexdigest()[:16]}-{kind}.json"
    if (cached := _read_fresh(path)) is not None:
        return cached
    names = _ask_server(settings, kind=kind, key=key)
    _write(path, names)
    return names


def _ask_server(settings: Any, *, kind: str, key: str) -> list[str]:
    from telemetryctl.client.credential import credential_of
    from telemetryctl.client.http import Client

    token = credential_of(settings.token, signing_key_file=settings.signing_key_file)
    with Client(settings.server, token=token, timeout_s=BUDGET_S, tries=1) as client:
        lists: dict[str, Callable[..., dict[str, Any]]] = {
            "devices": client.list_devices,
            "metrics": client.list_metrics,
            "groups": client.list_groups,
            "keys": client.list_keys,
            "rules": client.list_rules,
            "alerts": client.list_alerts,
            "channels": client.list_channels,
            "silences": client.list_silences,
            "watches": client.list_watches,
            "jobs": client.list_jobs,
        }
        return [row[key] for row in lists[kind](limit=CANDIDATES_MAX)[kind]]


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "telemetryctl"


def _read_fresh(path: Path) -> list[str] | None:
    from telemetryctl.times import now

    with suppress(OSError, ValueError):
        age_s = now().timestamp() - path.stat().st_mtime
        if 0 <= age_s < CACHE_S:
            names = json.loads(path.read_text(encoding="utf-8"))
            return [name for name in names if isinstance(name, str)]
    return None


def _write(path: Path, names: list[str]) -> None:
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(names), encoding="utf-8")
        temporary.replace(path)
