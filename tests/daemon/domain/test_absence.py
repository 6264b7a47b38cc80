"""As few alerts as explain who is silent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.absence import (
    FLOOD_MAX,
    Circle,
    Explained,
    explain,
    is_lasting,
    ranked,
)

DEVICES = [f"d{n:02}" for n in range(60)]
ALL = Circle(None, frozenset(DEVICES))
NORTH = Circle("north", frozenset(DEVICES[:10]))
SOUTH = Circle("south", frozenset(DEVICES[10:20]))
CIRCLES = [ALL, *ranked([SOUTH, NORTH])]
NOBODY = frozenset[str]()


def said(silent: set[str], *, suspects: set[str] | None = None, doubt: bool = False) -> Explained:
    return explain(silent, CIRCLES, suspects=suspects or set(), known=NOBODY, is_doubtful=doubt)


def test_one_device_is_itself() -> None:
    assert said({"d00"}) == Explained([], {"d00"})


def test_a_whole_group_is_one() -> None:
    assert said(set(DEVICES[:10])) == Explained([NORTH], set())


def test_a_group_and_a_device_elsewhere_are_two() -> None:
    assert said({*DEVICES[:10], "d59"}) == Explained([NORTH], {"d59"})


def test_all_are_one() -> None:
    assert said(set(DEVICES)) == Explained([ALL], set())


def test_more_than_may_be_told_one_by_one_are_one() -> None:
    assert said(set(DEVICES[20:32])) == Explained([ALL], set())


def test_many_silent_groups_are_one() -> None:
    pairs = [Circle(f"g{n}", frozenset(DEVICES[2 * n : 2 * n + 2])) for n in range(30)]
    silent = set(DEVICES[:30])

    found = explain(silent, [ALL, *pairs], suspects=set(), known=NOBODY, is_doubtful=False)

    assert found == Explained([ALL], set())


def test_while_others_are_about_to_follow_one_waits() -> None:
    suspects = set(DEVICES[1:10])

    assert said({"d00"}, suspects=suspects, doubt=True) == Explained([], set())
    assert said({"d00"}, suspects=suspects) == Explained([NORTH], set())


def test_what_has_an_alert_counts_and_needs_no_more() -> None:
    known = frozenset(DEVICES[:9])

    found = explain({"d09"}, CIRCLES, suspects=set(), known=known, is_doubtful=False)

    assert found == Explained([NORTH], set())


@pytest.mark.parametrize(("away", "lasts"), [(10, True), (6, True), (5, False), (1, False)])
def test_a_small_group_s_alert_lasts_while_more_than_half_are_silent(
    away: int, lasts: bool
) -> None:
    assert is_lasting(NORTH, set(DEVICES[:away]), set()) is lasts


def test_a_large_one_s_lasts_while_there_are_too_many_for_alerts_of_their_own() -> None:
    assert is_lasting(ALL, set(DEVICES[: FLOOD_MAX + 1]), set())
    assert not is_lasting(ALL, set(DEVICES[:FLOOD_MAX]), set())


@given(st.sets(st.sampled_from(DEVICES)), st.sets(st.sampled_from(DEVICES)), st.booleans())
def test_never_a_flood_and_everybody_is_explained(
    silent: set[str], suspects: set[str], doubt: bool
) -> None:
    found = said(silent, suspects=suspects - silent, doubt=doubt)
    explained = found.devices.union(*(circle.devices for circle in found.circles))

    assert len(found.circles) + len(found.devices) <= FLOOD_MAX
    assert doubt or silent <= explained
