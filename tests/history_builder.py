"""Builds what reads are tested on: a registry, a head, and points in either of head and chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daemon.clock import ManualClock
from daemon.domain.access import Principal
from daemon.domain.block import Block
from daemon.domain.catalog import SeriesRow
from daemon.domain.kinds import Kind
from daemon.live.head import Head
from daemon.live.registry import Registry
from daemon.service.history import History
from daemon.store.pool import Database

NOON_US = 1_766_059_200_000_000  # 2025-12-18T12:00:00Z
READER = Principal("key_1", "reader", frozenset({"read"}))
SERIES = [
    SeriesRow(1, "bus-1", "speed", Kind.NUMERIC),
    SeriesRow(2, "bus-2", "speed", Kind.NUMERIC),
    SeriesRow(3, "bus-1", "door", Kind.BOOLEAN),
    SeriesRow(4, "bus-1", "route", Kind.STRING),
]


def a_registry(rows: Sequence[SeriesRow] = SERIES) -> Registry:
    registry = Registry()
    registry.epoch = "e1"
    registry.add(rows)
    return registry


def a_history(
    database: Database, *, head: Head | None = None, registry: Registry | None = None
) -> History:
    return History(database, registry or a_registry(), head or Head(), ManualClock(NOON_US))


def points(*rows: tuple[int, int, Any], context: bytes | None = None) -> Block:
    """Rows of (series id, time, value); a value that is no float becomes an object."""
    return Block(
        np.array([r[0] for r in rows], np.int32),
        np.array([r[1] for r in rows], np.int64),
        np.array([r[2] if isinstance(r[2], float) else np.nan for r in rows]),
        None if context is None else np.zeros(len(rows), np.int32),
        [] if context is None else [context],
        {at: r[2] for at, r in enumerate(rows) if not isinstance(r[2], float)},
    )
