"""Cursors of pages read back as they were, and nothing else is one."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.errors import Invalid
from daemon.domain.page_cursors import PageCursor, parse_page_cursor

names = st.text("azAZ09_.:/-", max_size=128)


@given(st.integers(-(2**61), 2**61), names, names)
def test_a_cursor_reads_back(time_us: int, device_id: str, metric_name: str) -> None:
    cursor = PageCursor(time_us, device_id, metric_name)

    assert parse_page_cursor(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["", "???", "YWJj", "\u00fc", "A" * 600, "eCAg"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_page_cursor(text)

    assert refused.value.error_code == "bad_cursor"


@given(st.text())
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    with suppress(Invalid):
        parse_page_cursor(text)
