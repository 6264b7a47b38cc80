"""YAML in and out: what a text means, and that nothing changes on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.yaml_text import NotYaml, dump_all, load_all

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS | st.sampled_from(["on", "no", "1e3", "0o7", "010", "2026-11-21", "12:30", "~", "=="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
def test_what_is_written_is_what_is_read(value: Any) -> None:
    assert list(load_all(dump_all([{"value": value}]))) == [{"value": value}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("no", "no"), ("true", True), ("010", 10), ("0x1F", 31), ("0o17", 15),
        ("1e3", 1000.0), ("12:30", "12:30"), ("2026-11-21", "2026-11-21"), ("", None),
        ("1_000", "1_000"), ("==", "=="), ("'5'", "5"),
    ],
)  # fmt: skip
def test_a_scalar_is_what_version_1_2_says(text: str, value: Any) -> None:
    [document] = load_all(f"value: {text}")

    assert document == {"value": value}
    assert type(document["value"]) is type(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: 2\na: 3\n", '"a" stands twice'),
        ("a: [1", "line 1"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: \x00", "special characters"),
    ],
)
def test_what_is_no_plain_data_is_refused(text: str, reason: str) -> None:
    with pytest.raises(NotYaml, match=reason):
        list(load_all(text))
