"""Routes of metric definitions."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from daemon.domain.metrics import Metric as Definition
from daemon.store.metrics import MetricFilter
from daemon.transport.answers import json_answer
from daemon.transport.auth import MetricsWriter, Reader
from daemon.transport.paging import Limit, Offset, Text
from daemon.transport.paths import PathId
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.metrics import (
    DataType,
    Metric,
    MetricCreate,
    MetricDeleted,
    MetricList,
    MetricPatch,
    MetricType,
)

router = new_router(tags=["metrics"])


@router.post("/metrics", status_code=201, response_model=Metric, operation_id="create_metric")
async def create_metric(body: MetricCreate, who: MetricsWriter, parts: Parts) -> Response:
    """Define a metric.

    Without `retention_days` it takes over what an earlier definition left, and says so.
    """
    created = await parts.metrics.create(_given(body), by=who)
    answer = _shown(created.metric)
    if created.retention_note:
        answer["retention_note"] = created.retention_note
    return json_answer(answer, status=201)


@router.get("/metrics", response_model=MetricList, operation_id="list_metrics")
async def list_metrics(
    who: Reader,
    parts: Parts,
    data_type: DataType | None = None,
    metric_type: MetricType | None = None,
    q: Text | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Definitions by name; `q` is part of the name or description."""
    filters = {"data_type": data_type, "metric_type": metric_type, "q": q}
    wanted = MetricFilter(data_type, metric_type, q)
    metrics, total = await parts.metrics.page(wanted, by=who, limit=limit, offset=offset)
    return json_answer(
        {"metrics": metrics, "count": len(metrics), "total": total,
         "filters": {name: value for name, value in filters.items() if value is not None},
         "limit": limit, "offset": offset}
    )  # fmt: skip


@router.get("/metrics/{metric_name}", response_model=Metric, operation_id="show_metric")
async def show_metric(metric_name: PathId, who: Reader, parts: Parts) -> Response:
    """One definition."""
    return json_answer(await parts.metrics.show(metric_name, by=who))


@router.patch("/metrics/{metric_name}", response_model=Metric, operation_id="change_metric")
async def change_metric(
    metric_name: PathId, body: MetricPatch, who: MetricsWriter, parts: Parts
) -> Response:
    """Change the given fields.

    The name never changes, the data type only while there is no data.
    """
    return json_answer(await parts.metrics.change(metric_name, _given(body), by=who))


@router.delete("/metrics/{metric_name}", response_model=MetricDeleted, operation_id="delete_metric")
async def delete_metric(metric_name: PathId, who: MetricsWriter, parts: Parts) -> Response:
    """Remove a definition; stored points stay, and their retention goes on."""
    days = await parts.metrics.delete(metric_name, by=who)
    message = f"{metric_name} is no longer defined; its points are kept for {days} days"
    return json_answer({"success": True, "message": message})


def _given(body: MetricCreate | MetricPatch) -> dict[str, Any]:
    return body.model_dump(exclude_unset=True, mode="json")


def _shown(metric: Definition) -> dict[str, Any]:
    return {name: getattr(metric, name) for name in Definition.__slots__}
