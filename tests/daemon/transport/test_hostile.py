"""Hostile values in every place of every operation: a clear refusal, and a silent PostgreSQL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from control import API, Control
from servers import PostgresServer

pytestmark = pytest.mark.anyio

# As they stand in a URL.
TEXTS = (
    "", "%00", "a%00b", "%FF", "%ED%A0%80", "%27%3B%20drop%20table%20x--", "a" * 200, "a" * 5000,
    "-1", "0", "1e308", "1e999", "NaN", "-inf", "9" * 40, "null", "[]", "%F0%9F%92%A5", "..", "%2F",
    "%25", "%5C", "%E2%80%AE", "1,2,3,4", ",,,", "2026-01-01T00:00:00", "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00%2B14:00", "key_" + "0" * 26, "99999999-99999999999999999999",
)  # fmt: skip
# As they stand in JSON.
VALUES = (
    "null", "true", "0", "-1", "1.5", "1e308", "1e400", str(2**63), "9" * 400, '""', '"\\u0000"',
    '"\\ud800"', '"' + "x" * 70_000 + '"', "[]", "{}", "[null]", "[{}]", '[""]', '["\\u0000"]',
    '{"": ""}', '{"\\u0000": 1}', '{"a": NaN}', "[" * 40 + "]" * 40, '{"a":' * 40 + "1" + "}" * 40,
    '"2026-01-01"', '"10000-01-01T00:00:00Z"',
)  # fmt: skip
BODIES: dict[str, dict[str, Any]] = {
    "create_metric": {"name": "m", "data_type": "numeric"},
    "change_metric": {},
    "change_device": {},
    "create_event": {"type": "x"},
    "create_group": {"name": "g", "kind": "k"},
    "change_group": {},
    "create_rule": {"name": "r", "metric_name": "m", "condition": ">", "threshold_value": 1},
    "change_rule": {},
    "lint_rule": {"name": "r", "metric_name": "m", "condition": ">", "threshold_value": 1},
    "enable_rule": {"enabled": True},
    "backtest_rule": {
        "rule": {"metric_name": "m", "condition": ">", "threshold_value": 1},
        "start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-02T00:00:00Z",
    },
    "create_job": {"type": "backtest"},
    "acknowledge_alert": {},
    "resolve_alert": {},
    "create_channel": {
        "name": "c", "kind": "email", "host": "127.0.0.1", "port": 25, "from": "a@b.c",
        "to": "d@b.c",
    },
    "change_channel": {},
    "create_silence": {"matchers": {"device_id": "d"}, "ends_at": "2999-01-01T00:00:00Z"},
    "change_silence": {},
    "create_key": {"name": "k", "scopes": ["read"]},
    "rotate_key": {},
    "login": {"username": "a", "password": "b"},
    "refresh": {"refresh_token": "r"},
    "logout": {"refresh_token": "r"},
    "create_account": {"username": "a", "password": "long enough", "scopes": ["read"]},
    "change_account": {},
    "preview_rule": {},
    "create_watch": {"device_id": "d", "metric_name": "m", "to": 1},
    "change_watch": {},
    "subscribe": {},
    "make_ticket": {},
    "query": {
        "metrics": ["m"], "start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-02T00:00:00Z"
    },
}  # fmt: skip


async def operations(control: Control) -> tuple[dict[str, Any], list[tuple[str, str, Any]]]:
    """The document and every operation that the application serves itself."""
    document = (await control.client.get("/api/openapi.json")).json()
    hot = {"write_point", "write_batch", "write_bulk", "write_columns", "follow_stream"}
    return document, [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation["operationId"] not in hot
    ]


def errors_in(postgres: PostgresServer, *, since: int) -> list[str]:
    """Errors of class 22 (data) and 42 (syntax, names): the input reached PostgreSQL unchecked."""
    return re.findall(r"ERROR:  (?:22|42)\w{3}: .*", postgres.log[since:])


async def refused_clearly(control: Control, method: str, url: str, body: str | None) -> None:
    answer = await control.client.request(method, url, content=body)
    shown = f"{method} {url[:200]} {(body or '')[:200]}: {answer.status_code} {answer.text[:300]}"
    assert answer.status_code < 500, shown
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", shown
        assert isinstance(answer.json()["detail"], str), shown


def places(path: str, operation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(URL with {} for the hostile value, what it is) of each path and query parameter."""
    parameters = operation.get("parameters", [])
    plain = path
    for parameter in parameters:
        if parameter["in"] == "path":
            plain = plain.replace("{" + parameter["name"] + "}", "x")
    for parameter in parameters:
        name = parameter["name"]
        if parameter["in"] == "path":
            yield re.sub(r"\{(?!" + name + r"\})\w+\}", "x", path).replace(name, ""), name
        elif parameter["in"] == "query" and name != "wait":
            yield f"{plain}?{quote(name)}={{}}", name
    yield f"{plain}?tag.{{}}=1", "tag"


async def test_hostile_text_in_a_url(control: Control, postgres: PostgresServer) -> None:
    since = len(postgres.log)
    _, found = await operations(control)
    for method, path, operation in found:
        body = BODIES.get(operation["operationId"])
        for url, _ in places(path, operation):
            for text in TEXTS:
                content = None if body is None else json.dumps(body)
                await refused_clearly(control, method, url.replace("{}", text), content)

    assert errors_in(postgres, since=since) == []


async def test_hostile_values_in_a_body(control: Control, postgres: PostgresServer) -> None:
    since = len(postgres.log)
    document, found = await operations(control)
    await control.send([("x", "m", control.clock.now_us(), 1.0)])
    await control.client.post(f"{API}/metrics", json={"name": "x", "data_type": "numeric"})
    tried = set()
    for method, path, operation in found:
        if "requestBody" not in operation:
            continue
        tried.add(operation["operationId"])
        base = BODIES[operation["operationId"]]
        for field in fields_of(document, operation):
            for value in VALUES:
                body = {**base, field: "@"}
                content = json.dumps(body).replace('"@"', value)
                url = re.sub(r"\{\w+\}", "x", path)
                await refused_clearly(control, method, url, content)

    assert tried == set(BODIES)
    assert errors_in(postgres, since=since) == []


def fields_of(document: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    """The fields of a body, and one that it does not have."""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    options = [schema, *schema.get("anyOf", [])]
    name = next(o["$ref"] for o in options if "$ref" in o).rsplit("/", 1)[1]
    return [*document["components"]["schemas"][name]["properties"], "no_such_field"]


async def test_points_survive_what_was_refused(control: Control) -> None:
    await control.send([("x", "m", control.clock.now_us(), 1.0)])
    for text in TEXTS:
        await refused_clearly(control, "DELETE", f"{API}/devices/{text}", None)

    shown = await control.client.get(f"{API}/devices/x")

    assert shown.status_code == 200
