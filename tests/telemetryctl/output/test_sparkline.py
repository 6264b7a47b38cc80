"""Series as one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.output.sparkline import ASCII_BLOCKS, BLOCKS, sparkline


def test_the_smallest_and_the_largest_are_the_outermost_blocks() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"


def test_a_missing_value_is_a_space() -> None:
    assert sparkline([0, None, 1]) == "▁ █"
    assert sparkline([None, float("nan")]) == "  "


def test_a_series_that_never_changes_is_a_line_at_half_height() -> None:
    assert sparkline([5, 5, 5]) == "▄▄▄"


@given(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))),
    st.sampled_from([BLOCKS, ASCII_BLOCKS]),
)
def test_there_is_one_character_for_each_value_and_order_is_kept(
    values: list[float | None], blocks: str
) -> None:
    line = sparkline(values, blocks=blocks)

    assert len(line) == len(values)
    pairs = [(v, blocks.index(c)) for v, c in zip(values, line, strict=True) if v is not None]
    assert [i for _, i in sorted(pairs)] == sorted(i for _, i in pairs)


@pytest.mark.parametrize("values", [[], [1.0]])
def test_short_series_are_drawn(values: list[float | None]) -> None:
    assert len(sparkline(values)) == len(values)
