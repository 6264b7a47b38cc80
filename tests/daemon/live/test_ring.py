"""The ring keeps the newest entries within its bounds, and says from where on it is whole."""

from __future__ import annotations

import numpy as np

from daemon.domain.block import Block
from daemon.domain.kinds import Kind
from daemon.domain.series_name import SeriesName
from daemon.live.ring import Entry, Ring, RingLimits

NAMES = {1: SeriesName("d1", "m", Kind.NUMERIC)}


def an_entry(seq: int, *, points: int = 1) -> Entry:
    numbers = np.arange(points, dtype=np.float64)
    return Entry(seq, Block(np.full(points, 1, np.int32), np.arange(points), numbers))


def a_ring(limits: RingLimits, *seqs: int) -> Ring:
    """Everything in it was passed to readers already."""
    ring = Ring(limits)
    ring.begin(0)
    for seq in seqs:
        ring.append(an_entry(seq))
        ring.pinned = seq
    return ring


def test_the_oldest_go_over_the_bound_and_the_floor_rises() -> None:
    ring = a_ring(RingLimits(entries=3), 1, 2, 4, 7, 9)

    assert [entry.seq for entry in ring.after(0)] == [4, 7, 9]
    assert (ring.floor, ring.head, ring.points) == (2, 9, 3)


def test_bounds_hold_for_points_and_bytes() -> None:
    by_points = a_ring(RingLimits(points=2), 1, 2, 3)
    by_bytes = a_ring(RingLimits(bytes=2 * an_entry(1).size_bytes), 1, 2, 3)

    assert [len(by_points), len(by_bytes)] == [2, 2]


def test_what_was_not_passed_on_yet_stays() -> None:
    ring = a_ring(RingLimits(entries=2), 1)
    for seq in range(2, 8):
        ring.append(an_entry(seq))
    before = len(ring)
    ring.pinned = 7
    ring.append(an_entry(8))

    assert before == 6
    assert [entry.seq for entry in ring.after(0)] == [7, 8]


def test_entries_are_found_by_place_when_many_have_gone() -> None:
    ring = a_ring(RingLimits(entries=10), *range(1, 5_000))

    assert [entry.seq for entry in ring.after(4_996)] == [4_997, 4_998, 4_999]
    assert [entry.seq for entry in ring.after(0, upto=4_991)] == [4_990, 4_991]
    assert list(ring.after(4_999)) == []


def test_an_offset_counts_in_the_next_block_whatever_lies_between() -> None:
    ring = a_ring(RingLimits(), 1, 5)

    assert ring.settled((1, 3)) == (4, 3)
    assert ring.settled((1, 0)) == (1, 0)
    assert ring.settled((5, 2)) == (5, 2)


def test_texts_of_wanted_rows_are_made_once_for_all() -> None:
    entry = an_entry(1, points=100)
    entry.wanted = [np.array([3, 50]), np.array([50, 51])]

    first, second = entry.texts([3, 50], NAMES), entry.texts(np.array([50, 51]), NAMES)

    assert first[1] is second[0]
    assert [b'"value":%d,' % value in text for value, text in zip((3, 50), first, strict=True)]
    assert b'"value":51,' in second[1]
