"""The keys of another issuer turn while the daemon runs: a reload reads their file again."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from daemons import API, DaemonProcess, started
from jwt.algorithms import OKPAlgorithm

pytestmark = pytest.mark.anyio
ISSUER = "https://id.example.org/"


def described(kid: str, key: Ed25519PrivateKey) -> dict[str, Any]:
    found: dict[str, Any] = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return found | {"kid": kid, "use": "sig"}


def token(kid: str, key: Ed25519PrivateKey) -> str:
    now_s = int(time.time())
    claims = {"iss": ISSUER, "aud": "telemetry", "sub": "ann", "scope": "read"}
    times = {"iat": now_s, "exp": now_s + 600}
    return jwt.encode(claims | times, key, algorithm="EdDSA", headers={"kid": kid})


def status(daemon: DaemonProcess, shown: str) -> int:
    headers = {"Authorization": f"Bearer {shown}"}
    return httpx.get(f"{daemon.url}{API}/devices", headers=headers, timeout=30).status_code


async def reloaded(daemon: DaemonProcess, event: str) -> None:
    """Told to read its files again, and heard to have done so."""
    before = sum(line["event"] == event for line in daemon.log)
    daemon.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(30):
        while sum(line["event"] == event for line in daemon.log) == before:
            await asyncio.sleep(0.02)


async def test_a_key_that_turns_is_taken_over_with_a_reload(dsn: str, tmp_path: Path) -> None:
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [described("old", old)]}))
    issuer = {"name": "company", "issuer": ISSUER, "audience": "telemetry", "algorithm": "EdDSA"}
    daemon = await started(dsn, auth__issuers=json.dumps([issuer | {"jwks_file": str(file)}]))
    first = [status(daemon, token("old", old)), status(daemon, token("new", new))]

    file.write_text(json.dumps({"keys": [described("new", new)]}))
    await reloaded(daemon, "issuer_keys_read")
    turned = [status(daemon, token("old", old)), status(daemon, token("new", new))]

    file.write_text("half a fi")
    await reloaded(daemon, "config_not_reloaded")
    broken = status(daemon, token("new", new))
    told = daemon.wait_for("config_not_reloaded")
    await asyncio.to_thread(daemon.stop)

    assert first == [200, 401]
    assert turned == [401, 200]
    assert broken == 200
    assert str(file) in told["reason"]
