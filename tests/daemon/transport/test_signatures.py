"""What of a request has to be signed, whatever its head looks like."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signers import HandSigner
from starlette.types import Scope

from daemon.clock import ManualClock
from daemon.domain.access import Principal
from daemon.domain.errors import Unauthenticated
from daemon.service.failure_log import FailureLog
from daemon.service.signatures import Signatures
from daemon.transport.signatures import check_signature, head_of, required_of

NOW_S = 1_766_059_200
HAND = HandSigner("key_0123")
HOLDER = Principal("key_0123", "x", frozenset(["read"]), signing_key=HAND.public_bytes)


def a_scope(**parts: Any) -> Scope:
    whole: dict[str, Any] = {
        "type": "http", "method": "GET", "scheme": "http", "raw_path": b"/devices",
        "query_string": b"", "headers": [(b"host", b"daemon:8218")],
    }  # fmt: skip
    return whole | parts


def checked(scope: Scope, principal: Principal = HOLDER) -> None:
    clock = ManualClock(NOW_S * 1_000_000)
    signatures = Signatures(clock, FailureLog(clock))
    check_signature(scope, principal, signatures=signatures, address="test")


def with_signature(scope: Scope, values: dict[str, str]) -> Scope:
    made = HAND.fields(values, created=NOW_S)
    lines = [(name.encode(), text.encode()) for name, text in made.items()]
    return {**scope, "headers": [*scope["headers"], *lines]}


@pytest.mark.parametrize(
    ("parts", "required"),
    [
        ({}, []),
        ({"query_string": b"a=1"}, ["@query"]),
        ({"headers": [(b"content-length", b"0")]}, []),
        ({"headers": [(b"content-length", b"7")]}, ["content-digest"]),
        ({"headers": [(b"content-length", b"0"), (b"content-length", b"7")]}, ["content-digest"]),
        ({"headers": [(b"transfer-encoding", b"chunked")]}, ["content-digest"]),
        ({"headers": [(b"if-match", b"*"), (b"idempotency-key", b"x")]},
         ["idempotency-key", "if-match"]),
        ({"type": "websocket", "scheme": "ws"}, []),
    ],
)  # fmt: skip
def test_what_a_request_means_has_to_be_signed(parts: dict[str, Any], required: list[str]) -> None:
    scope = a_scope(**parts)

    assert required_of(scope, head_of(scope)) == ["@method", "@path", *required]


@pytest.mark.parametrize("headers", [[], [(b"host", b"")], [(b"host", b"[::1]:1")]])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_any_host_and_none_may_be_named(kind: str, headers: list[tuple[bytes, bytes]]) -> None:
    scope = a_scope(type=kind, scheme="ws" if kind == "websocket" else "http", headers=headers)
    if kind == "websocket":
        del scope["method"]

    checked(with_signature(scope, {"@method": "GET", "@path": "/devices"}))


def test_who_needs_no_signature_is_not_looked_at() -> None:
    plain = Principal("key_9", "x", frozenset(["read"]))

    checked(a_scope(headers=[(b"signature-input", b"((("), (b"signature", b"\xff")]), plain)


@given(
    raw_path=st.binary(max_size=40),
    query_string=st.binary(max_size=40),
    host=st.binary(max_size=40),
    value=st.binary(max_size=40),
)
def test_any_head_is_refused_and_never_an_error_of_ours(
    raw_path: bytes, query_string: bytes, host: bytes, value: bytes
) -> None:
    headers = [(b"host", host), (b"x", value), (b"content-length", value)]
    scope = a_scope(raw_path=raw_path, query_string=query_string, headers=headers)
    values = {
        "@method": "GET", "@path": "/other", "@query": "?", "@authority": "x", "x": "y",
        "content-digest": "z",
    }  # fmt: skip

    with pytest.raises(Unauthenticated):
        checked(with_signature(scope, values))
