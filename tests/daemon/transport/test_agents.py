"""What a client calls itself: what is kept of it can be shown to anybody, anywhere."""

from __future__ import annotations

import pytest

from daemon.domain.former_callers import AGENT_MAX
from daemon.domain.tokens import new_token
from daemon.transport.agents import agent_of


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"telemetryctl/1.0", "telemetryctl/1.0"),
        (b"", ""),
        (b"  a \x1b[31mb\x07\x00c\x7f\xc2\x9b ", "a [31mbc"),
        ("sensor ü \u202e\u200b/1".encode(), "sensor ü /1"),
        (b"caf\xe9", "caf\ufffd"),
        (b"x" * 4_000, "x" * AGENT_MAX),
    ],
)
def test_what_can_not_be_printed_is_left_out(sent: bytes, kept: str) -> None:
    assert agent_of([(b"host", b"h"), (b"user-agent", sent)]) == kept


def test_a_request_that_says_nothing_has_none() -> None:
    assert agent_of([(b"host", b"h")]) == ""


@pytest.mark.parametrize(
    "written",
    [
        "{}",
        "bus/1 (key={})",
        "bus/1 Bearer {}",
        "x" * 100 + "{}",
        "bus/1 api_key={}",
        "https://ann:{}@host/",
    ],
)
@pytest.mark.parametrize("between", ["", "\x00", "\u200b"])
def test_a_secret_is_not_kept(written: str, between: str) -> None:
    token = new_token("key_01jd9q", env="live")
    secret = token.split("_")[3]

    kept = agent_of([(b"user-agent", written.format(between.join(token)).encode())])

    assert secret[:8] not in kept
    assert secret[-8:] not in kept
    assert len(kept) <= AGENT_MAX
