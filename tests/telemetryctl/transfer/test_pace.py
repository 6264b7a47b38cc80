"""How fast points go out."""

import pytest

from telemetryctl.failures import UsageFailure
from telemetryctl.transfer.pace import Pace, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [("200", 200), ("5k/s", 5_000), ("1.5M/s", 1_500_000), ("300/m", 5), ("3600/h", 1)],
)
def test_rates_are_points_a_second(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "-5/s", "0/s", "5k/d", "nan"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UsageFailure):
        parse_rate(text)


def test_more_than_a_second_holds_waits_instead_of_failing() -> None:
    pace = Pace(1_000_000)

    pace.wait(1_100_000)

    pace.close()
