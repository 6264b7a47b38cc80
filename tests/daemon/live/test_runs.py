"""Readers that resume find in runs what a look through the whole ring would find."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.block import Block
from daemon.live import runs as runs_module
from daemon.live.ring import Entry, Ring, RingLimits
from daemon.live.runs import Runs


def a_block(*series_ids: int) -> Block:
    n = len(series_ids)
    return Block(np.array(series_ids, np.int32), np.arange(n, dtype=np.int64), np.ones(n))


def an_event(seq: int) -> Entry:
    return Entry(seq)


def seqs_with(ring: Ring, series_ids: set[int], seq: int, upto: int) -> list[int]:
    """The same by looking at each."""
    return [
        entry.seq
        for entry in ring.after(seq, upto=upto)
        if entry.block is not None and series_ids & set(entry.block.series_ids.tolist())
    ]


def found_in(ring: Ring, series_ids: set[int], seq: int, upto: int) -> list[int]:
    ids = np.array(sorted(series_ids), np.int32)
    entries = list(ring.holding(ids, seq, upto=upto))
    assert [e.seq for e in entries] == sorted({e.seq for e in entries})
    return [
        entry.seq
        for entry in entries
        if entry.block is not None and series_ids & set(entry.block.series_ids.tolist())
    ]


@given(seed=st.integers(0, 2**32), keep=st.integers(5, 400))
def test_what_is_found_is_what_is_there(seed: int, keep: int) -> None:
    chance = random.Random(seed)
    ring = Ring(RingLimits(entries=keep))
    ring.begin(100)
    seq = 100
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs_module, "RUN_BLOCKS", 7)
        patch.setattr(runs_module, "RUN_POINTS_MAX", 100)
        for _ in range(300):
            seq += chance.choice((1, 1, 1, 3))
            if chance.random() < 0.1:
                ring.append(an_event(seq))
            else:
                count = chance.randrange(1, 6)
                ring.append(Entry(seq, a_block(*(chance.randrange(9) for _ in range(count)))))
            ring.pinned = seq
            if chance.random() < 0.1:
                wanted = {chance.randrange(10) for _ in range(chance.randrange(4))}
                after = chance.randrange(max(ring.floor - 3, 0), seq + 1)
                upto = chance.randrange(after, seq + 1)

                found = found_in(ring, wanted, after, upto)

                assert found == seqs_with(ring, wanted, after, upto)


def test_few_blocks_are_looked_at_among_many() -> None:
    ring = Ring()
    for seq in range(1, 5_001):
        ring.append(Entry(seq, a_block(*range(seq % 100 * 10, seq % 100 * 10 + 10))))
    for _ in range(20):
        entries = list(ring.holding(np.array([505], np.int32), 0, upto=5_000))

    assert len(entries) < 50 + runs_module.RUN_BLOCKS
    assert {50 + 100 * at for at in range(50)} <= {entry.seq for entry in entries}


def test_one_question_makes_a_few_runs_only() -> None:
    runs = Runs()
    entries = [Entry(seq, a_block(1)) for seq in range(1, 10_001)]

    runs.extend(iter(entries))

    assert runs.covered == runs_module.RUNS_PER_TURN * runs_module.RUN_BLOCKS


def test_runs_are_merged_so_that_there_are_few() -> None:
    ring = Ring()
    for seq in range(1, 20_001):
        ring.append(Entry(seq, a_block(seq % 1_000)))
        ring.pinned = seq
        if seq % 100 == 0:
            list(ring.holding(np.array([7], np.int32), seq - 1, upto=seq))

    assert len(ring._runs._runs) < 10


def test_what_left_the_ring_leaves_the_runs() -> None:
    ring = Ring(RingLimits(entries=1_000))
    for seq in range(1, 20_001):
        ring.append(Entry(seq, a_block(seq % 1_000)))
        ring.pinned = seq
        if seq % 100 == 0:
            list(ring.holding(np.array([7], np.int32), ring.floor, upto=seq))
    held = sum(len(run) for run in ring._runs._runs)

    assert held < 4_000
    assert next(e.seq for e in ring.holding(np.array([7], np.int32), 0, upto=20_000)) > 19_000
