"""What a subscription may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.domain.errors import Invalid
from daemon.domain.interest import ChannelUnavailable, Interest, UnknownChannel, make_interest


def test_nothing_asked_for_is_every_point() -> None:
    assert make_interest() == Interest(("telemetry",))
    assert make_interest(devices=[], metrics=[], tags={}, channels=[]) == Interest(("telemetry",))


def test_order_and_repetition_do_not_make_it_another() -> None:
    one = make_interest(devices=["b", "a", "a"], tags={"x": "1", "y": "2"}, groups=["g2", "g1"])
    other = make_interest(devices=["a", "b"], tags={"y": "2", "x": "1"}, groups=["g1", "g2"])

    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"devices": [f"d{at}" for at in range(101)]}, "too_many_devices"),
        ({"metrics": [f"m{at}" for at in range(101)]}, "too_many_metrics"),
        ({"groups": [f"g{at}" for at in range(101)]}, "too_many_groups"),
        ({"tags": {f"t{at}": "1" for at in range(33)}}, "too_many_tags"),
        ({"max_frequency_ms": 99}, "bad_max_frequency"),
        ({"max_frequency_ms": 10_001}, "bad_max_frequency"),
        ({"channels": ["telemetry", "nonsense"]}, "unknown_channel"),
    ],
)
def test_what_is_out_of_bounds_is_refused(asked: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        make_interest(**asked)

    assert caught.value.error_code == code


def test_bounds_are_allowed() -> None:
    for frequency_ms in (100, 10_000):
        assert make_interest(max_frequency_ms=frequency_ms).max_frequency_ms == frequency_ms
    assert len(make_interest(devices=[f"d{at}" for at in range(100)]).devices or ()) == 100


def test_a_channel_that_is_to_come_is_unavailable_not_unknown() -> None:
    for channel in ("overview", "jobs"):
        with pytest.raises(ChannelUnavailable):
            make_interest(channels=[channel])
    with pytest.raises(UnknownChannel):
        make_interest(channels=["weather"])


def test_one_channel_of_several_keeps_all_else() -> None:
    both = make_interest(channels=["telemetry", "latest"], devices=["d1"], max_frequency_ms=500)

    assert both.of("latest") == make_interest(
        channels=["latest"], devices=["d1"], max_frequency_ms=500
    )
