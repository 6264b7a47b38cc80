"""Which blocks of the ring hold points of a series, so that ten thousand readers who resume at once
do not each look through all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

RUN_POINTS = 5_000
RUN_BLOCKS = 64
"""So many points or blocks become a run; what is newer is looked through."""
RUN_POINTS_MAX = 200_000
"""A larger run is not merged any more: it goes when its newest block has left the ring."""
RUNS_PER_TURN = 4
"""Runs that one reader's question makes: each takes milliseconds, in which nobody is served."""

Ids = npt.NDArray[np.int32]
Seqs = npt.NDArray[np.int64]


class Held(Protocol):
    """A block at its place in the order; `series_ids` is None for an event."""

    @property
    def seq(self) -> int: ...

    @property
    def series_ids(self) -> Ids | None: ...


@dataclass(frozen=True, slots=True)
class Run:
    """The series of neighbouring blocks, ascending, and beside each the block's seq."""

    series_ids: Ids
    seqs: Seqs
    last_seq: int

    def __len__(self) -> int:
        return len(self.series_ids)

    def seqs_of(self, series_ids: Ids) -> list[Seqs]:
        """Where each of the series stands that is there, ascending."""
        begins = self.series_ids.searchsorted(series_ids)
        ends = self.series_ids.searchsorted(series_ids, side="right")
        at = np.flatnonzero(ends > begins)
        return [
            self.seqs[begin:end]
            for begin, end in zip(begins[at].tolist(), ends[at].tolist(), strict=True)
        ]


class Runs:
    """Covers the oldest of what is kept, up to `covered`; made only when somebody asks."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self.covered = 0

    def begin(self, position: int) -> None:
        """Empty, behind this position."""
        self._runs, self.covered = [], position

    def forget(self, floor: int) -> None:
        """Nothing up to here is kept any more."""
        self._runs = [run for run in self._runs if run.last_seq > floor]
        self.covered = max(self.covered, floor)

    def extend(self, newer: Iterator[Held]) -> None:
        """Take what comes after `covered`, as far as it fills runs; at most RUNS_PER_TURN."""
        for _ in range(RUNS_PER_TURN):
            blocks, points = [], 0
            for held in newer:
                blocks.append(held)
                points += 0 if held.series_ids is None else len(held.series_ids)
                if points >= RUN_POINTS or len(blocks) >= RUN_BLOCKS:
                    break
            else:
                return
            self._add(blocks)

    def seqs_of(self, series_ids: Ids, *, after: int, upto: int) -> list[int]:
        """Blocks with after < seq <= upto, as far as they are covered, that hold one of these."""
        parts = [
            part for run in self._runs if run.last_seq > after for part in run.seqs_of(series_ids)
        ]
        if not parts:
            return []
        seqs = np.concatenate(parts)
        found: list[int] = np.unique(seqs[(seqs > after) & (seqs <= upto)]).tolist()
        return found

    def _add(self, blocks: list[Held]) -> None:
        self.covered = blocks[-1].seq
        known = [(held.seq, held.series_ids) for held in blocks if held.series_ids is not None]
        if not known:
            return
        ids = np.concatenate([found for _, found in known])
        seqs = np.repeat(
            np.array([seq for seq, _ in known], np.int64), [len(found) for _, found in known]
        )
        run = _sorted(ids, seqs, last_seq=self.covered)
        # As many points in each as in all that follow it: there are few runs, and each point is
        # sorted a few times only.
        while self._runs and len(self._runs[-1]) <= len(run) < RUN_POINTS_MAX:
            older = self._runs.pop()
            ids = np.concatenate([older.series_ids, run.series_ids])
            seqs = np.concatenate([older.seqs, run.seqs])
            run = _sorted(ids, seqs, last_seq=run.last_seq)
        self._runs.append(run)


def _sorted(series_ids: Ids, seqs: Seqs, *, last_seq: int) -> Run:
    order = np.argsort(series_ids, kind="stable")
    return Run(series_ids[order], seqs[order], last_seq)
