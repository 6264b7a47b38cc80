"""The tail through everything that happens to a connection: the union of its output is the table,
each point once, in order."""

from __future__ import annotations

import asyncio
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from daemons import DaemonProcess, start_daemon
from databases import fresh_database
from receivers import free_port
from servers import PostgresServer
from stream_proxies import stream_proxy
from tails import Tail, is_listening, keys, send, stored, tailing

METRIC = "n"


@contextmanager
def load(daemon: DaemonProcess, *, devices: int = 5, pause_s: float = 0.01) -> Iterator[None]:
    """Points of several devices, one after the other, until the block ends; what the daemon does
    not take is not sent again."""
    is_over = threading.Event()

    def run() -> None:
        with daemon.http() as http:
            number = 0
            while not is_over.is_set():
                number += 1
                try:
                    send(http, f"d{number % devices}", METRIC, [number, number + 0.5])
                except (httpx.HTTPError, AssertionError):
                    time.sleep(0.05)
                time.sleep(pause_s)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(60)


def assert_shows_the_table(tail: Tail, daemon: DaemonProcess) -> None:
    """All that was committed since the first point shown, in the very order, nothing twice."""
    expected = stored(daemon, metric=METRIC)
    shown = keys(tail.points)
    first = expected.index(shown[0])
    tail.wait_for_lines(len(expected) - first)
    assert keys(tail.points) == expected[first:]


class TestProxies:
    @pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
    def test_a_connection_that_is_dropped_is_resumed_without_loss(
        self, daemon: DaemonProcess, transport: str
    ) -> None:
        with stream_proxy(daemon.url) as proxy, load(daemon):
            chosen = ["-m", METRIC, "--transport", transport]
            with tailing(daemon, *chosen, url=proxy.url) as tail:
                tail.wait_for_lines(50)
                proxy.is_away = True
                proxy.cut()
                tail.wait_for_word("connection lost; resuming in")
                proxy.is_away = False
                tail.wait_for_word("none lost")
                shown = len(tail.out)
                tail.wait_for_lines(shown + 50)
                tail.stop()
        shown_keys = keys(tail.points)
        expected = stored(daemon, metric=METRIC)
        first = expected.index(shown_keys[0])

        assert shown_keys == expected[first : first + len(shown_keys)]
        assert "(attempt 1)" in "\n".join(tail.err)

    def test_a_proxy_without_upgrades_gets_server_sent_events(self, daemon: DaemonProcess) -> None:
        with stream_proxy(daemon.url) as proxy, load(daemon):
            proxy.allows_websocket = False
            with tailing(daemon, "-m", METRIC, url=proxy.url) as tail:
                tail.wait_for_word("ws does not work here")
                tail.wait_for_lines(50)
                tail.stop()

        assert any("/stream/telemetry" in line for line in proxy.requests)
        assert not any("/changes" in line for line in proxy.requests)

    def test_a_proxy_without_streams_is_polled(self, daemon: DaemonProcess) -> None:
        with stream_proxy(daemon.url) as proxy, load(daemon):
            proxy.allows_websocket = proxy.allows_sse = False
            with tailing(daemon, "-m", METRIC, url=proxy.url) as tail:
                tail.wait_for_word("sse does not work here")
                tail.wait_for_lines(50)
                tail.stop()

        assert any("/changes" in line for line in proxy.requests)

    def test_no_address_holds_the_key(self, daemon: DaemonProcess) -> None:
        with stream_proxy(daemon.url) as proxy, load(daemon):
            for transport in ("ws", "sse", "poll"):
                with tailing(
                    daemon, "-m", METRIC, "-n", "3", "--transport", transport, url=proxy.url
                ) as tail:
                    assert tail.end() == 0, tail.err
            secret = daemon.key.encode()

        assert all(secret not in line.encode() for line in proxy.requests)
        assert all(b"authorization: bearer " + secret in head.lower() for head in proxy.heads)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.2 that vouches for itself, with its key in one file."""
    folder = tmp_path_factory.mktemp("tls")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (apt-get install openssl)")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.2", "-addext", "subjectAltName=IP:127.0.0.2",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


class TestTls:
    @pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
    def test_every_door_is_checked_by_the_same_certificates(
        self, daemon: DaemonProcess, certificate: Path, transport: str
    ) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        with stream_proxy(daemon.url, tls=tls) as proxy, load(daemon):
            chosen = ["-m", METRIC, "-n", "20", "--transport", transport]
            trusting = {"SSL_CERT_FILE": str(certificate)}
            with tailing(daemon, *chosen, url=proxy.url, environ=trusting) as tail:
                assert tail.end() == 0, tail.err
            with tailing(daemon, *chosen, url=proxy.url) as stranger:
                assert stranger.end() == 75, stranger.err

        assert len(tail.points) == 20
        assert "CERTIFICATE_VERIFY_FAILED" in "\n".join(stranger.err)


class TestRestarts:
    @pytest.mark.parametrize("how", ["stop", "kill"])
    def test_a_daemon_that_restarts_is_found_again_without_loss(
        self, postgres: PostgresServer, how: str
    ) -> None:
        dsn = asyncio.run(fresh_database(postgres))
        port = str(free_port())
        daemon = start_daemon(dsn, server__port=port)
        try:
            with tailing(daemon, "-m", METRIC) as tail:
                with load(daemon):
                    tail.wait_for_lines(50)
                    daemon.stop() if how == "stop" else daemon.kill()
                    daemon = start_daemon(dsn, home=daemon.home, key=daemon.key, server__port=port)
                    tail.wait_for_word("none lost", within_s=100)
                    tail.wait_for_lines(len(tail.out) + 50)
                assert_shows_the_table(tail, daemon)
                assert tail.stop(signal.SIGINT) == 130
        finally:
            daemon.stop()


class TestGaps:
    @pytest.mark.parametrize("transport", ["ws", "sse", "poll"])
    @pytest.mark.parametrize("strict", [False, True])
    def test_a_place_of_another_database_is_a_gap(
        self, daemon: DaemonProcess, tmp_path: Path, transport: str, *, strict: bool
    ) -> None:
        state = tmp_path / "s.json"
        chosen = ["-d", "gap", "--state", str(state), "--transport", transport]
        with tailing(daemon, *chosen) as first:
            is_listening(first, daemon, device="gap")
            first.stop()
        text = state.read_text()
        cursor = text.split('"cursor": "')[1].split('"')[0]
        other = text.replace(cursor, f"0ld-{cursor.split('-')[1]}")

        for span in ("2s", "10s", "40s"):
            # A busy machine may not get as far as to connect in the first.
            state.write_text(other)
            with tailing(daemon, *chosen, "--for", span, *(["--strict"] if strict else [])) as tail:
                code = tail.end(within_s=100)
            if "gap 0ld-" in (said := "\n".join(tail.err)):
                break

        assert code == (7 if strict else 0), said
        assert "gap 0ld-" in said
        assert "(epoch)" in said
