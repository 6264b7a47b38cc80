"""Batches to the server, on a few threads, with the answers in the order of the file."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetryctl.failures import Failure
from telemetryctl.files.batches import Batch, Request, refusals_in, requests_of
from telemetryctl.files.points import Refusal
from telemetryctl.output.exit_codes import ExitCode
from telemetryctl.transfer.pace import Pace

if TYPE_CHECKING:
    from telemetryctl.client.http import Client
    from telemetryctl.client.wire import Document

# A daemon that restarts is back within seconds; one that stays away is the user's to know.
PATIENCE_S = (1.0, 2.0, 4.0, 8.0, 15.0)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a batch: points stored, and points refused by the server."""

    batch: Batch
    stored: int
    refused: list[Refusal]


@dataclass(frozen=True, slots=True)
class Sending:
    """How batches are sent. Their ids begin with `prefix`; more `jobs` give up their order."""

    prefix: str
    jobs: int = 1
    compression: str | None = "gzip"
    is_dry_run: bool = False
    pace: Pace | None = None


class Uploader:
    """Sends batches. Its threads die with the process, so that Ctrl-C never waits for an answer."""

    def __init__(self, client: Client, sending: Sending) -> None:
        self._client = client
        self._sending = sending
        self._has_answered = False
        self._queue: queue.SimpleQueue[tuple[Batch, Future[Sent]] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(sending.jobs)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, batches: Iterable[Batch]) -> Iterator[Sent]:
        """Send all; yields in their order. At most two batches a thread are in memory.

        Raises what ended the transfer; batches yielded before are committed.
        """
        under_way: deque[Future[Sent]] = deque()
        for batch in batches:
            if self._sending.pace is not None:
                self._sending.pace.wait(batch.points)
            future: Future[Sent] = Future()
            under_way.append(future)
            self._queue.put((batch, future))
            while len(under_way) >= 2 * self._sending.jobs:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def close(self) -> None:
        """Let the threads end after what they are doing."""
        for _ in self._threads:
            self._queue.put(None)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            batch, future = item
            try:
                future.set_result(self._send_batch(batch))
            except BaseException as error:
                future.set_exception(error)

    def _send_batch(self, batch: Batch) -> Sent:
        stored, refused = 0, []
        for request in requests_of(batch, prefix=self._sending.prefix):
            answer = self._patiently(request)
            stored += int(answer.get("ingested_count") or 0)
            refused += refusals_in(request, answer)
        return Sent(batch, stored, refused)

    def _patiently(self, request: Request) -> Document:
        """Send one request, again when the server went away: its id makes that safe.

        A server that never answered is more likely a wrong address, so that fails at once.
        """
        for pause_s in PATIENCE_S:
            try:
                answer = self._send(request)
            except Failure as failure:
                if failure.exit_code != ExitCode.TRY_LATER or not self._has_answered:
                    raise
                time.sleep(pause_s)
            else:
                self._has_answered = True
                return answer
        return self._send(request)

    def _send(self, request: Request) -> Document:
        if request.kind == "columns":
            return self._client.send_columns(
                request.body["series"],  # type: ignore[arg-type]
                batch_id=request.batch_id,
                is_dry_run=self._sending.is_dry_run,
                compression=self._sending.compression,
            )
        return self._client.send_bulk(
            request.body,  # type: ignore[arg-type]
            is_dry_run=self._sending.is_dry_run,
            compression=self._sending.compression,
        )
