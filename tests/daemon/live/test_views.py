"""Head and latest against naive oracles, whatever order blocks are learned in."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.block import Block
from daemon.domain.merge import merge
from daemon.live import head as head_module
from daemon.live.head import Head
from daemon.live.latest import Latest

Point = tuple[int, int, Any]
"""Series id, time in microseconds, value."""

values = st.one_of(st.sampled_from([0.0, 1.0, 2.5]), st.sampled_from(["on", "off"]), st.booleans())
points = st.tuples(st.integers(1, 3), st.integers(0, 6), values)
blocks = st.lists(st.lists(points, min_size=1, max_size=12), min_size=1, max_size=8)
numbers = st.tuples(st.integers(1, 3), st.integers(0, 6), st.sampled_from([0.0, 1.0, 2.5]))
number_blocks = st.lists(st.lists(numbers, min_size=1, max_size=30), min_size=1, max_size=8)


def a_block(rows: list[Point]) -> Block:
    """Floats are numbers, anything else is an object; the context names the value."""
    is_number = [isinstance(value, float) for _, _, value in rows]
    return Block(
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] if ok else np.nan for row, ok in zip(rows, is_number, strict=True)]),
        np.arange(len(rows), dtype=np.int32),
        [f'{{"unit":"{value}"}}'.encode() for _, _, value in rows],
        {at: row[2] for at, (row, ok) in enumerate(zip(rows, is_number, strict=True)) if not ok},
    )


def rows_of(block: Block) -> list[Point]:
    found = []
    for at, (series_id, time_us) in enumerate(
        zip(block.series_ids.tolist(), block.times_us.tolist(), strict=True)
    ):
        value = block.objects.get(at, float(block.numbers[at]))
        assert block.context_of is not None
        assert block.contexts[int(block.context_of[at])] == f'{{"unit":"{value}"}}'.encode()
        found.append((series_id, time_us, value))
    return found


@given(blocks, st.randoms(use_true_random=False), st.integers(1, 9), st.integers(1, 3))
def test_the_head_reads_what_was_appended_in_seq_order(
    written: list[list[Point]], random: Any, segment_points: int, wanted: int
) -> None:
    learned = list(enumerate(written, 1))
    random.shuffle(learned)
    head, expected = Head(), {}
    normal, head_module.SEGMENT_POINTS = head_module.SEGMENT_POINTS, segment_points
    try:
        for seq, rows in learned:
            head.append(seq, a_block(rows))
    finally:
        head_module.SEGMENT_POINTS = normal
    for rows in written:
        expected.update({(s, t): v for s, t, v in rows if s <= wanted and 1 <= t < 5})

    ids = np.arange(1, wanted + 1, dtype=np.int32)
    found = merge([head.read(ids, start_us=1, end_us=5)])

    assert rows_of(found) == [(*key, value) for key, value in sorted(expected.items())]


@given(blocks, st.integers(0, 9))
def test_trimming_drops_no_point_behind_the_position(
    written: list[list[Point]], position: int
) -> None:
    head = Head()
    for seq, rows in enumerate(written, 1):
        head.append(seq, a_block(rows))

    head.trim(position)
    left = rows_of(head.read(np.arange(1, 4, dtype=np.int32), start_us=0, end_us=9))

    for rows in written[position:]:
        assert all(row in left for row in rows)


def naive_latest(written: list[list[Point]]) -> dict[int, tuple[int, Any, int, Any]]:
    """Series -> time, value, time of the last change, value before it; one point at a time."""
    found: dict[int, tuple[int, Any, int, Any]] = {}
    for rows in written:
        newest: dict[tuple[int, int], Any] = {(s, t): v for s, t, v in rows}
        for (series_id, time_us), value in sorted(newest.items(), key=lambda item: item[0]):
            known = found.get(series_id)
            if known is None:
                found[series_id] = (time_us, value, time_us, None)
            elif time_us >= known[0]:
                found[series_id] = _after(known, time_us, value)
    return found


def _after(known: tuple[int, Any, int, Any], time_us: int, value: Any) -> tuple[int, Any, int, Any]:
    at, before, changed_at, previous = known
    if before == value and type(before) is type(value):
        return time_us, value, changed_at, previous
    corrects_the_change = at == time_us == changed_at
    return time_us, value, time_us, previous if corrects_the_change else before


def latest_of(latest: Latest) -> dict[int, tuple[int, Any, int, Any]]:
    points = [latest.get(series_id) for series_id in (1, 2, 3)]
    return {
        p.series_id: (p.time_us, p.value, p.changed_at_us, p.previous_value)
        for p in points
        if p is not None
    }


@given(blocks)
def test_latest_is_what_one_point_at_a_time_would_give(written: list[list[Point]]) -> None:
    latest = Latest()
    for seq, rows in enumerate(written, 1):
        latest.append(seq, a_block(rows))

    assert latest_of(latest) == naive_latest(written)


@given(number_blocks)
def test_latest_of_columns_is_what_one_point_at_a_time_would_give(
    written: list[list[Point]],
) -> None:
    latest = Latest()
    for seq, rows in enumerate(written, 1):
        latest.append(seq, a_block(rows))

    assert latest_of(latest) == naive_latest(written)


@given(number_blocks, st.randoms(use_true_random=False))
def test_latest_shows_the_newest_point_in_whatever_order_blocks_are_learned(
    written: list[list[Point]], random: Any
) -> None:
    learned = list(enumerate(written, 1))
    random.shuffle(learned)
    latest = Latest()
    for seq, rows in learned:
        latest.append(seq, a_block(rows))

    newest = {key: value[:2] for key, value in latest_of(latest).items()}

    assert newest == {key: value[:2] for key, value in naive_latest(written).items()}
