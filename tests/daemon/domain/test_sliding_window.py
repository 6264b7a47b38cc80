"""An hour that slides: never more than the limit in any sixty minutes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.sliding_window import SLOT_S, WINDOW_S, SlidingWindow

LIMIT = 20

waits_s = st.lists(
    st.one_of(
        st.floats(0, 60, allow_nan=False),
        st.floats(0, 5_000, allow_nan=False),
        st.sampled_from([0.0, 29.999, 30.0, 3_600.0, 3_630.0]),
    ),
    max_size=200,
)


def test_it_slides_by_half_minutes() -> None:
    window = SlidingWindow()
    window.add(3, 10_000)
    window.add(4, 11_800)

    assert window.used(13_599) == 7
    assert window.wait_s(13_600) == 10_020 + WINDOW_S - 13_600
    assert window.used(13_620) == 4
    assert window.used(15_420) == 0
    assert window.wait_s(15_420) == 0


@given(waits_s)
def test_no_sixty_minutes_hold_more_than_the_limit(waits: list[float]) -> None:
    window, now_s, allowed = SlidingWindow(), 1_000_000.0, list[float]()
    for wait_s in waits:
        now_s += wait_s
        if window.used(now_s) < LIMIT:
            window.add(1, now_s)
            allowed.append(now_s)

    for begin_s in allowed:
        in_window = [at for at in allowed if begin_s <= at < begin_s + WINDOW_S]
        assert len(in_window) <= LIMIT


@given(waits_s)
def test_a_request_counts_for_half_a_minute_longer_at_most(waits: list[float]) -> None:
    window, now_s, added = SlidingWindow(), 1_000_000.0, list[float]()
    for wait_s in waits:
        now_s += wait_s
        window.add(1, now_s)
        added.append(now_s)
        recent = sum(now_s - at < WINDOW_S for at in added)
        lingering = sum(now_s - at <= WINDOW_S + SLOT_S for at in added)

        assert recent <= window.used(now_s) <= lingering


@given(waits_s)
def test_after_the_wait_there_is_more_room(waits: list[float]) -> None:
    window, now_s = SlidingWindow(), 1_000_000.0
    for wait_s in [0.0, *waits]:
        now_s += wait_s
        window.add(1, now_s)
    used, wait_s = window.used(now_s), window.wait_s(now_s)

    assert 0 < wait_s <= WINDOW_S + SLOT_S
    assert window.used(now_s + wait_s - 0.001) == used
    assert window.used(now_s + wait_s + 0.001) < used
