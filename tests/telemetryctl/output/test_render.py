"""Data as plain, json, jsonl, csv, yaml and table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.output.cells import Column, escape_plain, lookup
from telemetryctl.output.console import Console, may_color
from telemetryctl.output.lines import lines_of
from telemetryctl.output.render import Renderer
from telemetryctl.yaml_text import load_all

COLUMNS = (Column("device_id"), Column("value"), Column("tags"))
ROWS: list[dict[str, Any]] = [
    {"device_id": "a", "value": 21.5, "tags": {"room": "lab", "a.b": "dotted"}},
    {"device_id": "b", "value": True, "tags": {}},
    {"device_id": "c", "value": None},
]


class Sink(Console):
    """A console that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "written", io.StringIO())

    def write(self, text: str) -> None:
        self.text.write(text)

    @property
    def text(self) -> io.StringIO:
        written: io.StringIO = self.__dict__["written"]
        return written


def rendered(
    rows: Sequence[Mapping[str, Any]], format_name: str, *, columns: Any = COLUMNS, **options: Any
) -> str:
    sink = Sink()
    Renderer(sink, format_name=format_name, **options).rows(rows, columns=columns)
    return sink.text.getvalue()


def test_plain_is_tab_separated_with_a_header() -> None:
    assert rendered(ROWS, "plain") == (
        'device_id\tvalue\ttags\na\t21.5\t{"room":"lab","a.b":"dotted"}\nb\ttrue\t\nc\t\t\n'
    )


def test_the_header_can_be_left_out() -> None:
    assert rendered(ROWS[1:2], "plain", has_headers=False) == "b\ttrue\t\n"
    assert rendered(ROWS[1:2], "csv", has_headers=False) == "b,true,\n"


def test_fields_choose_order_and_look_inside() -> None:
    fields = ("tags.room", "tags.a.b", "device_id", "nothing")

    assert rendered(ROWS[:1], "csv", fields=fields).splitlines() == [
        "tags.room,tags.a.b,device_id,nothing",
        "lab,dotted,a,",
    ]
    assert json.loads(rendered(ROWS[:1], "jsonl", fields=fields)) == {
        "tags.room": "lab",
        "tags.a.b": "dotted",
        "device_id": "a",
        "nothing": None,
    }


def test_json_is_the_document_of_the_api() -> None:
    sink = Sink()
    document = {"devices": ROWS, "count": 3, "total": 3}

    Renderer(sink, format_name="json").listing(document, key="devices", columns=COLUMNS)

    assert json.loads(sink.text.getvalue()) == document


def test_json_with_fields_keeps_the_document_around_the_rows() -> None:
    sink = Sink()
    document = {"devices": ROWS[:1], "count": 1}

    renderer = Renderer(sink, format_name="json", fields=("value",))
    renderer.listing(document, key="devices", columns=COLUMNS)

    assert json.loads(sink.text.getvalue()) == {"devices": [{"value": 21.5}], "count": 1}


def test_records_can_end_with_nul() -> None:
    sink = Sink()

    Renderer(sink, record_end="\0").ids(ROWS, key="device_id")

    assert sink.text.getvalue() == "a\0b\0c\0"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_any_text_survives_plain(texts: list[str]) -> None:
    text = rendered([{"x": t} for t in texts], "plain", columns=(Column("x"),), has_headers=False)

    lines = text.split("\n")[:-1]
    assert len(lines) == len(texts)
    for line, original in zip(lines, texts, strict=True):
        assert "\t" not in line
        if original.isprintable():
            assert line.replace("\\\\", "\\") == original


def test_a_carriage_return_in_csv_is_quoted() -> None:
    assert rendered([{"x": "a\rb"}], "csv", columns=(Column("x"),)) == 'x\n"a\rb"\n'


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.integers())))
def test_any_text_survives_csv(values: list[tuple[str, int]]) -> None:
    rows = [{"text": text, "number": number} for text, number in values]

    written = rendered(rows, "csv", columns=(Column("text"), Column("number")))

    read = list(csv.reader(io.StringIO(written, newline="")))
    assert read == [["text", "number"], *([text, str(number)] for text, number in values)]


def test_formulas_are_defused_only_when_asked() -> None:
    rows: list[dict[str, Any]] = [{"x": "=1+1"}, {"x": -5}]

    assert rendered(rows, "csv", columns=(Column("x"),)) == "x\n=1+1\n-5\n"
    assert rendered(rows, "csv", columns=(Column("x"),), is_excel_safe=True) == "x\n'=1+1\n-5\n"


def test_numbers_keep_all_their_digits() -> None:
    assert rendered([{"x": 0.1 + 0.2}], "plain", columns=(Column("x"),)) == (
        "x\n0.30000000000000004\n"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\tb", "a\\tb"), ("a\nb", "a\\nb"), ("a\\b", "a\\\\b"), ("\x1b[31m", "\\x1b[31m")],
)
def test_plain_escapes_what_would_break_a_line(text: str, expected: str) -> None:
    assert escape_plain(text) == expected


def test_a_table_in_a_pipe_is_aligned_and_whole() -> None:
    columns = (Column("device_id", title="DEVICE"), Column("value", is_right=True))

    assert rendered(ROWS[:2], "table", columns=columns) == (
        "DEVICE  VALUE\na        21.5\nb        true\n"
    )


def test_a_key_with_dots_wins_over_the_path() -> None:
    assert lookup({"a.b": 1, "a": {"b": 2}}, "a.b") == 1
    assert lookup({"a": {"b": 2}}, "a.b") == 2
    assert lookup({"a": 5}, "a.b") is None


@pytest.mark.parametrize(
    ("mode", "is_tty", "environ", "expected"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"TERM": "dumb"}, False),
        ("always", False, {"NO_COLOR": "1"}, True),
        ("never", True, {}, False),
    ],
)
def test_colour_follows_flag_then_environment_then_terminal(
    mode: str, is_tty: bool, environ: dict[str, str], expected: bool
) -> None:
    assert may_color(mode, is_tty=is_tty, environ=environ) is expected


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(rows=st.lists(st.dictionaries(st.text(), ANY_JSON, max_size=3), max_size=3))
def test_yaml_says_what_json_says(rows: list[dict[str, Any]]) -> None:
    [found] = load_all(rendered(rows, "yaml"))

    assert found == json.loads(rendered(rows, "json"))


def test_yaml_of_one_thing_is_the_document_itself() -> None:
    sink = Sink()
    Renderer(sink, format_name="yaml").item({"on": "no", "level": "1e3"}, columns=COLUMNS)

    assert sink.text.getvalue() == "---\n'on': 'no'\nlevel: '1e3'\n"


def test_yaml_of_points_is_a_document_each() -> None:
    sink = Sink()
    lines = lines_of(Renderer(sink, format_name="yaml"))
    for row in ROWS[:2]:
        lines.point(row)
    lines.finish("e-1")

    assert list(load_all(sink.text.getvalue())) == ROWS[:2]
