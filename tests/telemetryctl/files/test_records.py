"""CSV cut into whole records."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.files.records import BrokenTransfer, Tally, after_seen, records, time_us_of

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=12)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=20), st.integers(1, 9))
def test_records_are_whole_however_the_bytes_are_cut(
    rows: list[tuple[str, str]], chunk_bytes: int
) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    content = buffer.getvalue().encode()
    chunks = [content[i : i + chunk_bytes] for i in range(0, len(content), chunk_bytes)]

    found = list(records(chunks))

    assert b"".join(found) == content
    assert [next(csv.reader(io.StringIO(r.decode()))) for r in found] == [list(r) for r in rows]


@pytest.mark.parametrize("content", [b"a,b\n1", b'a,"b\n', b'a,"b\n\n'])
def test_a_record_that_is_cut_off_is_an_error(content: bytes) -> None:
    with pytest.raises(BrokenTransfer):
        list(records([content]))


def test_a_second_try_goes_on_after_the_rows_already_seen() -> None:
    seen = Tally()
    for record in (b"1\n", b"2\n"):
        seen.add(record)

    assert list(after_seen(iter([b"1\n", b"2\n", b"3\n"]), seen)) == [b"3\n"]
    with pytest.raises(BrokenTransfer):
        list(after_seen(iter([b"1\n", b"x\n", b"3\n"]), seen))
    with pytest.raises(BrokenTransfer):
        list(after_seen(iter([b"1\n"]), seen))


def test_the_time_of_a_row_is_its_first_cell() -> None:
    assert time_us_of(b"2025-12-18T10:00:00Z,d,m,1,,\n") == 1_766_052_000_000_000
