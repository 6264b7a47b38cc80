"""An export from the server's answer to files that are whole. What they are called is targets'."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from telemetryctl.failures import Failure, TryLater
from telemetryctl.files.atomic import json_bytes, partial_of, write_synced
from telemetryctl.files.export_state import ExportState, Pending, commit
from telemetryctl.files.manifest import Portion, describe, is_complete, manifest_of
from telemetryctl.files.parts import EXPORT_HEADER, FinishedPart, PartSet, rename_all
from telemetryctl.files.points import Json
from telemetryctl.files.records import BrokenTransfer, Tally, after_seen, records, time_us_of
from telemetryctl.files.stamps import EPOCH
from telemetryctl.files.targets import Targets
from telemetryctl.output.exit_codes import ExitCode

# Between tries; a daemon that restarts is back within seconds.
PAUSES_S = (0.5, 2.0)
SECOND_CHARS = len("2026-11-20T10:00:00")


@dataclass(frozen=True, slots=True)
class Answer:
    """An export as it comes: bytes of CSV with a header, where it ends, and what is lost before."""

    chunks: Iterator[bytes]
    next_cursor: str = ""
    gap: str | None = None


Query = dict[str, str]
# Asks the server. An answer without any row has no chunks, not even the header.
Fetch = Callable[[Query], AbstractContextManager[Answer]]


@dataclass(slots=True)
class Received:
    """All rows of one question, once each, over as many tries as it took."""

    fetch: Fetch
    query: Query
    next_cursor: str = ""
    gap: str | None = None
    rows: int = 0

    def records(self) -> Iterator[bytes]:
        """The rows without the header. After a break the question is asked again, and what was
        seen is skipped once it proves to be the same.

        Raises BrokenTransfer when it isn't, or after the last try.
        """
        seen = Tally()
        for pause_s in (*PAUSES_S, None):
            try:
                yield from self._try_once(seen)
                return
            except BrokenTransfer:
                if pause_s is None:
                    raise
            except Failure as failure:
                if pause_s is None or failure.exit_code != ExitCode.TRY_LATER:
                    raise
            time.sleep(pause_s)

    def _try_once(self, seen: Tally) -> Iterator[bytes]:
        with self.fetch(self.query) as answer:
            self.next_cursor, self.gap = answer.next_cursor, answer.gap
            rows = records(answer.chunks)
            header = next(rows, None)
            if header is not None and header.rstrip(b"\r\n") != EXPORT_HEADER.rstrip(b"\n"):
                raise BrokenTransfer("the answer doesn't begin with the header of an export")
            for record in after_seen(rows, seen):
                seen.add(record)
                self.rows = seen.rows
                yield record


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote. `was_left`: files that a killed run had written became visible."""

    rows: int = 0
    files: int = 0
    gap: str | None = None
    was_left: bool = False


def export_range(
    fetch: Fetch,
    *,
    query: Query,
    window: tuple[datetime, datetime],
    targets: Targets,
    is_resuming: bool,
) -> Exported:
    """Write a window of time, one file after the other; each appears when it is whole.

    When resuming, files that an earlier run finished with the same question are left alone.
    """
    rows = files = 0
    for target, start, end in targets.windows(*window):
        asked = {**query, "start_time": _stamp(start), "end_time": _stamp(end)}
        if is_resuming and is_complete(target, dict(asked)):
            continue
        received = Received(fetch, asked)
        parts = PartSet(is_appending=False)
        try:
            _write_all(received, parts, lambda _, target=target: target)  # type: ignore[misc]
            rename_all(_with_manifests(parts.finish(), Portion(dict(asked), "", ""), False))
            files += len(parts)
            parts.close()
        except BaseException:
            parts.discard()
            raise
        rows += received.rows
    return Exported(rows, files)


def _write_all(received: Received, parts: PartSet, target_of: Callable[[bytes], Path]) -> None:
    """Write every row into its part. An answer without rows leaves no part."""
    try:
        for record in received.records():
            parts.write(target_of(record), record)
    except BrokenTransfer as error:
        raise _broken_off(received, error) from error


def _broken_off(received: Received, error: BrokenTransfer) -> TryLater:
    return TryLater(f"the export broke off after {received.rows:,} rows", why=str(error))


def export_new(
    fetch: Fetch, *, query: Query, state: ExportState, targets: Targets, at: datetime
) -> Exported:
    """Write what was committed since the state's cursor, and move it. The caller holds the lock."""
    received = Received(fetch, {**query, "after": state.cursor})
    parts = PartSet(is_appending=True)

    by_time = ByTime(targets)
    target = targets.at(at)
    try:
        _write_all(received, parts, by_time.target_of if targets.split else lambda _: target)
        portion = Portion(
            dict(query), state.cursor, received.next_cursor, state.revision + 1, received.gap
        )
        renames = _with_manifests(parts.finish(), portion, True)
    except BaseException:
        parts.discard()
        raise
    # From here on nothing is taken back: a killed run leaves the renames to the next one.
    if renames or received.next_cursor not in ("", state.cursor):
        commit(state, pending=Pending(received.next_cursor or state.cursor, renames))
    parts.close()
    return Exported(received.rows, len(parts), received.gap)


class ByTime:
    """Finds the file of a row by its time; neighbours in one span cost a comparison of bytes."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._first = self._after = b""
        self._target = Path()

    def target_of(self, record: bytes) -> Path:
        # Whole seconds of RFC 3339 in UTC sort like text, and spans begin at whole seconds.
        second = record[:SECOND_CHARS]
        if not self._first <= second < self._after:
            instant = EPOCH + timedelta(microseconds=time_us_of(record))
            first, after = self._targets.span_of(instant)
            self._first, self._after = (_stamp(i)[:SECOND_CHARS].encode() for i in (first, after))
            self._target = self._targets.at(instant)
        return self._target


def _with_manifests(
    finished: list[FinishedPart], portion: Portion, is_appending: bool
) -> list[tuple[Path, Path]]:
    """Write the manifests under temporary names too; returns all renames, each manifest last."""
    renames = []
    for part in finished:
        manifest = manifest_of(part.target)
        document: dict[str, Json] = describe(part, portion, is_appending=is_appending)
        write_synced(partial_of(manifest), json_bytes(document))
        renames += [(part.partial, part.target), (partial_of(manifest), manifest)]
    return renames


def export_stream(fetch: Fetch, *, query: Query, output: IO[bytes]) -> Received:
    """Write one answer to a stream as it comes; there is no taking back of rows that left."""
    received = Received(fetch, query)
    try:
        is_first = True
        for record in received.records():
            if is_first:
                output.write(EXPORT_HEADER)
                is_first = False
            output.write(record)
        output.flush()
    except BrokenTransfer as error:
        raise _broken_off(received, error) from error
    return received


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
