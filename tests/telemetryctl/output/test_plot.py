"""Charts in characters."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetryctl.output.plot import Size, plot, scale

START = datetime(2026, 11, 20, 10, tzinfo=UTC)
END = START + timedelta(hours=1)
ASCII = Size(40, 8, is_ascii=True)


def samples(values: list[float | None]) -> list[tuple[datetime, float | None]]:
    step = (END - START) / max(len(values), 1)
    return [(START + i * step, value) for i, value in enumerate(values)]


def test_a_rising_series_runs_from_the_lower_left_to_the_upper_right() -> None:
    lines = plot(samples([0, 2, 4, 6, 8, 10]), start=START, end=END, size=ASCII)

    assert lines == [
        "10 +                          ****",
        "   |                     *****",
        " 5 +               ******",
        "   |          *****",
        "   |   *******",
        " 0 +***",
        "    10:00          10:30           11:00",
    ]


def test_a_missing_sample_breaks_the_line() -> None:
    lines = plot(samples([1, 1, None, None, 1, 1]), start=START, end=END, size=ASCII)

    drawn = next(line for line in lines if "*" in line)
    assert "* " in drawn.rstrip()


def test_nothing_but_missing_samples_gives_no_chart() -> None:
    assert plot(samples([None, float("nan")]), start=START, end=END, size=ASCII) == []


@pytest.mark.parametrize(
    ("hours", "label"), [(0.1, "10:00:00"), (1, "10:00"), (48, "11-20"), (24 * 90, "2026-11-20")]
)
def test_times_are_as_fine_as_the_window(hours: float, label: str) -> None:
    end = START + timedelta(hours=hours)
    lines = plot([(START, 1.0), (end, 2.0)], start=START, end=end, size=Size(60, 8))

    assert label in lines[-1]


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e300, 1e300)), min_size=1, max_size=30),
    st.integers(1, 120),
    st.integers(1, 30),
)
def test_any_series_fits_its_size(values: list[float | None], width: int, height: int) -> None:
    lines = plot(samples(values), start=START, end=END, size=Size(width, height))

    if lines:
        assert len(lines) <= max(height, 5)
        assert all(len(line) <= max(width, 20 + 24) for line in lines)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_the_scale_holds_all_values(low: float, span: float) -> None:
    bottom, top, step = scale(low, low + span, ticks_max=4)

    assert bottom <= low + span * 1e-9 + abs(low) * 1e-9
    assert top >= low + span - span * 1e-9 - abs(low) * 1e-9
    assert step > 0
