"""Rows of CSV and JSON Lines files."""

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.files.points import Refusal, Row, UnreadableFile
from telemetryctl.files.rows import LINE_CHARS_MAX, format_of, open_table

CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def read(path: Path, *, format: str | None = None) -> list[tuple[int, Row | Refusal]]:
    with open_table(str(path), format=format) as table:
        return list(table.rows)


def test_a_csv_file_gives_rows_with_the_line_they_end_on(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('time,value\n1,"two\nlines"\n\n2,x\n')

    with open_table(str(path)) as table:
        rows = list(table.rows)

    assert table.columns == ("time", "value")
    assert rows == [(3, ["1", "two\nlines"]), (5, ["2", "x"])]


def test_a_byte_order_mark_and_carriage_returns_are_no_data(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbftime,value\r\n1,2\r\n")

    with open_table(str(path)) as table:
        assert table.columns == ("time", "value")
        assert list(table.rows) == [(2, ["1", "2"])]


def test_gzip_is_known_by_its_bytes_and_not_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n"))

    assert read(path) == [(2, ["1", "2"])]


def test_a_ragged_row_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1\n1,2\n1,2,3\n")

    rows = read(path)

    assert [line for line, _ in rows] == [2, 3, 4]
    assert isinstance(rows[0][1], Refusal)
    assert rows[1][1] == ["1", "2"]
    assert isinstance(rows[2][1], Refusal)


def test_a_line_that_is_not_utf8_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n1,\xff\n1,\xc3\xa9\n")

    (_, bad), good = read(path)

    assert isinstance(bad, Refusal)
    assert bad.code == "bad_encoding"
    assert good == (3, ["1", "é"])


def test_broken_json_lines_are_refused_and_the_others_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n[1]\n{"a": \n{"a": 2}\n')

    rows = read(path)

    assert rows[0] == (1, {"a": 1})
    assert [row.code for _, row in rows[1:3] if isinstance(row, Refusal)] == ["bad_row"] * 2
    assert rows[3] == (5, {"a": 2})


def test_a_truncated_gzip_file_gives_its_rows_and_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,2\n" % i for i in range(50_000)))
    path.write_bytes(whole[: len(whole) // 2])

    seen: list[int] = []
    with open_table(str(path)) as table, pytest.raises(UnreadableFile, match="after line"):
        seen.extend(line for line, _ in table.rows)

    assert len(seen) > 1_000


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n1\n"])
def test_a_csv_file_without_a_readable_header_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)

    with pytest.raises(UnreadableFile):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"gone\.csv: No such file"):
        read(tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.csv", "csv"), ("a.CSV.gz", "csv"), ("a.jsonl.gz", "jsonl"), ("a", None)],
)
def test_the_format_is_in_the_name(name: str, format: str | None) -> None:
    assert format_of(name) == format


@given(st.lists(st.tuples(CELLS, CELLS), max_size=20))
def test_any_table_written_by_csv_reads_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]]
) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("a", "b"), *cells])
    path = tmp_path_factory.mktemp("table") / "a.csv"
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")

    assert [row for _, row in read(path)] == [list(pair) for pair in cells]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_text("a,b\n" + "x" * (LINE_CHARS_MAX + 1))

    with pytest.raises(UnreadableFile, match="line 2 is longer"):
        read(path)
