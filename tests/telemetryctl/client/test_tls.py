"""The command line speaks to nobody whose certificate it can't check (S-39)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from certificates import self_signed


def test_a_certificate_that_nobody_vouches_for_gets_no_request(tmp_path: Path) -> None:
    requests: list[str] = []

    class Impostor(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)

    _, context = self_signed(tmp_path, "localhost")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Impostor)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        done = subprocess.run(
            [Path(sys.executable).parent / "telemetryctl", "device", "ls"],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "TELEMETRYCTL_SERVER": f"https://localhost:{server.server_address[1]}",
                "TELEMETRYCTL_TOKEN": "tlm_live_secret",
            },
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()

    assert requests == []
    assert done.returncode not in (0, 1, 2), done.stderr
    assert "certificate" in done.stderr.lower()
    assert "tlm_live_secret" not in done.stdout + done.stderr
