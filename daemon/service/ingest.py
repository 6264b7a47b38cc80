"""Takes points in: admits them against the catalogue, and commits what waits as one block (group
commit)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from daemon import faults
from daemon.clock import Clock
from daemon.domain import admission
from daemon.domain.admission import Admission, Window
from daemon.domain.batches import BatchRecord
from daemon.domain.block import Block, concat, pack
from daemon.domain.errors import (
    BatchStored,
    Busy,
    CatalogStale,
    DomainError,
    Invalid,
    StoreUnavailable,
    TryLater,
    Unstorable,
)
from daemon.domain.figures import COUNTS, LATENESS_SECONDS, SECONDS, Histogram
from daemon.domain.plain import PlainPoint, assemble
from daemon.domain.points import Draft
from daemon.log import get_logger
from daemon.service.catalog import Catalog
from daemon.service.series_budget import Asker
from daemon.store.journal import JournalStore

log = get_logger()
POINT_BYTES = 24
"""What a waiting point costs, without objects and contexts."""


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """How far ahead a point may be, and the bounds of the queue; over one a request is answered
    503."""

    future_us: int = 300_000_000
    queue_points_max: int = 500_000
    queue_bytes_max: int = 64 * 2**20
    queue_age_s_max: float = 5.0
    flush_points_max: int = 100_000


@dataclass(slots=True)
class Waiting:
    """One request's block in the queue; `done` gets the position it was committed at."""

    block: Block | PlainPoint
    batch: BatchRecord | None
    catalog_version: int
    done: asyncio.Future[int]
    size_bytes: int
    since_s: float


@dataclass(slots=True)
class IngestCounters:
    """Since the start of this process."""

    points: int = 0
    refused_points: int = 0
    requests: int = 0
    failed_requests: int = 0
    flushes: int = 0
    failed_flushes: int = 0
    commit_s_total: float = 0.0
    refused_by_code: dict[str, int] = field(default_factory=dict)
    commit_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    commit_points: Histogram = field(default_factory=lambda: Histogram(COUNTS))
    lateness_s: Histogram = field(default_factory=lambda: Histogram(LATENESS_SECONDS))

    def count_refused(self, codes: Iterable[str]) -> None:
        for code in codes:
            self.refused_points += 1
            self.refused_by_code[code] = self.refused_by_code.get(code, 0) + 1

    def count_commit(self, points: int, *, commit_s: float, lateness_s: float) -> None:
        """A group that was committed; `lateness_s` is that of its newest point."""
        self.flushes += 1
        self.points += points
        self.commit_s_total += commit_s
        self.commit_s.observe(commit_s)
        self.commit_points.observe(points)
        self.lateness_s.observe(lateness_s)


@dataclass(slots=True)
class Ingest:
    """One flush is in flight at a time; while it commits, requests queue and form the next block.
    No timer.

    `on_commit(seq, block)` is called on the loop right after the commit returned, before any
    request is answered,
    so that a client reads its own writes.
    """

    journal: JournalStore
    catalog: Catalog
    clock: Clock
    reload: Callable[[], Awaitable[None]]
    on_commit: Callable[[int, Block], None]
    limits: IngestLimits = field(default_factory=IngestLimits)
    counters: IngestCounters = field(default_factory=IngestCounters)
    notify: bool = False
    is_flushing: bool = False
    _queue: deque[Waiting] = field(default_factory=deque)
    _queued_points: int = 0
    _queued_bytes: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _in_flight: dict[tuple[str, str], asyncio.Future[int]] = field(default_factory=dict)

    # -- admission ---------------------------------------------------------------------------

    async def admit(
        self, draft: Draft, *, dry_run: bool = False, by: Asker | None = None
    ) -> Admission:
        """Judge a draft; series that are new are registered first (not in a dry run), at the cost
        of `by`.

        Raises StoreUnavailable when that needs the database and it is away.
        """
        now_us = self.clock.now_us()
        window = Window(now_us, now_us + self.limits.future_us)
        limits = await self.catalog.limits_of(draft, window, dry_run=dry_run, by=by)
        return admission.admit(draft, limits, window)

    # -- commit ------------------------------------------------------------------------------

    @property
    def catalog_version(self) -> int:
        """What a block that is admitted from now on is admitted under."""
        return self.catalog.registry.version

    async def commit(
        self,
        blocks: Sequence[Block],
        *,
        catalog_version: int,
        batch: BatchRecord | None = None,
    ) -> int:
        """Wait until the blocks of one request are committed together and return their position.

        `catalog_version` is that of the moment before they were admitted. Raises Busy over a bound
        of the queue, BatchStored when the batch id is taken, CatalogStale when the blocks must be
        admitted anew, and what JournalStore.append raises. Cancelling the caller does not cancel
        the group.
        """
        block = concat(blocks)
        size = len(block) * POINT_BYTES + _objects_bytes(block)
        return await self._enqueue(block, size, batch, catalog_version)

    def commit_plain(self, point: PlainPoint) -> asyncio.Future[int]:
        """The same for a point that came alone, right after `plain_series`. Raises Busy at once,
        and the future what else `commit` does."""
        return self._enqueue(point, POINT_BYTES, None, self.catalog_version)

    def plain_series(
        self, device_id: str, metric_name: str, *, time_us: int, number: float
    ) -> int | None:
        """The series that takes this number as it is; None when it has to be judged by `admit`."""
        now_us = self.clock.now_us()
        window = Window(now_us, now_us + self.limits.future_us)
        return self.catalog.plain_series(
            (device_id, metric_name), window, time_us=time_us, number=number
        )

    def _enqueue(
        self,
        block: Block | PlainPoint,
        size: int,
        batch: BatchRecord | None,
        catalog_version: int,
    ) -> asyncio.Future[int]:
        since_s = self.clock.monotonic_s()
        self._check_room(len(block), since_s)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append(Waiting(block, batch, catalog_version, done, size, since_s))
        self._queued_points += len(block)
        self._queued_bytes += size
        self._wake.set()
        return done

    def _check_room(self, points: int, now_s: float) -> None:
        """Raises Busy when the queue is full or its oldest entry has waited too long."""
        if not self._queue:
            return
        limits = self.limits
        if (
            self._queued_points + points > limits.queue_points_max
            or self._queued_bytes > limits.queue_bytes_max
            or now_s - self._queue[0].since_s > limits.queue_age_s_max
        ):
            raise Busy("more points are waiting than may wait")

    async def stored(self, batch: BatchRecord) -> BatchRecord | None:
        """The stored record of a batch id, or None: then the id is this request's until `release`.

        Requests with an id that is under way in this process wait for it. Raises Invalid
        `batch_id_reused` when it was stored for another payload.
        """
        key = (batch.scope, batch.batch_id)
        while running := self._in_flight.get(key):
            await asyncio.wait([running])
        self._in_flight[key] = asyncio.get_running_loop().create_future()
        found: BatchRecord | None = None
        is_known = False
        try:
            found = (await self.journal.stored_batches([key])).get(key)
            is_known = True
        finally:
            if found is not None or not is_known:
                self.release(batch)
        if found is not None and found.payload_hash != batch.payload_hash:
            detail = "the batch_id was used for another payload"
            raise Invalid(
                detail,
                code="batch_id_reused",
                errors=[{"pointer": "/batch_id", "code": "batch_id_reused", "detail": detail}],
            )
        return found

    def release(self, batch: BatchRecord) -> None:
        """The request that `stored` let through is over, whatever became of it."""
        running = self._in_flight.pop((batch.scope, batch.batch_id), None)
        if running is not None and not running.done():
            running.set_result(0)

    async def run(self) -> None:
        """The flush loop; cancelling it leaves nothing half done, since the function commits or
        does not."""
        while True:
            await self._wake.wait()
            # Requests that have arrived already join this group: one turn of the loop, no timer.
            await asyncio.sleep(0)
            group = self._take()
            if not group:
                self._wake.clear()
                continue
            self.is_flushing = True
            try:
                await self._flush(group)
            finally:
                self.is_flushing = False

    @property
    def is_waiting(self) -> bool:
        """Whether some request waits for its commit."""
        return self.is_flushing or bool(self._queue)

    def numbers(self) -> dict[str, float]:
        """How ingest does, for the detailed health: since the start, and waiting now."""
        counters = self.counters
        commit_ms = 1000 * counters.commit_s_total / max(1, counters.flushes)
        return {
            "points": counters.points,
            "refused_points": counters.refused_points,
            "requests": counters.requests,
            "failed_requests": counters.failed_requests,
            "commits": counters.flushes,
            "commit_ms_avg": round(commit_ms, 3),
            "queue_points": self._queued_points,
            "queue_points_max": self.limits.queue_points_max,
            "queue_bytes": self._queued_bytes,
            "queue_bytes_max": self.limits.queue_bytes_max,
        }

    @property
    def waited_s(self) -> float:
        """How long the oldest point in the queue has waited."""
        return self.clock.monotonic_s() - self._queue[0].since_s if self._queue else 0.0

    async def drain(self, *, timeout_s: float) -> None:
        """Wait until nothing is queued or in flight, at most `timeout_s`."""
        deadline = self.clock.monotonic_s() + timeout_s
        while (self._queue or self.is_flushing) and self.clock.monotonic_s() < deadline:
            await asyncio.sleep(0.005)

    def _take(self) -> list[Waiting]:
        group: list[Waiting] = []
        points = 0
        while self._queue:
            waiting = self._queue[0]
            if group and points + len(waiting.block) > self.limits.flush_points_max:
                break
            self._queue.popleft()
            self._queued_points -= len(waiting.block)
            self._queued_bytes -= waiting.size_bytes
            points += len(waiting.block)
            group.append(waiting)
        return group

    async def _flush(self, group: Sequence[Waiting]) -> None:
        """Commit a group and answer everybody in it; a group that fails on data is bisected."""
        group = self._without_stale(group)
        if not group:
            return
        try:
            seq, block = await self._append(group)
        except BatchStored as error:
            await self._flush_without_stored(group, error)
        except Exception as error:
            is_known = isinstance(error, DomainError) and not isinstance(error, Unstorable)
            if len(group) > 1 and not is_known:
                # One of them is bad: the others are not to suffer from it.
                half = len(group) // 2
                await self._flush(group[:half])
                await self._flush(group[half:])
            else:
                self.counters.failed_flushes += isinstance(error, TryLater)
                _fail(group, error)
        else:
            self.on_commit(seq, block)
            faults.point(faults.Point.INGEST_BEFORE_ANSWER)
            for waiting in group:
                if not waiting.done.done():
                    waiting.done.set_result(seq)

    def _without_stale(self, group: Sequence[Waiting]) -> Sequence[Waiting]:
        """Turn away what was admitted under a catalogue that was read anew while it waited.

        The database compares versions under its lock, but only with the one we send.
        """
        version = self.catalog_version
        stale = [w for w in group if w.catalog_version != version]
        if not stale:
            return group
        _fail(stale, CatalogStale())
        return [w for w in group if w.catalog_version == version]

    async def _append(self, group: Sequence[Waiting]) -> tuple[int, Block]:
        started_s = self.clock.monotonic_s()
        block = concat(assemble([w.block for w in group]))
        faults.point(faults.Point.INGEST_BEFORE_APPEND)
        seq = await self.journal.append(
            pack(block),
            points=len(block),
            catalog_version=self.catalog_version,
            notify=self.notify,
            batches=[w.batch for w in group if w.batch is not None],
        )
        faults.point(faults.Point.INGEST_AFTER_COMMIT)
        self.counters.count_commit(
            len(block),
            commit_s=self.clock.monotonic_s() - started_s,
            lateness_s=max(0.0, (self.clock.now_us() - int(block.times_us.max())) / 1e6),
        )
        return seq, block

    async def _flush_without_stored(self, group: Sequence[Waiting], error: BatchStored) -> None:
        """Another daemon stored a batch of this group meanwhile: those requests get its answer, the
        rest commits."""
        keys = [(w.batch.scope, w.batch.batch_id) for w in group if w.batch is not None]
        try:
            stored = await self.journal.stored_batches(keys)
        except DomainError as lost:
            _fail(group, lost)
            return
        is_stored = [
            w.batch is not None and (w.batch.scope, w.batch.batch_id) in stored for w in group
        ]
        _fail([w for w, is_so in zip(group, is_stored, strict=True) if is_so], error)
        rest = [w for w, is_so in zip(group, is_stored, strict=True) if not is_so]
        if rest and len(rest) < len(group):
            await self._flush(rest)
        else:
            _fail(rest, StoreUnavailable())


def _fail(group: Sequence[Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.done.done():
            waiting.done.set_exception(error)


def _objects_bytes(block: Block) -> int:
    """A rough size of the objects: strings by their length, other values by a flat guess."""
    if not block.objects:
        return 0
    return sum(len(v) if isinstance(v, str) else 200 for v in block.objects.values())
