"""Routes of alert rules."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query
from starlette.responses import Response

from daemon.domain.rule_request import shown
from daemon.service.rules import Judged, as_shown
from daemon.store.rules import RuleFilter
from daemon.transport.answers import json_answer
from daemon.transport.auth import AlertsWriter, Reader
from daemon.transport.paging import Limit, Offset, Text
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.rules import (
    Findings,
    Level,
    Rule,
    RuleChanged,
    RuleCreate,
    RuleDeleted,
    RuleEnable,
    RuleLint,
    RuleList,
    RulePatch,
    RulePreview,
)

router = new_router(tags=["rules"])

RuleId = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-z_]+$")]
Strict = Annotated[bool, Query(description="refuse a rule that lint finds an error in")]


@router.post("/alerts/rules", status_code=201, response_model=Rule, operation_id="create_rule")
async def create_rule(
    body: RuleCreate, who: AlertsWriter, parts: Parts, strict: Strict = False
) -> Response:
    """Make a rule; the answer holds what lint found."""
    judged = await parts.rules.create(_given(body), by=who, strict=strict)
    return json_answer(_with_findings(judged), status=201)


@router.get("/alerts/rules", response_model=RuleList, operation_id="list_rules")
async def list_rules(
    who: Reader,
    parts: Parts,
    enabled: bool | None = None,
    level: Level | None = None,
    metric_name: Text | None = None,
    name: Text | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Rules by name."""
    wanted = RuleFilter(enabled, level, metric_name, name)
    rules, total = await parts.rules.page(wanted, by=who, limit=limit, offset=offset)
    filters = {"enabled": enabled, "level": level, "metric_name": metric_name, "name": name}
    return json_answer(
        {"rules": [shown(rule) for rule in rules], "count": len(rules), "total": total,
         "filters": {name: value for name, value in filters.items() if value is not None},
         "limit": limit, "offset": offset}
    )  # fmt: skip


@router.post("/alerts/rules/lint", response_model=Findings, operation_id="lint_rule")
async def lint_rule(body: RuleLint, who: Reader, parts: Parts) -> Response:
    """What there is to say of a rule; nothing is stored."""
    fields = _given(body)
    rule_id = fields.pop("rule_id", None)
    findings = await parts.rules.lint(fields, rule_id=rule_id, by=who)
    return json_answer({"findings": [as_shown(f) for f in findings], "count": len(findings)})


@router.get("/alerts/rules/{rule_id}", response_model=Rule, operation_id="show_rule")
async def show_rule(rule_id: RuleId, who: Reader, parts: Parts) -> Response:
    """One rule."""
    return json_answer(shown(await parts.rules.show(rule_id, by=who)))


@router.patch("/alerts/rules/{rule_id}", response_model=RuleChanged, operation_id="change_rule")
async def change_rule(
    rule_id: RuleId, body: RulePatch, who: AlertsWriter, parts: Parts, strict: Strict = False
) -> Response:
    """Change the given fields; open alerts end when the rule decides otherwise than before."""
    judged = await parts.rules.change(rule_id, _given(body), by=who, strict=strict)
    return json_answer(_changed(judged, f"rule {judged.rule.name} is changed"))


@router.post(
    "/alerts/rules/{rule_id}/preview", response_model=RulePreview, operation_id="preview_rule"
)
async def preview_rule(rule_id: RuleId, body: RulePatch, who: Reader, parts: Parts) -> Response:
    """What a change would do to the open alerts, and what lint says of it; nothing is changed."""
    judged, decides_anew = await parts.rules.preview(rule_id, _given(body), by=who)
    findings = [as_shown(finding) for finding in judged.findings]
    return json_answer(
        {"rule_id": rule_id, "decides_anew": decides_anew, "closed_alerts": judged.ended,
         "findings": findings}
    )  # fmt: skip


@router.put(
    "/alerts/rules/{rule_id}/enable", response_model=RuleChanged, operation_id="enable_rule"
)
async def enable_rule(
    rule_id: RuleId, body: RuleEnable, who: AlertsWriter, parts: Parts
) -> Response:
    """Turn a rule on or off, at once; off ends its open alerts."""
    judged = await parts.rules.change(rule_id, {"enabled": body.enabled}, by=who)
    state = "enabled" if body.enabled else "disabled"
    return json_answer(_changed(judged, f"rule {judged.rule.name} is {state}"))


@router.delete("/alerts/rules/{rule_id}", response_model=RuleDeleted, operation_id="delete_rule")
async def delete_rule(rule_id: RuleId, who: AlertsWriter, parts: Parts) -> Response:
    """Remove a rule; open alerts of it end, all of them stay readable."""
    rule, ended = await parts.rules.delete(rule_id, by=who)
    message = f"rule {rule.name} is deleted; its alerts stay"
    return json_answer(
        {"success": True, "message": message, "rule_id": rule_id, "closed_alerts": ended}
    )


def _given(body: RuleCreate | RulePatch) -> dict[str, Any]:
    return body.model_dump(exclude_unset=True, mode="json", by_alias=True)


def _with_findings(judged: Judged) -> dict[str, Any]:
    return shown(judged.rule) | {"findings": [as_shown(f) for f in judged.findings]}


def _changed(judged: Judged, message: str) -> dict[str, Any]:
    said = {"success": True, "message": message, "closed_alerts": judged.ended}
    return _with_findings(judged) | said
