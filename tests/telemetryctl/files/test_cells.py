"""Values of cells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.files.cells import (
    BadCell,
    auto_value,
    bool_value,
    geo_value,
    json_value,
    number_value,
    text_value,
)
from telemetryctl.files.points import Json


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("25.5", 25.5),
        ("12", 12),
        ("-3", -3),
        ("1e3", 1000.0),
        ("true", True),
        ("false", False),
        ("NORTHBOUND", "NORTHBOUND"),
        ("KTR.CLOCK", "KTR.CLOCK"),
        ("007", "007"),
        ("1_000", "1_000"),
        ('{"lat": 1, "lon": 2}', {"lat": 1, "lon": 2}),
        ("{broken", "{broken"),
        ("", None),
        ("  ", None),
    ],
)
def test_a_cell_is_typed_as_json_and_else_text(cell: str, value: Json) -> None:
    assert auto_value(cell) == value
    assert type(auto_value(cell)) is type(value)


@pytest.mark.parametrize("cell", ["nan", "inf", "-Infinity", float("nan")])
def test_what_is_not_finite_is_refused_by_name(cell: Json) -> None:
    with pytest.raises(BadCell) as caught:
        auto_value(cell)

    assert caught.value.code == "not_finite"


@pytest.mark.parametrize("cell", ["9007199254740993", 9007199254740993])
def test_an_integer_that_a_double_would_change_is_refused(cell: Json) -> None:
    with pytest.raises(BadCell, match="2\\^53"):
        auto_value(cell)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_to_the_last_bit(number: float) -> None:
    assert auto_value(repr(number)) == number
    assert number_value(repr(number)) == number


@given(st.text(min_size=1))
def test_text_asked_for_is_kept_letter_by_letter(text: str) -> None:
    assert text_value(text) == text


@pytest.mark.parametrize("cell", ["fast", "true", True, [1]])
def test_num_refuses_what_is_no_number(cell: Json) -> None:
    with pytest.raises(BadCell):
        number_value(cell)


@pytest.mark.parametrize(
    ("cell", "value"), [("Yes", True), ("off", False), ("1", True), (0, False), ("", None)]
)
def test_bool_takes_the_usual_words(cell: Json, value: bool | None) -> None:
    assert bool_value(cell) is value


def test_bool_refuses_other_words() -> None:
    with pytest.raises(BadCell):
        bool_value("maybe")


def test_json_refuses_a_broken_document() -> None:
    assert json_value('[1, "a"]') == [1, "a"]
    with pytest.raises(BadCell):
        json_value("[1,")


def test_a_position_needs_both_coordinates() -> None:
    assert geo_value(["30.2", "-97.7"]) == {"lat": 30.2, "lon": -97.7}
    assert geo_value(["30.2", "-97.7", "", "5"]) == {"lat": 30.2, "lon": -97.7, "accuracy": 5.0}
    assert geo_value(["30.2", ""]) is None
