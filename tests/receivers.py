"""Receivers of messages on real sockets: an HTTP sink, a mail server, an Alertmanager."""

from __future__ import annotations

import asyncio
import base64
import email.message
import email.policy
import hashlib
import hmac
import json
import random
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

PORTS_NOT_GIVEN = (10_240, 32_768)
"""Linux begins to give them at 32,768, unless it is told otherwise."""
ALERTMANAGER_MISSING = "Alertmanager is not installed (make test installs it)"


@dataclass(frozen=True)
class Request:
    """What came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]

    def is_signed_with(self, secret: str) -> bool:
        """Whether the signature is the one of Standard Webhooks."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        head = f"{self.webhook_id}.{self.headers['webhook-timestamp']}.".encode()
        signed = base64.b64encode(hmac.new(key, head + self.body, hashlib.sha256).digest())
        return self.headers["webhook-signature"] == f"v1,{signed.decode()}"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, to be taken a little later.

    None of those that the kernel gives to who asks for any (man 7 ip, ip_local_port_range): one of
    them might be somebody else's by then.
    """
    for _ in range(1_000):
        port = random.SystemRandom().randrange(*PORTS_NOT_GIVEN)
        with socket.socket() as found, suppress(OSError):
            # As servers do, whom connections that have ended don't keep away.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(("127.0.0.1", port))
            return port
    raise AssertionError("every port is taken")


Answer = Callable[[Request], tuple[int, dict[str, str], bytes]]


@dataclass
class Sink:
    """An HTTP server that keeps what it gets; `answer` says what it says."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answer: Answer = lambda request: (200, {}, b"ok")

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """(alert id, type, status) in order of arrival; digests one by one."""
        found = []
        for request in self.requests:
            event = request.json
            for alert in event["data"].get("alerts", [event["data"]]):
                found.append((alert.get("alert_id"), event["type"], alert.get("status")))
        return found

    def wait_for(self, count: int, *, timeout_s: float = 60) -> list[Request]:
        """The first requests, once there are so many."""
        deadline = time.monotonic() + timeout_s
        while len(self.requests) < count:
            assert time.monotonic() < deadline, f"{len(self.requests)} of {count} messages"
            time.sleep(0.02)
        return self.requests


@contextmanager
def http_sink(*, tls: ssl.SSLContext | None = None) -> Iterator[Sink]:
    """On a free port of 127.0.0.1; with a context, over TLS."""
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, headers, body)
            status, more, said = sink.answer(request)
            sink.requests.append(request)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(said)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    sink.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass
class MailSink:
    """A mail server that keeps what it gets."""

    port: int = 0
    mails: list[email.message.EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    refusal: str | None = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refusal is not None:
            return self.refusal
        content = envelope.content
        assert isinstance(content, bytes)
        parsed = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(parsed, email.message.EmailMessage)
        self.mails.append(parsed)
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 kept"


@contextmanager
def mail_sink(**options: Any) -> Iterator[MailSink]:
    """On a free port of 127.0.0.1; options are those of aiosmtpd's SMTP."""
    sink = MailSink(free_port())
    controller = Controller(sink, hostname="127.0.0.1", port=sink.port, ready_timeout=60, **options)
    controller.start()
    try:
        yield sink
    finally:
        controller.stop()


@contextmanager
def alertmanager() -> Iterator[str]:
    """Debian's prometheus-alertmanager; yields its URL. Raises FileNotFoundError without it."""
    program = shutil.which("prometheus-alertmanager")
    if program is None:
        raise FileNotFoundError(ALERTMANAGER_MISSING)
    folder = Path(tempfile.mkdtemp(prefix="tlmam-"))
    config = folder / "config.yml"
    config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    url = f"http://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [program, f"--config.file={config}", f"--storage.path={folder}",
         f"--web.listen-address={url.removeprefix('http://')}", "--cluster.listen-address="],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_until_ready(f"{url}/-/ready", process)
        yield url
    finally:
        process.kill()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=10).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the alertmanager did not start; exit {process.poll()}")


async def eventually(check: Callable[[], Any], *, timeout_s: float = 60) -> Any:
    """What `check` gives once it is true, asked again and again in a thread."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = await asyncio.to_thread(check)
        if found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.05)
