"""What an event may be called, and who may see it."""

from __future__ import annotations

import pytest
from event_builder import an_event

from daemon.domain.access import Principal
from daemon.domain.events import EventType, NewEvent, is_own_type, is_type, sees_event


def a_principal(*scopes: str, **patterns: tuple[str, ...]) -> Principal:
    return Principal("key_1", "k", frozenset(scopes), **patterns)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a", "deploy.done", "A-1_b.c", "x" * 128])
def test_a_type_is_words_between_dots(text: str) -> None:
    assert is_type(text)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a b", "a*", "a>", "é", "x" * 129])
def test_what_nats_could_take_for_a_pattern_is_no_type(text: str) -> None:
    assert not is_type(text)


def test_what_we_tell_nobody_else_may() -> None:
    assert all(is_own_type(kind) and is_type(kind) for kind in EventType)
    assert is_own_type("alert.anything")
    assert not is_own_type("alerts.anything")


ALL = a_principal("read")
HOLDER = a_principal("keys")
NARROW = a_principal("read", "keys", devices=("a*",))
METRIC = a_principal("read", metrics=("t*",))


@pytest.mark.parametrize(
    ("event", "seen_by"),
    [
        (an_event(), [ALL, HOLDER]),
        (an_event(device_id="a1"), [ALL, HOLDER, NARROW, METRIC]),
        (an_event(device_id="b1"), [ALL, HOLDER, METRIC]),
        (an_event(device_id="a1", metric_name="x"), [ALL, HOLDER, NARROW]),
        (an_event(metric_name="temp"), [ALL, HOLDER, NARROW, METRIC]),
        (an_event("key.created"), [HOLDER]),
    ],
)
def test_an_event_shows_itself_to_who_sees_what_it_is_about(
    event: NewEvent, seen_by: list[Principal]
) -> None:
    assert [p for p in (ALL, HOLDER, NARROW, METRIC) if sees_event(p, event)] == seen_by
