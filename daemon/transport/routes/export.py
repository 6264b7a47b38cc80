"""The route of CSV exports: the first rows are there before the header goes out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, cast

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from daemon.domain.access import Principal
from daemon.domain.csv_rows import HEADER
from daemon.domain.errors import Malformed
from daemon.service.changes import ChangesFilter
from daemon.transport.auth import Exporter
from daemon.transport.leaving import ends_with_client
from daemon.transport.problems import PROBLEM_MEDIA_TYPE, problem
from daemon.transport.reading import (
    ALL_NAMES,
    After,
    GroupNames,
    NameListOrAll,
    TimeUs,
    filter_of,
)
from daemon.transport.request_id import request_id_of
from daemon.transport.routing import new_router
from daemon.transport.services import Parts, Services

router = new_router(tags=["reading"])

SETTLE_S_MAX = 86_400
Settle = Annotated[float, Query(ge=0, le=SETTLE_S_MAX, allow_inf_nan=False, description="seconds")]


class CsvResponse(StreamingResponse):
    """Rows as they are read; the source is closed when the client goes away.

    A failure in between ends the connection without the last chunk, so that no cut is hidden.
    """

    media_type = "text/csv"

    def __init__(self, chunks: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        self._chunks = chunks
        super().__init__(chunks, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await cast("AsyncGenerator[bytes, None]", self._chunks).aclose()


@router.get(
    "/export/csv",
    operation_id="export_csv",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}}, 404: {"description": "There is no row."}},
)
@ends_with_client
async def export_csv(
    request: Request,
    who: Exporter,
    parts: Parts,
    device_ids: NameListOrAll = None,
    metric_names: NameListOrAll = None,
    groups: GroupNames = None,
    start_time: TimeUs | None = None,
    end_time: TimeUs | None = None,
    after: After | None = None,
    settle_s: Settle = 0.0,
    raw: bool = False,
) -> Response:
    """All points of a range by series and time, or with `after` what came in since."""
    wanted = filter_of(request, _unless_all(device_ids), _unless_all(metric_names), groups)
    if after is not None:
        return await _arrivals(request, who, parts, wanted, (after, settle_s, raw))
    if start_time is None or end_time is None:
        raise Malformed("start_time and end_time are needed, or after")
    is_named = wanted.devices is not None or wanted.metrics is not None or wanted.groups
    if not is_named and ALL_NAMES not in (device_ids, metric_names):
        # The whole table is never what an empty variable of a script meant.
        raise Malformed(
            "device_ids, metric_names or groups are needed; metric_names=* asks for everything",
            code="nothing_named",
        )
    chunks = parts.reads.exports.of_range(
        who, wanted, start_us=start_time, end_us=end_time, is_raw=raw
    )
    return await _answer(request, chunks, headers={})


def _unless_all(names: list[str] | None) -> list[str] | None:
    return None if names == ALL_NAMES else names


async def _arrivals(
    request: Request,
    who: Principal,
    parts: Services,
    wanted: ChangesFilter,
    options: tuple[str, float, bool],
) -> Response:
    after, settle_s, is_raw = options
    found = await parts.reads.exports.arrivals(
        who, wanted, after=after, settle_s=settle_s, is_raw=is_raw
    )
    headers = {"X-Next-Cursor": str(found.next_cursor)}
    if found.gap is not None:
        headers["X-Gap"] = f"{found.gap.start}..{found.gap.end}"
    return await _answer(request, found.chunks, headers=headers)


async def _answer(
    request: Request, chunks: AsyncIterator[bytes], *, headers: dict[str, str]
) -> Response:
    first = await anext(chunks, None)
    if first is None:
        return _nothing(request, headers)
    headers = headers | {
        "Content-Disposition": 'attachment; filename="telemetry.csv"',
        "Cache-Control": "no-store",
    }
    return CsvResponse(_with_header(first, chunks), headers)


async def _with_header(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield HEADER + first
        async for chunk in chunks:
            yield chunk
    finally:
        await cast("AsyncGenerator[bytes, None]", chunks).aclose()


def _nothing(request: Request, headers: dict[str, str]) -> Response:
    """404; how far was looked stands in the headers and in the body."""
    body = problem(
        404,
        code="not_found",
        detail="There is no point to export.",
        request_id=request_id_of(request.scope),
        members={
            "next_cursor": headers.get("X-Next-Cursor"),
            "gap": headers.get("X-Gap"),
        },
    )
    return Response(body, 404, {"Cache-Control": "no-store", **headers}, PROBLEM_MEDIA_TYPE)
