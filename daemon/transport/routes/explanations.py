"""Routes that say why."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from daemon.transport.answers import json_answer
from daemon.transport.auth import Reader
from daemon.transport.leaving import long_read
from daemon.transport.reading import TimeUs
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.explanations import AlertExplanation, RuleExplanation

router = new_router(tags=["explanations"])

Id = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-z_]+$")]
DeviceId = Annotated[str, Query(max_length=128)]


@router.get(
    "/alerts/rules/{rule_id}/explain", response_model=RuleExplanation, operation_id="explain_rule"
)
@long_read
async def explain_rule(
    rule_id: Id, device_id: DeviceId, who: Reader, parts: Parts, at: TimeUs | None = None
) -> Response:
    """Why a rule fires or not on a device, now or at a time."""
    return json_answer(await parts.explaining.rule(rule_id, device_id=device_id, at_us=at, by=who))


@router.get(
    "/alerts/{alert_id}/explain", response_model=AlertExplanation, operation_id="explain_alert"
)
@long_read
async def explain_alert(alert_id: Id, who: Reader, parts: Parts) -> Response:
    """Why an alert came and went, and what became of each message."""
    return json_answer(await parts.explaining.alert(alert_id, by=who))
