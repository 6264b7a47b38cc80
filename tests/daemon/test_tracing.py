"""`traceparent` is read as https://www.w3.org/TR/trace-context/ says, and ignored otherwise."""

from __future__ import annotations

import pytest

from daemon.tracing import Trace, trace_of

TRACE, PARENT = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
VALID = b"00-%b-%b-01" % (TRACE, PARENT)


def test_a_valid_one_names_the_trace() -> None:
    assert trace_of([VALID]) == Trace(TRACE.decode(), "01")


def test_of_a_later_version_what_is_known_is_taken() -> None:
    assert trace_of([b"cc" + VALID[2:] + b"-what-comes-later"]) == Trace(TRACE.decode(), "01")


def test_flags_that_are_not_known_are_not_passed_on() -> None:
    assert trace_of([VALID[:-2] + b"fe"]) == Trace(TRACE.decode(), "00")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"ff" + VALID[2:],
        VALID.upper(),
        VALID + b"-more",
        VALID[:-1],
        b"00-%b-%b-01" % (b"0" * 32, PARENT),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"cc" + VALID[2:] + b"x",
        VALID.replace(b"4bf", b"4bg"),
        b"0" * 1_000_000,
    ],
)
def test_anything_else_is_ignored(value: bytes) -> None:
    assert trace_of([value]) is None


def test_two_of_them_are_none() -> None:
    assert trace_of([VALID, VALID]) is None


def test_each_call_that_follows_has_a_span_of_its_own() -> None:
    trace = Trace(TRACE.decode(), "01")
    one, other = trace.traceparent(), trace.traceparent()

    assert one != other
    assert trace_of([one.encode()]) == trace
