"""What a client may ask a stream for, however it says it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.errors import DomainError, Refused
from daemon.domain.wanted import Wanted, read_wanted


def test_both_names_of_a_field_mean_the_same() -> None:
    assert read_wanted({"devices": ["a"], "metrics": ["m"]}) == read_wanted(
        {"device_ids": ["a"], "metric_names": ["m"]}
    )


def test_nothing_and_empty_mean_all() -> None:
    empty: dict[str, Any] = {"devices": [], "metrics": None, "tags": {}, "groups": [], "resume": ""}

    assert read_wanted(empty) == read_wanted({}) == Wanted()


def test_what_is_stored_reads_back() -> None:
    wanted = read_wanted(
        {"devices": ["a", "b"], "metrics": ["m"], "tags": {"k": "v"}, "groups": ["g"],
         "channels": ["telemetry", "events"], "max_frequency": 500, "resume": "abc-12.3"}
    )  # fmt: skip

    assert read_wanted(wanted.as_json()) == wanted


@pytest.mark.parametrize(("said", "code"), [
    ({"devices": "a"}, "bad_list"), ({"devices": [1]}, "bad_list"), ({"devices": [""]}, "bad_name"),
    ({"devices": ["a\0"]}, "bad_name"), ({"devices": ["a b"]}, "bad_name"),
    ({"devices": [f"d{n}" for n in range(101)]}, "too_many_devices"),
    ({"tags": ["a"]}, "bad_tags"), ({"tags": {"a": 1}}, "bad_tags"),
    ({"max_frequency": True}, "bad_max_frequency"), ({"max_frequency": 1.5}, "bad_max_frequency"),
    ({"resume": 5}, "bad_cursor"), ({"resume": "x"}, "bad_cursor"),
    ({"resume": "x" * 65}, "bad_cursor"), ({"device": ["a"]}, "unknown_field"),
])  # fmt: skip
def test_what_can_not_be_is_refused_by_name(said: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as refused:
        read_wanted(said)

    assert refused.value.error_code == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = ["devices", "metric_names", "tags", "groups", "channels", "max_frequency", "resume", "x"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_anything_is_read_or_refused(said: dict[str, Any]) -> None:
    try:
        wanted = read_wanted(said)
    except DomainError:
        return
    assert read_wanted(wanted.as_json()) == wanted


def test_devices_and_channels_can_be_taken_away() -> None:
    wanted = read_wanted({"devices": ["a", "b"], "channels": ["telemetry", "events"]})

    assert wanted.without_devices(["b", "c"]) == read_wanted(
        {"devices": ["a"], "channels": ["telemetry", "events"]}
    )
    assert wanted.without_devices(["a", "b"]) is None
    assert wanted.without_channels(["telemetry", "events"]) is None
    assert read_wanted({}).without_channels(["telemetry"]) is None
    assert read_wanted({}).without_devices(["a"]) == read_wanted({})
