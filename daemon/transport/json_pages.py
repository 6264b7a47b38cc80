"""The bodies of read answers: columns from domain/json_points, the rest by orjson."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

from daemon.domain.json_points import context_of, instant, points_parts
from daemon.domain.texts import number_texts, time_texts
from daemon.service.changes import ChangesPage
from daemon.service.latest import Newest
from daemon.service.series import PointPage, PooledBuckets


def page_json(page: PointPage) -> bytes:
    """The answer of query and range (contract 5)."""
    query = page.query
    before = {"device_id": page.device_id, "metric_name": page.metric_name}
    after = {
        "count": len(page.block),
        "aggregation": query.aggregation,
        "interval": query.interval_s,
        "start_time": instant(query.start_us),
        "end_time": instant(query.end_us),
        "series": [
            {"device_id": name.device_id, "metric_name": name.metric_name, "count": count}
            for name, count in page.counts
        ],
        "truncated": page.next_cursor is not None,
        "next_cursor": page.next_cursor,
    }
    return _around(before, points_parts(page.block, page.names), after)


def pooled_json(found: PooledBuckets) -> bytes:
    """The answer of aggregated (contract 5)."""
    query = found.query
    before = {
        "metric_name": query.metric_name,
        "aggregation_type": query.aggregation,
        "interval": query.interval_s,
        "device_id": query.device_id,
    }
    after = {
        "count": len(found.starts_us),
        "start_time": instant(query.start_us),
        "end_time": instant(query.end_us),
    }
    return _around(before, _buckets_parts(found), after)


def changes_json(page: ChangesPage) -> bytes:
    """The answer of changes (contract 5)."""
    gap = page.gap
    said = gap and {"from": str(gap.start), "to": str(gap.end), "reason": gap.reason}
    after = {"cursor": str(page.cursor), "gap": said}
    return _around({}, points_parts(page.block, page.names), after)


def newest_dict(newest: Newest, *, is_core: bool = False) -> dict[str, Any]:
    """One newest point (contract 5); `is_core` leaves out what a map does not need."""
    context = context_of(newest.context)
    core = {
        "value": newest.value,
        "unit": context.get("unit"),
        "timestamp": instant(newest.time_us),
        "age_seconds": round(newest.age_s, 3),
    }
    if is_core:
        return core
    return {
        "device_id": newest.device_id,
        "metric_name": newest.metric_name,
        **core,
        "tags": context.get("tags") or {},
        "metadata": context.get("metadata") or {},
        "changed_at": instant(newest.changed_at_us),
        "previous_value": newest.previous_value,
    }


def _buckets_parts(found: PooledBuckets) -> list[bytes]:
    n = len(found.starts_us)
    if n == 0:
        return [b"[]"]
    counts = number_texts(found.aggregated.counts.astype(np.float64))
    parts = [b',"count":'] * (4 * n)
    parts[0::4] = time_texts(found.starts_us)
    parts[1::4] = [b'","value":' + text for text in number_texts(found.aggregated.values)]
    parts[3::4] = [text + b'},{"timestamp":"' for text in counts]
    parts[0] = b'[{"timestamp":"' + parts[0]
    parts[-1] = counts[-1] + b"}]"
    return parts


def _around(before: dict[str, Any], points: list[bytes], after: dict[str, Any]) -> bytes:
    start = orjson.dumps(before)[:-1]
    comma = b"," if before else b""
    points[0] = start + comma + b'"data_points":' + points[0]
    points[-1] += b"," + orjson.dumps(after)[1:]
    return b"".join(points)


def json_bytes(body: bytes) -> Response:
    """An answer that is JSON already; reads are private to their key."""
    return Response(body, 200, {"Cache-Control": "no-store"}, "application/json")
