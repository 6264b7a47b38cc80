"""Every request has one id, the client's if it is usable."""

from __future__ import annotations

import pytest

from daemon.transport.request_id import request_id


def test_the_id_of_the_client_is_echoed() -> None:
    assert request_id([(b"accept", b"*/*"), (b"x-request-id", b"abc-123")]) == "abc-123"


@pytest.mark.parametrize("bad", [b"", b"a" * 129, b"with space", b"line\nbreak", b"\xc3\xa9"])
def test_an_unusable_id_is_replaced(bad: bytes) -> None:
    made = request_id([(b"x-request-id", bad)])

    assert made.startswith("req_")


def test_two_requests_have_two_ids() -> None:
    assert request_id([]) != request_id([])
