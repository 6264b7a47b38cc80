"""Reads of series: raw points in pages, buckets in pages, and one metric pooled over devices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

import numpy as np

from daemon.domain.access import Principal
from daemon.domain.aggregates import Aggregated, Aggregation
from daemon.domain.block import Block, Int64s, concat
from daemon.domain.buckets import BUCKETS_MAX, SECOND_US, Grid, epoch_grid, local_grid, whole
from daemon.domain.errors import Invalid
from daemon.domain.kinds import Kind
from daemon.domain.merge import EMPTY
from daemon.domain.page_cursors import PageCursor
from daemon.domain.places import order_of
from daemon.domain.series_name import SeriesName
from daemon.domain.slices import Slice, slices
from daemon.domain.spread import coded
from daemon.domain.tags import carries
from daemon.live.registry import Registry
from daemon.service.aggregation import Buckets, aggregate_snapshot, in_parts
from daemon.service.history import INLINE_POINTS_MAX, History, Snapshot
from daemon.service.selection import Selection, in_groups, sees, select

PAGE_POINTS_MAX = 10_000
EVERY_METRIC = "*"
"""Among the names of a query; it can't be the name of a metric."""
PAGE_SCAN_POINTS_MAX = 5_000_000
"""A page that finds too little among this many points ends early, with a cursor."""
PAGE_SLICE_POINTS = 250_000
POOLED_BUCKETS_MAX = 100_000
# No unit follows from a number of points, nor from a change over time.
_UNITLESS = frozenset({Aggregation.COUNT, Aggregation.RATE})


@dataclass(frozen=True, slots=True)
class PointQuery:
    """What to read: [start_us, end_us) of the series of these metrics and devices (None: all).

    `groups`, by id or name, leave those devices that are in any of them; empty means all.
    """

    metrics: tuple[str, ...]
    start_us: int
    end_us: int
    devices: tuple[str, ...] | None = None
    aggregation: Aggregation | None = None
    interval_s: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    limit: int = PAGE_POINTS_MAX
    cursor: PageCursor | None = None
    is_strict: bool = False
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PointPage:
    """Rows by time, then device, then metric; for buckets the times are their starts.

    `device_id` and `metric_name` are None when there are several.
    """

    query: PointQuery
    block: Block
    names: dict[int, SeriesName]
    counts: list[tuple[SeriesName, int]]
    device_id: str | None
    metric_name: str | None
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class PooledQuery:
    """Buckets of one metric over one device or all that the asker sees."""

    metric_name: str
    aggregation: Aggregation
    interval_s: int
    start_us: int
    end_us: int
    device_id: str | None = None
    zone: ZoneInfo | None = None


@dataclass(frozen=True, slots=True)
class PooledBuckets:
    """Starts, numbers and how many points each was made of; empty buckets are absent."""

    query: PooledQuery
    starts_us: Int64s
    aggregated: Aggregated


class Series:
    """Reads for one request each; nothing is kept between them.

    A page of hours reads at least `part_rows` of them at a time.
    """

    def __init__(self, history: History, *, part_rows: int = PAGE_POINTS_MAX) -> None:
        self._history = history
        self._part_rows = part_rows

    @property
    def _registry(self) -> Registry:
        return self._history.registry

    def metrics_of(self, principal: Principal, device_id: str) -> list[str]:
        """Names of the metrics a device has sent, in order; empty when it is unknown."""
        names = self._registry.metrics_of(device_id)
        return sorted(name for name in names if sees(principal, device_id, name))

    async def query(self, principal: Principal, query: PointQuery) -> PointPage:
        """One page. Raises Invalid when the query is impossible, or cut short while strict."""
        _check_range(query.start_us, query.end_us)
        if query.interval_s is not None and query.aggregation is None:
            raise Invalid("an interval needs an aggregation", code="interval_alone")
        devices = in_groups(self._registry, principal, devices=query.devices, groups=query.groups)
        metrics = None if EVERY_METRIC in query.metrics else query.metrics
        selection = select(self._registry, principal, devices=devices, metrics=metrics)
        after, start_us = query.cursor, query.start_us
        if after is not None:
            start_us = min(max(start_us, after.time_us), query.end_us)
        pager = _Pager(selection, query.limit, after)
        snapshot = await self._history.snapshot(
            selection.series_ids, start_us=start_us, end_us=query.end_us
        )
        if query.aggregation is None:
            block, next_cursor = await pager.page_of_points(snapshot, query.tags)
        else:
            selection = self._with_units(selection, query.aggregation)
            grid = _grid(query, start_us, snapshot)
            wanted = Buckets(grid, query.aggregation, tags=tuple(query.tags.items()))
            _check_cells(len(selection), len(grid))
            found = pager.page_of_buckets(snapshot, wanted, part_rows=self._part_rows)
            block, next_cursor = await found
        if next_cursor is not None and query.is_strict:
            raise Invalid(
                f"there are more than {query.limit} points; ask for less, or page",
                code="truncated",
            )
        return _page(query, selection, block, next_cursor)

    async def pooled(self, principal: Principal, query: PooledQuery) -> PooledBuckets:
        """All samples of a metric in buckets. Raises Invalid when the query is impossible."""
        _check_range(query.start_us, query.end_us)
        devices = None if query.device_id is None else [query.device_id]
        selection = select(self._registry, principal, devices=devices, metrics=[query.metric_name])
        snapshot = await self._history.snapshot(
            selection.series_ids, start_us=query.start_us, end_us=query.end_us
        )
        grid = _pooled_grid(query, snapshot)
        _check_pooled(len(grid))
        wanted = Buckets(grid, query.aggregation, is_pooled=True)
        found = await aggregate_snapshot(snapshot, wanted)
        return PooledBuckets(query, grid.starts_us[found.buckets], found)

    def _with_units(self, selection: Selection, aggregation: Aggregation) -> Selection:
        """Buckets are numbers, in the unit of the definition where the aggregation keeps it."""
        units: dict[str, str | None] = {}
        if aggregation not in _UNITLESS:
            definitions = self._registry.definitions
            for metric in {name.metric_name for name in selection.names.values()}:
                units[metric] = definitions[metric].unit if metric in definitions else None
        names = {
            series_id: SeriesName(
                name.device_id, name.metric_name, Kind.NUMERIC, units.get(name.metric_name)
            )
            for series_id, name in selection.names.items()
        }
        return replace(selection, names=names)


@dataclass(frozen=True, slots=True)
class _Pager:
    """Puts rows in the order of answers, and cuts the page out."""

    selection: Selection
    limit: int
    after: PageCursor | None

    async def page_of_points(
        self, snapshot: Snapshot, tags: dict[str, str]
    ) -> tuple[Block, str | None]:
        """The page, and the cursor of the next one when there is more."""
        found: list[Block] = []
        rows = scanned = 0
        stopped_us: int | None = None
        async for part in _parts(snapshot, self.limit):
            if rows > self.limit:
                break
            if scanned >= PAGE_SCAN_POINTS_MAX:
                stopped_us = part.start_us
                break
            async with _turn(snapshot):
                block = await snapshot.points(part.start_us, part.end_us)
                scanned += len(block)
                block = self._behind_cursor(carries(block, tags))
            rows += len(block)
            if len(block):
                found.append(block)
        if not found:
            cursor = None if stopped_us is None else str(PageCursor(stopped_us))
            return EMPTY, cursor
        whole_block = concat(found)
        if rows <= INLINE_POINTS_MAX:
            page, more = self._ordered(whole_block)
        else:
            page, more = await asyncio.to_thread(self._ordered, whole_block)
        if more:
            return page, self._cursor_at(page)
        return page, None if stopped_us is None else str(PageCursor(stopped_us))

    async def page_of_buckets(
        self, snapshot: Snapshot, wanted: Buckets, *, part_rows: int
    ) -> tuple[Block, str | None]:
        """The page, and the cursor of the next one when there is more."""
        found: list[Block] = []
        rows = 0
        # The first bucket may lie before the cursor for nearly all series.
        part_rows = max(part_rows, self.limit + len(self.selection))
        for part, buckets in in_parts(snapshot, wanted, rows=part_rows):
            aggregated = await aggregate_snapshot(part, buckets)
            found.append(self._behind_cursor(self._rows_of(aggregated, buckets.grid)))
            rows += len(found[-1])
            if rows > self.limit:
                break
        block = concat(found)
        if rows <= self.limit:
            return block, None
        page = block.take(np.arange(self.limit))
        return page, self._cursor_at(page)

    def _rows_of(self, found: Aggregated, grid: Grid) -> Block:
        """The buckets in the order of answers: each has a place of its own by time and name."""
        width = len(self.selection)
        places = found.buckets * width + self.selection.ranks_of(found.series_ids)
        ordered = found.take(order_of(places, size=len(grid) * width))
        return Block(ordered.series_ids, grid.starts_us[ordered.buckets], ordered.values)

    def _behind_cursor(self, block: Block) -> Block:
        if self.after is None or not len(block):
            return block
        after = self.after
        rank = self.selection.rank_after(after.device_id, after.metric_name)
        is_behind = block.times_us > after.time_us
        tie = np.flatnonzero(block.times_us == after.time_us)
        is_behind[tie] = self.selection.ranks_of(block.series_ids[tie]) >= rank
        return block if is_behind.all() else block.take(np.flatnonzero(is_behind))

    def _ordered(self, block: Block) -> tuple[Block, bool]:
        """The first `limit` rows by time and name, and whether there are more."""
        is_one_series = len(self.selection) == 1
        if len(block) <= self.limit and is_one_series:
            return block, False
        if is_one_series:
            order = np.arange(min(len(block), self.limit))
        else:
            ranks = self.selection.ranks_of(block.series_ids)
            order = np.lexsort((ranks, block.times_us))[: self.limit]
        return block.take(order), len(block) > self.limit

    def _cursor_at(self, page: Block) -> str:
        name = self.selection.names[int(page.series_ids[-1])]
        return str(PageCursor(int(page.times_us[-1]), name.device_id, name.metric_name))


def _turn(snapshot: Snapshot) -> AbstractAsyncContextManager[None]:
    """Small reads go ahead; the others take turns."""
    return nullcontext() if snapshot.is_small else snapshot.turns.turn()


async def _parts(snapshot: Snapshot, limit: int) -> AsyncIterator[Slice]:
    """Slices to read in time order until a page is full; a small range is one."""
    if not len(snapshot.series_ids) or snapshot.start_us >= snapshot.end_us:
        return
    if snapshot.is_small:
        yield Slice(snapshot.start_us, snapshot.end_us, limit)
        return
    days = await snapshot.days()
    for part in slices(
        days,
        start_us=snapshot.start_us,
        end_us=snapshot.end_us,
        points=min(PAGE_SLICE_POINTS, 4 * limit),
    ):
        yield part


def _page(
    query: PointQuery, selection: Selection, block: Block, next_cursor: str | None
) -> PointPage:
    by_id: dict[int, int] = {}
    if len(block):
        ids, codes = coded(block.series_ids)
        by_id = dict(zip(ids, np.bincount(codes).tolist(), strict=True))
    counts = [(selection.names[i], by_id[i]) for i in selection.names if i in by_id]
    devices = {device_id for device_id, _ in selection.keys} or set(query.devices or ())
    metrics = {metric_name for _, metric_name in selection.keys} or set(query.metrics)
    return PointPage(
        query,
        block,
        selection.names,
        counts,
        devices.pop() if len(devices) == 1 else None,
        metrics.pop() if len(metrics) == 1 else None,
        next_cursor,
    )


def _grid(query: PointQuery, start_us: int, snapshot: Snapshot) -> Grid:
    if query.interval_s is None or snapshot.start_us >= snapshot.end_us:
        return whole(start_us)
    return epoch_grid(snapshot.start_us, snapshot.end_us, interval_s=query.interval_s)


def _pooled_grid(query: PooledQuery, snapshot: Snapshot) -> Grid:
    start_us, end_us, interval_s = snapshot.start_us, snapshot.end_us, query.interval_s
    if query.zone is None or start_us >= end_us:
        return epoch_grid(start_us, end_us, interval_s=interval_s)
    # Each bucket of a zone is looked up in its calendar, so they are counted before.
    _check_pooled((end_us - start_us) // (interval_s * SECOND_US))
    return local_grid(start_us, end_us, interval_s=interval_s, zone=query.zone)


def _check_pooled(count: int) -> None:
    if count > POOLED_BUCKETS_MAX:
        raise Invalid(
            f"{count} buckets are more than {POOLED_BUCKETS_MAX}; "
            "take a longer interval or a shorter range",
            code="too_many_buckets",
        )


def _check_range(start_us: int, end_us: int) -> None:
    if start_us >= end_us:
        raise Invalid("start_time must be before end_time", code="bad_range")


def _check_cells(series: int, buckets: int) -> None:
    if series * buckets > BUCKETS_MAX:
        raise Invalid(
            f"{series} series in {buckets} buckets are more than {BUCKETS_MAX} numbers; "
            "name fewer series, or take a longer interval or a shorter range",
            code="too_many_buckets",
        )
