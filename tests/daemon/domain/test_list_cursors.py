"""Cursors of lists read back as they were, and nothing else is one."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.errors import Malformed
from daemon.domain.list_cursors import ROW_MAX, list_cursor, row_of


@given(st.integers(0, ROW_MAX))
def test_a_cursor_reads_back(row: int) -> None:
    assert row_of(list_cursor(row)) == row


@pytest.mark.parametrize(
    "text",
    ["", "2", "zzz", "cm93", "cm93IA", list_cursor(7) + "=", list_cursor(ROW_MAX + 1), "A" * 600,
     # "row 02": each place has one text.
     "cm93IDAy"],
)  # fmt: skip
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(Malformed) as refused:
        row_of(text)

    assert refused.value.error_code == "bad_cursor"


@given(st.text())
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    with suppress(Malformed):
        row_of(text)
