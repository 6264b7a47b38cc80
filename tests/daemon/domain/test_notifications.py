"""When a message is tried again, and when it is given up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.domain.deliveries import Outcome
from daemon.domain.notifications import Kind, Message, wait_s
from daemon.domain.silences import Silence, fits

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
BROKEN = Outcome(is_sent=False, status_code=503)
REFUSED = Outcome(is_sent=False, status_code=404, is_final=True)
NO_ADDRESS = Outcome(is_sent=False, is_final=True)


def a_message(**fields: Any) -> Message:
    values: dict[str, Any] = {
        "notification_id": "ntf_1", "ordinal": 1, "alert_id": "alr_1", "watch_id": None,
        "rule_id": "rul_1", "device_id": "d", "metric_name": "m", "level": "error",
        "channel": "ops", "kind": Kind.FIRE, "verdict_data": {}, "replaces_id": None,
        "payload": None, "attempts": 1, "created_at": NOON, "now": NOON,
    }  # fmt: skip
    return Message(**values | fields)


def wait(outcome: Outcome, *, has_fallback: bool = False, **fields: Any) -> float | None:
    message = a_message(**fields)
    return wait_s(message, outcome, has_fallback=has_fallback, give_up=DAY, jitter=1.0)


def test_it_waits_longer_each_time_up_to_five_minutes() -> None:
    waits = [wait(BROKEN, attempts=n) for n in (1, 2, 3, 4, 9, 10, 1000)]

    assert waits == [1, 2, 4, 8, 256, 300, 300]


@pytest.mark.parametrize("jitter", [0.0, 0.3, 1.0])
def test_half_of_the_wait_is_chance(jitter: float) -> None:
    message = a_message(attempts=5)

    found = wait_s(message, BROKEN, has_fallback=False, give_up=DAY, jitter=jitter)

    assert found == 16 * (0.5 + jitter / 2)


def test_a_receiver_that_says_when_is_believed_up_to_five_minutes() -> None:
    assert wait(Outcome(is_sent=False, status_code=429, retry_after_s=60)) == 60
    assert wait(Outcome(is_sent=False, status_code=429, retry_after_s=9999)) == 300


def test_it_is_given_up_after_a_day_since_it_was_last_asked_for() -> None:
    late = NOON + DAY + timedelta(seconds=1)
    again = {"retried_at": (NOON + DAY).isoformat()}

    assert wait(BROKEN, now=late) is None
    assert wait(BROKEN, now=late, verdict_data=again) == 1


def test_what_is_refused_for_good_is_tried_three_times_and_a_bad_address_once() -> None:
    assert [wait(REFUSED, attempts=n) for n in (1, 2, 3)] == [1, 2, None]
    assert wait(NO_ADDRESS) is None


def test_a_fallback_takes_over_after_five_attempts() -> None:
    assert wait(BROKEN, attempts=4, has_fallback=True) == 8
    assert wait(BROKEN, attempts=5, has_fallback=True) is None


def test_an_end_is_owed_and_a_test_is_not() -> None:
    for outcome in (REFUSED, NO_ADDRESS, BROKEN):
        assert wait(outcome, attempts=5, kind=Kind.CLOSE, has_fallback=True) == 16
        assert wait(outcome, kind=Kind.TEST) is None


@pytest.mark.parametrize(
    ("matchers", "is_fit"),
    [
        ({"device_id": "oven"}, True),
        ({"device_id": "ov*"}, True),
        ({"device_id": "o?en"}, True),
        ({"device_id": "ove"}, False),
        ({"device_id": ["kiln", "oven"]}, True),
        ({"device_id": "oven", "level": "info"}, False),
        ({"device_id": "oven", "level": ["info", "error"]}, True),
        ({"rule_name": "a [b]*"}, True),
        ({"rule_name": "a [c]"}, False),
        ({"metric_name": "*"}, True),
        ({"rule_id": "rul_2"}, False),
        ({"group": "north"}, True),
        ({"group": ["south", "north"]}, True),
        ({"group": "south"}, False),
    ],
)
def test_all_matchers_of_a_silence_have_to_fit(matchers: dict[str, Any], is_fit: bool) -> None:
    silence = Silence(
        silence_id="sil_1", matchers=matchers, starts_at=NOON, ends_at=NOON + DAY, comment="",
        created_at=NOON, updated_at=NOON, created_by="me",
    )  # fmt: skip
    about = {
        "device_id": "oven", "rule_id": "rul_1", "rule_name": "a [b] c", "metric_name": "heat",
        "level": "error", "group_id": None,
    }  # fmt: skip

    found = fits(silence, about, in_group=lambda group, device: group == "north")

    assert found is is_fit
    assert not fits(silence, dict.fromkeys(about), in_group=lambda group, device: False)
