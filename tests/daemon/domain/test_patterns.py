"""Globs over ids: as SQL, and which covers which."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.patterns import all_covered, as_like, covers, is_pattern

PATTERNS = st.text(alphabet="ab*?", min_size=0, max_size=6)
IDS = st.text(alphabet="ab", max_size=8)


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("*", "bus-*", True),
        ("bus-*", "bus-1*", True),
        ("bus-*", "bus-17", True),
        ("bus-1*", "bus-*", False),
        ("bus-?", "bus-*", False),
        ("bus-?", "bus-7", True),
        ("bus-7", "bus-?", False),
        ("*-a", "x*-a", True),
    ],
)
def test_a_pattern_covers_what_matches_less(wide: str, narrow: str, expected: bool) -> None:
    assert covers(wide, narrow) is expected


@given(PATTERNS, PATTERNS, IDS)
def test_whatever_a_covered_pattern_matches_the_wide_one_matches(
    wide: str, narrow: str, some_id: str
) -> None:
    if covers(wide, narrow) and fnmatchcase(some_id, narrow):
        assert fnmatchcase(some_id, wide)


@given(PATTERNS)
def test_a_pattern_covers_itself(pattern: str) -> None:
    assert covers(pattern, pattern)


def test_everything_is_covered_only_by_everything() -> None:
    assert all_covered(None, None)
    assert all_covered(None, ["a"])
    assert not all_covered(["*"], None)
    assert all_covered(["a*", "b"], ["b", "ab"])
    assert not all_covered(["a*"], ["a", "b"])


def test_the_wildcards_of_sql_are_letters() -> None:
    assert as_like(["a_%*?\\"]) == [r"a\_\%%_" + "\\\\"]
    assert as_like(None) is None


@pytest.mark.parametrize("text", ["", "a[b]", "a b", "é", "a" * 129])
def test_other_text_is_no_pattern(text: str) -> None:
    assert not is_pattern(text)
