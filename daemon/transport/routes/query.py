"""Routes that read history: raw points, buckets, and one metric over all devices."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query as QueryParameter
from starlette.responses import Response

from daemon.domain.aggregates import Aggregation
from daemon.domain.errors import Invalid, Malformed
from daemon.domain.page_cursors import PageCursor, parse_page_cursor
from daemon.service.series import PAGE_POINTS_MAX, PointQuery, PooledQuery
from daemon.transport.auth import Reader
from daemon.transport.json_pages import json_bytes, page_json, pooled_json
from daemon.transport.leaving import long_read
from daemon.transport.paths import PathId
from daemon.transport.reading import TimeUs, parse_us, zone_of
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.queries import AggregatedResult, Query, QueryResult, TimeRange

router = new_router(tags=["reading"])

_HOUR_US = 3_600_000_000
RANGES_US = {
    TimeRange.HOUR: _HOUR_US,
    TimeRange.SIX_HOURS: 6 * _HOUR_US,
    TimeRange.DAY: 24 * _HOUR_US,
    TimeRange.WEEK: 7 * 24 * _HOUR_US,
    TimeRange.MONTH: 30 * 24 * _HOUR_US,
    TimeRange.QUARTER: 90 * 24 * _HOUR_US,
}
Interval = Annotated[int, QueryParameter(ge=1, le=366 * 86_400, description="seconds")]
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_POINTS_MAX)]
Cursor = Annotated[str, QueryParameter(json_schema_extra={"format": "page-cursor"})]
Zone = Annotated[str, QueryParameter(max_length=64, json_schema_extra={"format": "iana-timezone"})]
Name = Annotated[str, QueryParameter(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:/-]+$")]


@router.post("/query", response_model=QueryResult, operation_id="query")
@long_read
async def query(body: Query, who: Reader, parts: Parts) -> Response:
    """Points by time, then device and metric, raw or in buckets of one series each."""
    page = await parts.reads.series.query(who, point_query(body))
    return json_bytes(page_json(page))


@router.get(
    "/devices/{device_id}/metrics/{metric_name}/range",
    response_model=QueryResult,
    operation_id="read_range",
)
@long_read
async def read_range(
    device_id: PathId,
    metric_name: PathId,
    who: Reader,
    parts: Parts,
    time_range: TimeRange = TimeRange.DAY,
    aggregation: Aggregation | None = None,
    interval: Interval | None = None,
    limit: Limit = PAGE_POINTS_MAX,
    cursor: Cursor | None = None,
) -> Response:
    """The same answer for one series, over a window that ends now."""
    end_us = parts.clock.now_us() + 1
    wanted = PointQuery(
        (metric_name,),
        end_us - 1 - RANGES_US[time_range],
        end_us,
        devices=(device_id,),
        aggregation=aggregation,
        interval_s=interval,
        limit=limit,
        cursor=None if cursor is None else _cursor_of(cursor),
    )
    return json_bytes(page_json(await parts.reads.series.query(who, wanted)))


@router.get("/aggregated", response_model=AggregatedResult, operation_id="read_aggregated")
@long_read
async def read_aggregated(
    metric_name: Name,
    aggregation_type: Aggregation,
    interval: Interval,
    start_time: TimeUs,
    end_time: TimeUs,
    who: Reader,
    parts: Parts,
    device_id: Name | None = None,
    timezone: Zone | None = None,
) -> Response:
    """Buckets of one metric, over one device or pooled over all."""
    wanted = PooledQuery(
        metric_name,
        aggregation_type,
        interval,
        start_time,
        end_time,
        device_id,
        zone_of(timezone),
    )
    return json_bytes(pooled_json(await parts.reads.series.pooled(who, wanted)))


def _cursor_of(text: str) -> PageCursor:
    """A cursor in a query string. Raises Malformed, since it is no part of a body."""
    try:
        return parse_page_cursor(text)
    except Invalid as error:
        raise Malformed(error.detail, code=error.error_code) from error


def point_query(body: Query) -> PointQuery:
    """The query of a body."""
    return PointQuery(
        tuple(dict.fromkeys(body.metrics)),
        parse_us(body.start_time),
        parse_us(body.end_time),
        devices=tuple(dict.fromkeys(body.devices)) if body.devices else None,
        aggregation=None if body.aggregation is None else Aggregation(body.aggregation),
        interval_s=body.interval,
        tags=body.filters.tags if body.filters else {},
        limit=body.limit,
        cursor=None if body.cursor is None else parse_page_cursor(body.cursor),
        is_strict=body.strict,
        groups=tuple(dict.fromkeys(body.groups or ())),
    )
