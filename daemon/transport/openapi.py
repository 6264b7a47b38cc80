"""The OpenAPI document.

What FastAPI can't know by itself, among it the hot routes that are served beside it.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from daemon.domain.interest import CHANNELS
from daemon.domain.rights import Operation
from daemon.transport.etags import made, tagged
from daemon.transport.problems import PROBLEM_MEDIA_TYPE
from daemon.transport.reading import CURSOR_OR_NOTHING, NAMES
from daemon.transport.routing import SECURITY
from telemetryctl.api.points import Batch, BatchStored, BulkStored, Columns, Point, PointStored
from telemetryctl.api.problems import Problem

PREFIX = "/api/v1/telemetry"
_REF = "#/components/schemas/"
DESCRIPTION = """\
Telemetry on plain PostgreSQL: durable ingest, exact history, streams and alerts.

Every `POST` with a credential takes an `Idempotency-Key`: repeated within 24 hours it is answered \
as the first time. What can be changed is shown with an `ETag`; `If-None-Match` is answered with \
304, `If-Match` of a `PUT`, `PATCH` or `DELETE`, or of a rotation, with 412 when somebody has \
changed it since. Lists lead on by `Link`. `x-scope` says which scope of a key an operation needs.
"""
_MODELS = (Point, Batch, Columns, PointStored, BatchStored, BulkStored, Problem)
_BULK_SCHEMA = {
    "type": "object",
    "title": "Bulk",
    "description": "Points by device id, at most 10,000 together.",
    "minProperties": 1,
    "propertyNames": {"maxLength": 128, "pattern": "^[A-Za-z0-9_.:/-]+$"},
    "additionalProperties": {"type": "array", "minItems": 1, "items": {"$ref": f"{_REF}Point"}},
}
# path, operation id, summary, schema of the body, schema of the answer
_INGEST = (
    ("/devices/{device_id}/telemetry", "write_point", "Store one point", "Point", "PointStored"),
    (
        "/devices/{device_id}/telemetry/batch",
        "write_batch",
        "Store up to 1,000 points of one device",
        "Batch",
        "BatchStored",
    ),
    ("/bulk", "write_bulk", "Store up to 10,000 points of many devices", "Bulk", "BulkStored"),
    (
        "/columns",
        "write_columns",
        "Store up to 100,000 points, series by series",
        "Columns",
        "BatchStored",
    ),
)
STREAM_PATH = "/stream/{channel}"
HOT_OPERATIONS = (
    *(Operation(name, "POST", PREFIX + path, "ingest") for path, name, *_ in _INGEST),
    Operation("follow_stream", "GET", PREFIX + STREAM_PATH, "read"),
)
HOT_PATHS = {
    **{PREFIX + path: {"POST"} for path, *_ in _INGEST},
    PREFIX + STREAM_PATH: {"GET"},
}
"""What is served beside the routes, with its methods."""
_SERVER_SENT_EVENT = {
    "type": "object",
    "description": "One event; `data` is a frame as JSON, docs/streaming.md says which there are.",
    "properties": {
        "event": {
            "enum": ["welcome", "subscribed", "update", "snapshot", "event", "alert", "warning",
                     "gap", "heartbeat", "error", "shutdown"],
        },
        "id": {"type": "string", "description": "the cursor to go on from"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}  # fmt: skip
_PROBLEMS = {
    "400": "A path or query value is malformed, or the body can't be parsed.",
    "401": "A valid API key is needed.",
    "403": "The key lacks the scope.",
    "404": "There is no such thing, or the key may not see it.",
    "409": "The name is taken, or the state does not allow it.",
    "412": "It is not what `If-Match` names any more.",
    "413": "The body is too large.",
    "415": "The content encoding is not known.",
    "422": "The body does not fit the schema, or is impossible.",
    "429": "Too much at once, or of the hour's budget; `Retry-After` says when.",
    "503": "Not now; `Retry-After` says when.",
}


def complete(openapi: dict[str, Any]) -> dict[str, Any]:
    """Add credentials, problems and the ingest routes to what FastAPI made.

    Changes and returns it.
    """
    components = openapi.setdefault("components", {})
    components["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, or an access token.",
        },
        "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    document_ingest(openapi)
    document_streams(openapi)
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            _document_problems(operation)
            if method == "get" or (method == "post" and not tagged(path)):
                operation["responses"].pop("412", None)
            if (method != "delete" and tagged(path)) or (method == "post" and made(path)):
                _document_tag(operation, method=method)
            _document_defaults(operation)
    _document_batch_problems(openapi)
    _document_operation_names(openapi)
    for made_by_fastapi in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(made_by_fastapi, None)
    return openapi


def document_ingest(openapi: dict[str, Any]) -> None:
    """Add the four ingest routes, which bare ASGI serves."""
    schemas = openapi.setdefault("components", {}).setdefault("schemas", {})
    _, models = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template=_REF + "{model}"
    )
    for name, schema in models["$defs"].items():
        schemas.setdefault(name, schema)
    schemas["Bulk"] = _BULK_SCHEMA
    for path, operation_id, summary, body, answer in _INGEST:
        openapi["paths"].setdefault(PREFIX + path, {})["post"] = {
            "tags": ["ingest"],
            "summary": summary,
            "description": "The body may have `Content-Encoding: gzip`, `zstd` or `lz4`.",
            "operationId": operation_id,
            "x-scope": "ingest",
            "security": SECURITY,
            "parameters": _ingest_parameters(path),
            "requestBody": {"required": True, "content": _json(body)},
            "responses": {
                "200": {
                    "description": "Stored: the points counted are committed.",
                    "content": _json(answer),
                }
            },
        }


def document_streams(openapi: dict[str, Any]) -> None:
    """Add the streams over HTTP; WebSockets are not described by OpenAPI."""
    openapi["paths"].setdefault(PREFIX + STREAM_PATH, {})["get"] = {
        "tags": ["streams"],
        "summary": "Follow a channel: server-sent events, or a WebSocket when upgraded",
        "operationId": "follow_stream",
        "x-scope": "read",
        "security": SECURITY,
        "parameters": [
            _text("channel", "path", "what is sent") | {"schema": {"enum": list(CHANNELS)}},
            _text("device_ids", "query", "up to 100 names separated by commas", pattern=NAMES),
            _text("metric_names", "query", "names separated by commas", pattern=NAMES),
            _text("groups", "query", "groups by id or name, separated by commas, or repeated"),
            _text("max_frequency", "query", "at most one message in so many milliseconds")
            | {"schema": {"type": "integer", "minimum": 100, "maximum": 10_000}},
            _text("cursor", "query", "where to go on from", pattern=CURSOR_OR_NOTHING),
            _text("ticket", "query", "a ticket, instead of a key"),
            _text(
                "Last-Event-ID",
                "header",
                "where to go on from; it wins over the cursor",
                pattern=CURSOR_OR_NOTHING,
            ),
        ],
        "responses": {
            "200": {
                "description": "Events until either side ends: `welcome`, `subscribed`, `update`, "
                "`snapshot`, `event`, `warning`, `gap`, `heartbeat`, `error`, `shutdown`.",
                "content": {"text/event-stream": {"schema": _SERVER_SENT_EVENT}},
            },
            "406": _problem("The client does not take text/event-stream."),
            "429": _problem("Too many streams are open, or were opened in the last hour."),
        },
    }


def _text(name: str, place: str, description: str, *, pattern: str = "") -> dict[str, Any]:
    schema = {"type": "string"} | ({"pattern": pattern} if pattern else {})
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": schema,
    }


def _problem(description: str) -> dict[str, Any]:
    schema = {"schema": {"$ref": f"{_REF}Problem"}}
    return {"description": description, "content": {PROBLEM_MEDIA_TYPE: schema}}


def _ingest_parameters(path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": "dry_run",
            "in": "query",
            "required": False,
            "description": "Check everything and store nothing.",
            "schema": {"type": "boolean", "default": False},
        },
    ]
    if "{device_id}" in path:
        found.insert(
            0,
            {
                "name": "device_id",
                "in": "path",
                "required": True,
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 128,
                    "pattern": "^[A-Za-z0-9_.:/-]+$",
                },
            },
        )
    return found


def _document_problems(operation: dict[str, Any]) -> None:
    # What takes a credential in its body can refuse it.
    is_open = operation.get("x-scope") == "none" and "requestBody" not in operation
    responses = operation.setdefault("responses", {})
    for status, description in _PROBLEMS.items():
        if is_open and status not in ("400", "503"):
            responses.pop(status, None)
            continue
        # FastAPI says 422 by itself, in a shape that nothing has here.
        said = {} if status == "422" else responses.get(status, {})
        general = _problem(description)
        content = said.get("content", {}) | general["content"]
        responses[status] = general | said | {"content": content}


def _document_tag(operation: dict[str, Any], *, method: str) -> None:
    """What can be changed has a tag (transport/etags)."""
    responses = operation["responses"]
    responses["201" if "201" in responses else "200"]["headers"] = {
        "ETag": {"description": "Names this version.", "schema": {"type": "string"}}
    }
    if method == "get":
        responses["304"] = {"description": "It is still the one of If-None-Match."}


def _document_defaults(operation: dict[str, Any]) -> None:
    """Durations are said as text; what a route takes instead are microseconds."""
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        if schema.get("type") == "string" and isinstance(schema.get("default"), int):
            schema["default"] = f"{schema['default'] // 1_000_000}s"


def _document_batch_problems(openapi: dict[str, Any]) -> None:
    """A batch of which no point was stored tells its points beside the problem (contract 3)."""
    schemas = openapi["components"]["schemas"]
    places = schemas["Problem"]["properties"]["errors"]["anyOf"]
    points = {"type": "array", "items": {"$ref": f"{_REF}PointRefused"}}
    errors = {"title": "Errors", "anyOf": [points, *places]}
    properties = schemas["Problem"]["properties"] | {"errors": errors}
    schemas["BatchProblem"] = schemas["Problem"] | {
        "title": "BatchProblem",
        "description": "Why nothing of a batch was stored, beside what a stored one answers.",
        "properties": properties,
    }
    problem = {"schema": {"$ref": f"{_REF}BatchProblem"}}
    for path, *_ in _INGEST[1:]:
        refused = openapi["paths"][PREFIX + path]["post"]["responses"]["422"]
        refused["content"] = {PROBLEM_MEDIA_TYPE: problem}


def _document_operation_names(openapi: dict[str, Any]) -> None:
    """Which operations one may ask about: those of this document."""
    operations = [one for methods in openapi["paths"].values() for one in methods.values()]
    names = sorted(one["operationId"] for one in operations)
    for operation in operations:
        for parameter in operation.get("parameters", ()):
            if operation["operationId"] == "show_key_access" and parameter["name"] == "operation":
                parameter["schema"] = {"type": "string", "enum": names}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF + schema}}}
