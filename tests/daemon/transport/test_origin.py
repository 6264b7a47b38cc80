"""Which pages may come in: the whole origin counts, not its beginning or its end."""

from __future__ import annotations

import pytest

from daemon.transport.origin import is_allowed

ALLOWED = ("https://ops.example.com",)


def headers(
    origin: str | None, host: str = "telemetry.example.com:8218"
) -> list[tuple[bytes, bytes]]:
    found = [(b"host", host.encode())]
    return found if origin is None else [*found, (b"origin", origin.encode())]


@pytest.mark.parametrize("origin", [
    None, "https://ops.example.com", "http://telemetry.example.com:8218",
    "https://telemetry.example.com:8218", "http://TELEMETRY.example.com:8218",
])  # fmt: skip
def test_own_pages_named_pages_and_no_page_are_let_in(origin: str | None) -> None:
    assert is_allowed(headers(origin), origins=ALLOWED)


@pytest.mark.parametrize("origin", [
    "http://evil.example", "null", "", "https://ops.example.com.evil", "https://evilops.example.com",
    "https://ops.example.com:8443", "http://ops.example.com", "http://telemetry.example.com",
    "http://telemetry.example.com:8219", "http://telemetry.example.com:8218/x",
    "http://telemetry.example.com:8218@evil.example", "http://[::1", "file://",
    "http://evil.example:8218", "ws://telemetry.example.com:8218",
])  # fmt: skip
def test_everything_else_is_refused(origin: str) -> None:
    assert not is_allowed(headers(origin), origins=ALLOWED)


def test_the_default_port_may_be_left_out() -> None:
    assert is_allowed(headers("http://h.example", "h.example"), origins=())
    assert is_allowed(headers("https://h.example", "h.example:443"), origins=())
    assert is_allowed(headers("http://[::1]:8218", "[::1]:8218"), origins=())


def test_two_origins_or_two_hosts_are_none() -> None:
    own = headers("http://telemetry.example.com:8218")

    assert not is_allowed([*own, (b"origin", b"http://telemetry.example.com:8218")], origins=())
    assert not is_allowed([*own, (b"host", b"telemetry.example.com:8218")], origins=())
