"""How many streams a key and an address have: open, and new in an hour."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from daemon.clock import ManualClock
from daemon.domain.access import Principal
from daemon.domain.errors import RateLimited
from daemon.service import stream_limits
from daemon.service.stream_limits import StreamLimits

PRO = Principal("key_1", "pro", frozenset({"read"}), "pro")
ENTERPRISE = Principal("key_2", "enterprise", frozenset({"read"}), "enterprise")


def limits(**options: Any) -> tuple[StreamLimits, ManualClock]:
    clock = ManualClock(10**15)
    return StreamLimits(clock, **options), clock


def test_a_closed_stream_makes_room_for_another() -> None:
    counted, _ = limits(open_max=2, hourly_max=0)
    first = counted.open_of_key(PRO, is_resume=False)
    counted.open_of_key(PRO, is_resume=False)
    with pytest.raises(RateLimited):
        counted.open_of_key(PRO, is_resume=True)
    first.close()
    first.close()

    counted.open_of_key(PRO, is_resume=False)
    with pytest.raises(RateLimited):
        counted.open_of_key(PRO, is_resume=False)


def test_new_streams_are_counted_over_any_sixty_minutes() -> None:
    counted, clock = limits(hourly_max=2)
    for _ in range(2):
        counted.open_of_key(PRO, is_resume=False).close()
        clock.advance_s(600)
    with pytest.raises(RateLimited) as refused:
        counted.open_of_key(PRO, is_resume=False)

    assert refused.value.retry_after_s == 2_401
    clock.advance_s(2_400)
    counted.open_of_key(PRO, is_resume=False)


def test_a_resume_is_no_new_stream() -> None:
    counted, _ = limits(hourly_max=1)
    for _ in range(5):
        counted.open_of_key(PRO, is_resume=True).close()
    said_later = counted.open_of_key(PRO, is_resume=False)
    said_later.was_resume()
    said_later.was_resume()
    said_later.close()

    counted.open_of_key(PRO, is_resume=False)
    with pytest.raises(RateLimited):
        counted.open_of_key(PRO, is_resume=False)


def test_enterprise_keys_have_no_limit() -> None:
    counted, _ = limits(open_max=1, hourly_max=1)
    slots = [counted.open_of_key(ENTERPRISE, is_resume=False) for _ in range(10)]

    assert len(slots) == 10


def test_addresses_of_one_customer_are_one() -> None:
    counted, _ = limits(open_max=0, hourly_max=1)
    counted.open_of_address("2001:db8:1:2::1")
    counted.open_of_address("192.0.2.1")
    for address in ("2001:db8:1:2:ffff::9", "192.0.2.1", "::ffff:192.0.2.1"):
        with pytest.raises(RateLimited):
            counted.open_of_address(address)

    counted.open_of_address("2001:db8:1:3::1")
    counted.open_of_address("192.0.2.2")
    counted.open_of_address("unknown")


def test_who_authenticates_was_no_stranger() -> None:
    counted, _ = limits(hourly_max=1)
    for _ in range(5):
        counted.open_of_address("192.0.2.1").take_back()

    counted.open_of_address("192.0.2.1")


def test_strangers_are_forgotten_before_memory_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_limits, "SUBJECTS_MAX", 10)
    counted, _ = limits(hourly_max=1, open_max=5)
    kept = counted.open_of_key(PRO, is_resume=False)
    for number in range(100):
        counted.open_of_address(f"192.0.2.{number}").close()

    assert len(counted._subjects) <= 11
    with pytest.raises(RateLimited):
        counted.open_of_key(PRO, is_resume=False)
    kept.close()


def test_who_is_exempt_has_no_limit_and_refusals_are_counted() -> None:
    refused: Counter[tuple[str, str]] = Counter()
    exempt = {"is_exempt": lambda address: address == "10.0.0.1", "refused": refused}
    counted, _ = limits(open_max=1, hourly_max=1, **exempt)
    for _ in range(5):
        counted.open_of_address("10.0.0.1")
        counted.open_of_key(PRO, is_resume=False, address="10.0.0.1")
    counted.open_of_key(PRO, is_resume=False, address="10.0.0.2")
    with pytest.raises(RateLimited):
        counted.open_of_key(PRO, is_resume=False, address="10.0.0.2")

    assert refused == {("stream", "pro"): 1}


def test_what_was_no_new_stream_is_told_once() -> None:
    counted, _ = limits()
    told = []
    for end in ("take_back", "was_resume", "close"):
        slot = counted.open_of_key(PRO, is_resume=False)
        slot.uncount = lambda end=end: told.append(end)
        getattr(slot, end)()
        getattr(slot, end)()
        slot.close()

    assert told == ["take_back", "was_resume"]
