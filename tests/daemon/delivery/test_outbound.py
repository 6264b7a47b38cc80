"""What leaves this host over HTTP: to the address that was checked, once, and bounded."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import self_signed
from receivers import Sink, free_port, http_sink

from daemon.delivery import outbound as outbound_module
from daemon.delivery.outbound import ANSWER_BYTES_MAX, Outbound, Unreachable
from daemon.domain.addresses import AddressRefused
from daemon.domain.deliveries import Outcome

pytestmark = pytest.mark.anyio
HERE = ["127.0.0.1"]


@pytest.fixture
def sink() -> Iterator[Sink]:
    with http_sink() as found:
        yield found


class Names:
    """The names of hosts, as a test says; every question is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> None:
        self.asked: list[str] = []
        self._names = {name.replace("_", "."): list(found) for name, found in names.items()}

        async def getaddrinfo(host: str, port: int, **options: object) -> object:
            self.asked.append(host)
            if host not in self._names:
                raise socket.gaierror(-2, "Name or service not known")
            found = self._names[host]
            # The second answer is another one, as a name does that is bound anew.
            if len(self.asked) > 1:
                found = ["127.0.0.1"]
            return [(2, 1, 6, "", (address, port)) for address in found]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_the_body_arrives_with_its_headers(sink: Sink) -> None:
    outbound = Outbound(HERE)

    outcome = await outbound.post(f"{sink.url}/a?b=c", b"body", headers={"X-One": "1"})

    request = sink.requests[0]
    assert outcome.is_sent
    assert outcome.status_code == 200
    assert (request.path, request.body, request.headers["x-one"]) == ("/a?b=c", b"body", "1")
    assert request.headers["host"] == sink.url.removeprefix("http://")


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(400, True), (401, True), (404, True), (410, True), (408, False), (425, False), (429, False),
     (500, False), (502, False), (503, False)],
)  # fmt: skip
async def test_what_is_no_2xx_was_not_sent(sink: Sink, status: int, is_final: bool) -> None:
    sink.answer = lambda request: (status, {"Retry-After": "7"}, b"no")

    outcome = await Outbound(HERE).post(sink.url, b"")

    assert not outcome.is_sent
    assert (outcome.status_code, outcome.is_final, outcome.retry_after_s) == (status, is_final, 7)
    assert not outcome.may_be_told


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(sink: Sink, status: int) -> None:
    sink.answer = lambda request: (status, {"Location": f"{sink.url}/elsewhere"}, b"")

    outcome = await Outbound(HERE).post(sink.url, b"")

    assert (outcome.is_sent, outcome.is_final) == (False, True)
    assert [request.path for request in sink.requests] == ["/"]


async def test_a_host_that_is_not_named_gets_nothing(sink: Sink) -> None:
    outcome = await Outbound().post(sink.url, b"")

    assert (outcome.is_sent, outcome.is_final, outcome.may_be_told) == (False, True, False)
    assert sink.requests == []


async def test_a_proxy_of_the_environment_gets_nothing(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_sink() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        outcome = await Outbound(HERE).post(sink.url, b"")

        assert outcome.is_sent
        assert proxy.requests == []


async def test_a_name_that_means_a_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for addresses in (["10.0.0.7"], ["1.1.1.1", "127.0.0.1"], ["fe80::1%eth0"], ["::1"]):
        names = Names(monkeypatch, inner_example=addresses)

        with pytest.raises(AddressRefused):
            await Outbound().resolve("inner.example", 443)
        assert names.asked == ["inner.example"]


async def test_a_name_is_resolved_once_and_that_address_is_connected_to(
    monkeypatch: pytest.MonkeyPatch, sink: Sink
) -> None:
    # The first answer leads nowhere, the second would be this host (DNS rebinding).
    port = int(sink.url.rpartition(":")[2])
    names = Names(monkeypatch, moving_example=["192.0.2.1"])

    outcome = await Outbound(["moving.example"], timeout_s=0.5).post(
        f"https://moving.example:{port}/", b""
    )

    assert not outcome.is_sent
    assert names.asked == ["moving.example"]
    assert sink.requests == []


async def test_an_unknown_name_and_a_closed_port_were_told_nothing() -> None:
    closed = await Outbound(HERE).post(f"http://127.0.0.1:{free_port()}/", b"")
    with pytest.raises(Unreachable):
        await Outbound().resolve("no-such-host.invalid", 443)

    assert (closed.is_sent, closed.may_be_told, closed.is_final) == (False, False, False)
    assert closed.detail == "the connection was refused"


async def test_a_receiver_that_does_not_answer_may_have_been_told() -> None:
    with silent_server() as port:
        outcome = await Outbound(HERE, timeout_s=2.5).post(f"http://127.0.0.1:{port}/", b"")

    assert outcome == Outcome(is_sent=False, detail="no answer in 2.5 s", may_be_told=True)


async def test_an_answer_that_never_ends_is_cut(sink: Sink) -> None:
    sink.answer = lambda request: (200, {"Content-Length": str(10**9)}, b"x" * (1 << 20))

    outcome = await Outbound(HERE).post(sink.url, b"")

    assert outcome.is_sent
    assert ANSWER_BYTES_MAX == 65_536


async def test_a_certificate_that_is_not_the_hosts_is_refused(sink: Sink) -> None:
    outcome = await Outbound(HERE).post(sink.url.replace("http:", "https:"), b"")

    assert (outcome.is_sent, outcome.detail) == (False, "TLS failed")


async def test_the_certificate_is_held_against_the_name_though_the_address_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, context = self_signed(tmp_path, "hook.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    here = ["127.0.0.1"]
    Names(monkeypatch, hook_example=here, other_example=here)
    outbound = Outbound(["hook.example", "other.example"])
    outbound_module._tls.cache_clear()
    try:
        with http_sink(tls=context) as tls_sink:
            port = tls_sink.url.rpartition(":")[2]
            right = await outbound.post(f"https://hook.example:{port}/", b"")
            wrong = await outbound.post(f"https://other.example:{port}/", b"")
    finally:
        outbound_module._tls.cache_clear()

    assert right.is_sent
    assert tls_sink.requests[0].headers["host"] == f"hook.example:{port}"
    assert (wrong.is_sent, wrong.detail) == (False, "the host's certificate is not valid")
    assert len(tls_sink.requests) == 1


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """It takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]
