"""Widths of columns: what is whole stays, and long columns give before short ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.output.table import fit


def test_what_fits_is_not_cut() -> None:
    assert fit([10, 20], is_whole=[False, False], room=30) == [10, 20]


def test_the_longest_gives_first() -> None:
    assert fit([8, 14, 90], is_whole=[True, False, False], room=60) == [8, 14, 38]


def test_equals_give_the_same() -> None:
    assert fit([30, 40, 50], is_whole=[False] * 3, room=60) == [20, 20, 20]


def test_whole_columns_run_over_the_edge() -> None:
    assert fit([30, 40], is_whole=[True, False], room=20) == [30, 8]


@given(
    widest=st.lists(st.integers(1, 200), min_size=1, max_size=8), room=st.integers(0, 300),
    data=st.data(),
)  # fmt: skip
def test_no_column_is_lost_and_no_room_wasted(
    widest: list[int], room: int, data: st.DataObject
) -> None:
    is_whole = data.draw(st.lists(st.booleans(), min_size=len(widest), max_size=len(widest)))

    widths = fit(widest, is_whole=is_whole, room=room)

    for wanted, got, whole in zip(widest, widths, is_whole, strict=True):
        assert got == wanted if whole else min(wanted, 8) <= got <= wanted
    if sum(widths) > room:
        assert all(w or g <= 8 for w, g in zip(is_whole, widths, strict=True))
    elif sum(widest) > room:
        assert room - sum(widths) < len(widest)
