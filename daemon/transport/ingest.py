"""The four ingest routes as bare ASGI, in front of everything else: no framework between the socket
and the columns.

They are documented in OpenAPI by transport/openapi. The path is matched on its raw bytes, so a
device id may hold `%2F`.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qs, unquote

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.domain.access import Principal
from daemon.domain.admission import Admission
from daemon.domain.batches import BatchRecord
from daemon.domain.budgets import RateClass
from daemon.domain.errors import (
    BatchStored,
    CatalogStale,
    Invalid,
    Malformed,
    StoreUnavailable,
)
from daemon.domain.points import Draft, Refusal, is_name
from daemon.service.ingest import Ingest
from daemon.service.series_budget import Asker
from daemon.tracing import CAUSE
from daemon.transport import columns, decode
from daemon.transport.access_log import AccessLog, Answered, about
from daemon.transport.auth import address_of
from daemon.transport.bodies import GONE_STATUS, ClientGone, decompress, read_body
from daemon.transport.compression import BYTES_MIN, pack
from daemon.transport.errors import answer_of
from daemon.transport.idempotency import REPLAYED, key_in
from daemon.transport.limits import Gate
from daemon.transport.pace import Pace
from daemon.transport.plain import queue_plain, stored_answer
from daemon.transport.reach import refuse_unseen
from daemon.transport.request_id import cause_of, id_headers
from daemon.transport.security_headers import NO_STORE
from daemon.transport.signatures import check_body
from daemon.transport.wire import Request

PREFIX = b"/api/v1/telemetry/"
CATALOG_TRIES_MAX = 5
_JSON = (b"content-type", b"application/json")


@dataclass(slots=True)
class Noted:
    """What the log is to know of a request."""

    principal: Principal | None = None
    points: int = 0
    devices: int = 0
    is_replay: bool = False
    """What was answered is the answer to an earlier request with its Idempotency-Key."""


@dataclass(slots=True)
class Call:
    """What the routes know of a request; its path is what `batch_id` is scoped to, beside the
    key. `repeat_key` is its Idempotency-Key, which stands for a `batch_id`."""

    principal: Principal
    scope: Scope
    device_id: str
    body: bytes
    encoding: str | None
    dry_run: bool
    noted: Noted
    repeat_key: str | None = None


Route = Callable[["IngestRoutes", Call], Awaitable[bytes]]


class IngestRoutes:
    """Serves the ingest routes and passes every other request on."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        ingest: Ingest,
        gate: Gate,
        access: AccessLog,
    ) -> None:
        self._app = app
        self.ingest = ingest
        self.gate = gate
        self._pace = Pace()
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        found = route_of(scope["raw_path"])
        if found is None:
            await self._app(scope, receive, send)
            return
        route, device_id = found
        cause, noted = cause_of(scope), Noted()
        CAUSE.set(cause)
        began_s = self.ingest.clock.monotonic_s()
        headers: list[tuple[bytes, bytes]] = []
        try:
            status, body = 200, await self._answer((route, device_id), scope, receive, noted=noted)
        except ClientGone:
            self._note(route, scope, noted, Answered(GONE_STATUS, self._since(began_s), 0))
            return
        except Exception as error:
            self.ingest.counters.failed_requests += 1
            answer = answer_of(error, request_id=cause.request_id)
            status, body, headers = answer.status, answer.body, answer.raw_headers()
        if not headers:
            headers = [_JSON, (b"content-length", str(len(body)).encode())]
        if len(body) >= BYTES_MIN:
            body, headers = await pack(body, headers, wanted=scope["headers"])
        headers += [*id_headers(scope), NO_STORE, *self.gate.headers(scope)]
        if noted.is_replay:
            headers.append(REPLAYED)
        self._note(route, scope, noted, Answered(status, self._since(began_s), len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _since(self, began_s: float) -> float:
        return self.ingest.clock.monotonic_s() - began_s

    def _note(self, route: Route, scope: Scope, noted: Noted, answered: Answered) -> None:
        cause = cause_of(scope)
        self.access.note(
            about(CALLS[route], scope["path"], noted.principal, address_of(scope)),
            self.access.as_ended(scope, answered)._replace(
                points=noted.points, devices=noted.devices
            ),
            request_id=cause.request_id,
            trace_id=cause.trace.trace_id,
        )

    async def _answer(
        self, found: tuple[Route, str], scope: Scope, receive: Receive, *, noted: Noted
    ) -> bytes:
        route, device_id = found
        self.ingest.counters.requests += 1
        encoding = length = None
        for name, value in scope["headers"]:
            if name == b"content-encoding":
                encoding = value.decode("latin-1").strip().lower()
            elif name == b"content-length":
                length = value
        principal = noted.principal = await self.gate.enter(scope, RateClass.INGEST)
        principal.require("ingest")
        body = await read_body(receive, content_length=length)
        if principal.signing_key is not None:
            check_body(scope, body)
        if route is not IngestRoutes.single:
            await self._pace.turn()
        encoding = None if encoding in (None, "", "identity") else encoding
        if encoding is not None:
            body = decompress(body, encoding)
        dry_run = bool(scope["query_string"]) and _dry_run(scope["query_string"])
        repeat_key = key_in(scope["headers"])
        call = Call(principal, scope, device_id, body, encoding, dry_run, noted, repeat_key)
        return await route(self, call)

    # -- the four calls ----------------------------------------------------------------------

    async def single(self, call: Call) -> bytes:
        """Store one point; a refused one is a 422."""
        metric_name = await self._store_plain(call)
        if metric_name is not None:
            return stored_answer(call.device_id, metric_name)
        _check_device(call.device_id)
        draft = decode.decode_point(call.body, call.device_id)

        def answer(admissions: list[Admission]) -> dict[str, Any]:
            for refusal in admissions[0].refusals:
                first = {"pointer": "", "code": refusal.code, "detail": refusal.detail}
                raise Invalid(refusal.detail, code=refusal.code, errors=[first])
            said = stored_answer(call.device_id, draft.metrics[0], is_dry_run=call.dry_run)
            return cast("dict[str, Any]", orjson.loads(said))

        if call.repeat_key is not None and not call.dry_run:
            return await self._store_once(call, call.repeat_key, [draft], answer)
        return _checked(answer(await self._store(call, [draft])))

    async def _store_plain(self, call: Call) -> str | None:
        """Store a point that needs no second look, and return its metric; None leaves it undone."""
        is_plain = call.principal.sees_everything and call.repeat_key is None
        if call.dry_run or not is_plain:
            return None
        queued = queue_plain(self.ingest, call.device_id, call.body)
        if queued is None:
            return None
        metric_name, done = queued
        try:
            await done
        except CatalogStale:
            # Nothing was written; the long way reloads the catalogue.
            return None
        self._count(call, 1, devices=1)
        return metric_name

    async def batch(self, call: Call) -> bytes:
        """Store up to 1,000 points of one device."""
        _check_device(call.device_id)
        request = decode.decode_batch(
            call.body, call.device_id, self.ingest.catalog.registry.metrics_of(call.device_id)
        )

        def answer(admissions: list[Admission]) -> dict[str, Any]:
            return _summary(admissions[0])

        return await self._store_batch(call, request, answer)

    async def bulk(self, call: Call) -> bytes:
        """Store up to 10,000 points of several devices."""
        request = decode.decode_bulk(call.body)

        def answer(admissions: list[Admission]) -> dict[str, Any]:
            results = {
                device_id: _summary(admission)
                for (device_id, _), admission in zip(request.drafts, admissions, strict=True)
            }
            parts = results.values()
            counts = {
                name: sum(part[name] for part in parts)
                for name in ("ingested_count", "failed_count", "total_count")
            }
            return {"success": counts["ingested_count"] > 0, **counts, "results": results}

        return await self._store_batch(call, request, answer)

    async def columns(self, call: Call) -> bytes:
        """Store up to 100,000 points in columns; an error's index is [series, point]."""
        request = columns.decode_columns(call.body)
        starts = [0]
        for count in request.counts or []:
            starts.append(starts[-1] + count)

        def answer(admissions: list[Admission]) -> dict[str, Any]:
            return _summary(admissions[0], starts=starts)

        return await self._store_batch(call, request, answer)

    # -- storing -----------------------------------------------------------------------------

    async def _store_batch(
        self,
        call: Call,
        request: Request,
        answer: Callable[[list[Admission]], dict[str, Any]],
    ) -> bytes:
        if request.compression is not None and request.compression != call.encoding:
            raise Invalid(
                "compression does not agree with Content-Encoding", code="bad_compression"
            )
        drafts = [draft for _, draft in request.drafts]
        named = {} if request.batch_id is None else {"batch_id": request.batch_id}
        batch_id = request.batch_id or call.repeat_key

        def whole(admissions: list[Admission]) -> dict[str, Any]:
            return answer(admissions) | named

        if batch_id is None or call.dry_run:
            return _checked(whole(await self._store(call, drafts)))
        return await self._store_once(call, batch_id, drafts, whole)

    async def _store_once(
        self,
        call: Call,
        batch_id: str,
        drafts: list[Draft],
        answer: Callable[[list[Admission]], dict[str, Any]],
    ) -> bytes:
        """Store a batch with an id: the answer is committed with the points, and a repeat gets it
        again."""
        key = BatchRecord(
            f"{call.principal.key_id}:{call.scope['path']}",
            batch_id,
            hashlib.sha256(call.body).digest(),
            b"",
        )
        for _ in range(2):
            stored = await self._stored(key, call)
            if stored is not None:
                call.noted.is_replay = call.repeat_key == batch_id
                return _checked(orjson.loads(stored.answer) | {"duplicate": True})

            try:

                def record(admissions: list[Admission]) -> BatchRecord:
                    body = orjson.dumps(answer(admissions))
                    return BatchRecord(key.scope, batch_id, key.payload_hash, body)

                admissions = await self._store(call, drafts, record=record)
                return _checked(answer(admissions))
            except BatchStored:
                continue
            finally:
                self.ingest.release(key)
        raise StoreUnavailable("the same batch_id is being stored elsewhere")

    async def _stored(self, key: BatchRecord, call: Call) -> BatchRecord | None:
        """What was stored under that id. Raises Invalid for another payload, in the words of who
        named it."""
        try:
            return await self.ingest.stored(key)
        except Invalid as error:
            if key.batch_id != call.repeat_key:
                raise
            said = "this Idempotency-Key was sent with another request"
            raise Invalid(said, code="idempotency_key_reused") from error

    async def _store(
        self,
        call: Call,
        drafts: list[Draft],
        *,
        record: Callable[[list[Admission]], BatchRecord] | None = None,
    ) -> list[Admission]:
        """Admit the drafts and commit what was admitted in one block; anew when the catalogue has
        moved on."""
        refuse_unseen(call.principal, drafts)
        await self._charge(call, sum(map(len, drafts)))
        by = Asker(call.principal, address_of(call.scope))
        for _ in range(CATALOG_TRIES_MAX):
            version = self.ingest.catalog_version
            admissions = [await self.ingest.admit(d, dry_run=call.dry_run, by=by) for d in drafts]
            self.ingest.counters.count_refused(
                refusal.code for a in admissions for refusal in a.refusals
            )
            blocks = [a.block for a in admissions if a.block is not None]
            if not blocks or call.dry_run:
                return admissions
            try:
                await self.ingest.commit(
                    blocks,
                    catalog_version=version,
                    batch=None if record is None else record(admissions),
                )
                devices = len({device_id for draft in drafts for device_id in draft.devices})
                self._count(call, sum(map(len, blocks)), devices=devices)
                return admissions
            except CatalogStale:
                # Unless somebody has read it anew meanwhile.
                if self.ingest.catalog_version == version:
                    await self.ingest.reload()
        raise StoreUnavailable("the catalogue changes too often just now")

    async def _charge(self, call: Call, points: int) -> None:
        """Count the points of a request, of which the first was counted when it came. Raises
        RateLimited."""
        if points > 1:
            await self.gate.charge(call.scope, call.principal, RateClass.INGEST, amount=points - 1)

    def _count(self, call: Call, points: int, *, devices: int) -> None:
        call.noted.points, call.noted.devices = points, devices


_DEVICE = "/api/v1/telemetry/devices/{device_id}/telemetry"
CALLS: dict[Route, tuple[str, str]] = {
    IngestRoutes.single: (_DEVICE, "POST"),
    IngestRoutes.batch: (f"{_DEVICE}/batch", "POST"),
    IngestRoutes.bulk: ("/api/v1/telemetry/bulk", "POST"),
    IngestRoutes.columns: ("/api/v1/telemetry/columns", "POST"),
}
"""Template and method of each route, as figures name them."""


def route_of(raw_path: bytes) -> tuple[Route, str] | None:
    """The route of a path and the device id in it; None when the path is not an ingest route."""
    if not raw_path.startswith(PREFIX):
        return None
    parts = raw_path[len(PREFIX) :].split(b"/")
    match parts:
        case [b"devices", device_id, b"telemetry"]:
            return IngestRoutes.single, _device(device_id)
        case [b"devices", device_id, b"telemetry", b"batch"]:
            return IngestRoutes.batch, _device(device_id)
        case [b"bulk"]:
            return IngestRoutes.bulk, ""
        case [b"columns"]:
            return IngestRoutes.columns, ""
    return None


def _device(raw: bytes) -> str:
    return unquote(raw.decode("latin-1"), errors="replace")


def _check_device(device_id: str) -> None:
    """Raises Malformed; of a known series nobody asks."""
    if not is_name(device_id):
        raise Malformed("The path value device_id is not valid: 1 to 128 of A-Z a-z 0-9 _ . : / -.")


def _dry_run(query_string: bytes) -> bool:
    values = parse_qs(query_string.decode("latin-1")).get("dry_run", ["false"])
    if values[-1].lower() not in ("true", "false", "1", "0"):
        raise Malformed("dry_run must be true or false", code="bad_parameter")
    return values[-1].lower() in ("true", "1")


def _summary(admission: Admission, *, starts: list[int] | None = None) -> dict[str, Any]:
    """The counts and errors of one batch; with `starts`, an index is [series, point]."""
    return {
        "success": admission.admitted > 0,
        "ingested_count": admission.admitted,
        "failed_count": len(admission.refusals),
        "total_count": admission.total,
        "errors": [_error(refusal, starts) for refusal in admission.refusals],
    }


def _error(refusal: Refusal, starts: list[int] | None) -> dict[str, Any]:
    index: int | list[int] = refusal.row
    if starts is not None:
        series = _series_at(starts, refusal.row)
        index = [series, refusal.row - starts[series]]
    return {
        "index": index,
        "code": refusal.code,
        "detail": refusal.detail,
        "retryable": refusal.retryable,
    }


def _series_at(starts: list[int], row: int) -> int:
    """Which series the row is of; empty series have equal starts, and the last of those holds the
    row."""
    return bisect_right(starts, row) - 1


def _checked(body: dict[str, Any]) -> bytes:
    """The answer, or Invalid with the same body when no point was stored (contract, section 3)."""
    if not body["success"]:
        raise Invalid("no point of the request was stored", code="nothing_stored", members=body)
    return orjson.dumps(body)
