"""What `doctor` makes of what it finds."""

from __future__ import annotations

from datetime import timedelta

from telemetryctl import times
from telemetryctl.commands.doctor import ALWAYS_LED, FAIL, OK, WARN, _daemon, _other_keys


def key(name: str, **ends_in: float) -> dict[str, str | None]:
    """A key as the server lists it; one of these ended when `ends_in` is negative."""
    ends = times.now() + timedelta(**ends_in) if ends_in else None
    return {"name": name, "expires_at": ends.isoformat() if ends else None}


def test_keys_that_end_soon_are_named() -> None:
    keys = [key("over", days=-1), key("soon", days=13), key("late", days=15), key("never")]

    [found] = _other_keys({"keys": keys})

    assert (found.state, found.detail) == (WARN, "soon")


def test_a_key_that_has_ended_is_no_worry() -> None:
    [found] = _other_keys({"keys": [key("over", days=-1)]})

    assert (found.state, found.hint) == (OK, "")


def test_given_up_notifications_are_counted_over_all_kinds_of_channels() -> None:
    kinds = {"stream": 0.0, "webhook": 2.0, "email": 1.0}
    samples = [({"channel_type": k, "outcome": "given_up"}, n) for k, n in kinds.items()]
    samples.append(({"channel_type": "webhook", "outcome": "sent"}, 40.0))

    [found] = _daemon({"telemetry_notifications_total": samples})

    assert (found.state, found.detail) == (WARN, "3 were given up")


def test_work_that_nobody_does_is_named_once_a_daemon_has_settled() -> None:
    def found(uptime_s: float, **led: float) -> list[tuple[str, str]]:
        samples = [({"work": name}, value) for name, value in led.items()]
        own = {"telemetry_uptime_seconds": [({"process": "1"}, uptime_s)]}
        return [(one.state, one.detail) for one in _daemon({**own, "telemetry_work_led": samples})]

    all_led = dict.fromkeys(ALWAYS_LED, 1.0)

    assert found(3.0, **all_led | {"compactor": 0.0}) == []
    assert found(99.0, **all_led, relay=0.0) == [(OK, "somebody does it")]
    assert found(99.0, **all_led | {"compactor": 0.0}) == [(FAIL, "nobody does it: compactor")]
    assert found(99.0, evaluator=1.0) == [(FAIL, "nobody does it: compactor, housekeeping")]
