"""The OpenAPI document says what is served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from control import API, Control
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

pytestmark = pytest.mark.anyio


@pytest.fixture
async def document(control: Control) -> dict[str, Any]:
    found: dict[str, Any] = (await control.client.get("/api/openapi.json")).json()
    return found


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in references(document):
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in node, reference
            node = node[part]


async def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [o["operationId"] for methods in document["paths"].values() for o in methods.values()]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "path",
    ["/devices/{device_id}/telemetry", "/devices/{device_id}/telemetry/batch", "/bulk", "/columns"],
)
async def test_the_hot_routes_are_documented(document: dict[str, Any], path: str) -> None:
    operation = document["paths"][API + path]["post"]

    assert operation["x-scope"] == "ingest"
    assert "application/json" in operation["requestBody"]["content"]
    assert operation["responses"]["422"]["content"].keys() == {"application/problem+json"}


async def test_errors_are_problems_everywhere(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert "application/problem+json" in response["content"], path


async def test_it_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")

    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


async def test_the_committed_document_is_the_served_one(document: dict[str, Any]) -> None:
    committed = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text())

    assert committed == document, "make openapi renews docs/openapi.json"


async def test_every_list_that_a_body_may_hold_has_a_bound(document: dict[str, Any]) -> None:
    """But for points, which are counted together (contract 1)."""
    schemas = document["components"]["schemas"]
    names = {r.rpartition("/")[2] for r in references([
        o["requestBody"] for m in document["paths"].values() for o in m.values()
        if "requestBody" in o
    ])}  # fmt: skip
    while more := {r.rpartition("/")[2] for n in names for r in references(schemas[n])} - names:
        names |= more
    unbounded = [
        f"{name}.{field}"
        for name in sorted(names - {"Columns", "SeriesColumns", "Bulk"})
        for field, schema in schemas[name].get("properties", {}).items()
        for option in [schema, *schema.get("anyOf", [])]
        if option.get("type") == "array" and "maxItems" not in option
    ]

    assert len(names) > 25
    assert unbounded == []


def assert_documented(document: dict[str, Any], template: str, answer: httpx.Response) -> None:
    """Its status is named, with its media type and its shape."""
    responses = document["paths"][template][answer.request.method.lower()]["responses"]
    content = responses[str(answer.status_code)]["content"]
    schema = content[answer.headers["content-type"]]["schema"]

    Draft202012Validator(schema | {"components": document["components"]}).validate(answer.json())


async def test_a_job_is_answered_as_documented_whatever_became_of_it(
    control: Control, document: dict[str, Any]
) -> None:
    rule = {"name": "r", "metric_name": "m", "condition": ">", "threshold_value": 1}
    times = {"start_time": "2025-12-18T10:00:00Z", "end_time": "2025-12-18T11:00:00Z"}
    body = {"rule": rule, **times}
    said = [await control.client.post(f"{API}/alerts/rules/backtest", json=body) for _ in "12"]
    done, cancelled = (f"{API}/jobs/{answer.json()['job_id']}" for answer in said)
    template = f"{API}/jobs/{{job_id}}"
    queued = await control.client.get(done)
    await control.client.delete(cancelled)
    failed = await control.client.get(cancelled)
    await control.services.jobs.do_next()
    finished = await control.client.get(done)

    assert [a.status_code for a in (queued, failed, finished)] == [202, 500, 200]
    for answer in (queued, failed, finished):
        assert_documented(document, template, answer)


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/detailed"])
async def test_health_is_answered_as_documented_also_when_it_is_bad(
    control: Control, document: dict[str, Any], path: str
) -> None:
    good = await control.client.get(path)
    # Nobody has looked at the database for long.
    control.clock.advance_s(10)
    bad = await control.client.get(path)

    assert [good.status_code, bad.status_code] == [200, 503]
    for answer in (good, bad):
        assert_documented(document, path, answer)
