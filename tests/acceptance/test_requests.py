"""examples/requests.http: each operation has a request that fits the OpenAPI document and works."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import jsonschema
import pytest
from daemons import DaemonProcess
from documents import text_of

DOC = json.loads(text_of("docs/openapi.json"))
EXPECTED = {
    ("POST", "/api/v1/telemetry/notifications/{notification_id}/retry"): {200, 409},
    ("DELETE", "/api/v1/telemetry/jobs/{job_id}"): {200, 409},
}
"""What may be no success: a message may be sent already, a job be over."""
SPANS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True)
class Request:
    """One request as it is written: with variables."""

    method: str
    url: str
    name: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


def requests_of(text: str) -> Iterator[Request]:
    """The requests of a file, which `###` divides."""
    for part in re.split(r"^###.*\n", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.strip().partition("\n\n")
        lines = head.splitlines()
        names = [line.removeprefix("# @name ") for line in lines if line.startswith("# @name ")]
        first, *headers = [line for line in lines if not line.startswith("#")]
        method, url = first.split(" ", 1)
        pairs = dict(line.split(": ", 1) for line in headers)
        yield Request(method, url, "".join(names), pairs, body)


TEXT = text_of("examples/requests.http")
REQUESTS = list(requests_of(TEXT))
GIVEN = dict(re.findall(r"^@(\w+) = (.+)$", TEXT, re.MULTILINE))


def operation_of(method: str, path: str) -> tuple[str, str]:
    """The operation that a path belongs to; one that is written out goes before a pattern."""
    fits = [
        known for known, methods in DOC["paths"].items()
        if method.lower() in methods and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", known), path)
    ]  # fmt: skip
    assert fits, f"{method} {path} is no operation"
    return method, min(fits, key=lambda known: known.count("{"))


def replaced(text: str, *, values: dict[str, str], answers: dict[str, Any]) -> str:
    """The text with its variables filled in, as the clients of editors do it."""

    def one(match: re.Match[str]) -> str:
        word = match[1]
        if word == "$guid":
            return str(uuid4())
        if word.startswith("$timestamp"):
            _, *ahead = word.split()
            shift_s = int(ahead[0]) * SPANS_S[ahead[1]] if ahead else 0
            return str(int(time.time()) + shift_s)
        if ".response.body.$." not in word:
            return replaced(values[word], values=values, answers=answers)
        name, _, path = word.partition(".response.body.$.")
        found = answers[name]
        for step in re.findall(r"\w+", path):
            found = found[int(step)] if step.isdigit() else found[step]
        return str(found)

    return re.sub(r"\{\{(.+?)\}\}", one, text)


@pytest.fixture(scope="module")
def sent(daemon: DaemonProcess) -> list[tuple[Request, str, str, httpx.Response]]:
    """Every request in order, with its path, its body and its answer."""
    values = GIVEN | {"root": daemon.url, "$processEnv TELEMETRY_KEY": daemon.key}
    answers: dict[str, Any] = {}
    fill = partial(replaced, values=values, answers=answers)
    told = []
    with httpx.Client(timeout=90) as client:
        for request in REQUESTS:
            url, body = fill(request.url), fill(request.body)
            headers = {name: fill(value) for name, value in request.headers.items()}
            answer = _answer(client, request.method, url, headers=headers, content=body or None)
            while request.method == "GET" and answer.status_code == 202:
                time.sleep(0.1)
                answer = _answer(client, request.method, url, headers=headers)
            if request.name:
                # What others are made of: without it they could only fail, and not say why.
                assert answer.is_success, f"{request.method} {url}: {answer.text}"
                answers[request.name] = answer.json()
            told.append((request, urlsplit(url).path, body, answer))
    return told


def _answer(client: httpx.Client, method: str, url: str, **options: Any) -> httpx.Response:
    """The answer; of a stream its beginning."""
    with client.stream(method, url, **options) as answer:
        if "event-stream" not in answer.headers["content-type"]:
            answer.read()
    return answer


def test_every_request_does_what_it_is_for(
    sent: list[tuple[Request, str, str, httpx.Response]],
) -> None:
    failed = []
    for request, path, _, answer in sent:
        wanted = EXPECTED.get(operation_of(request.method, path))
        if not (answer.status_code in wanted if wanted else answer.is_success):
            failed.append((request.method, path, answer.status_code, answer.text))

    assert failed == []


def test_every_body_fits_its_schema(sent: list[tuple[Request, str, str, httpx.Response]]) -> None:
    checked = 0
    for request, path, body, _ in sent:
        method, known = operation_of(request.method, path)
        declared = DOC["paths"][known][method.lower()].get("requestBody")
        if body:
            assert declared, f"{method} {known} takes no body"
            schema = declared["content"]["application/json"]["schema"]
            jsonschema.validate(json.loads(body), {**schema, "components": DOC["components"]})
            checked += 1

    assert checked > 20


def test_every_parameter_is_one_of_the_operation(
    sent: list[tuple[Request, str, str, httpx.Response]],
) -> None:
    for request, path, _, answer in sent:
        method, known = operation_of(request.method, path)
        declared = DOC["paths"][known][method.lower()].get("parameters", [])
        names = {one["name"] for one in declared if one["in"] == "query"}

        assert set(answer.request.url.params) <= names, f"{method} {known}"


def test_every_operation_has_a_request(
    sent: list[tuple[Request, str, str, httpx.Response]],
) -> None:
    shown = {operation_of(request.method, path) for request, path, _, _ in sent}
    known = {
        (method.upper(), path) for path, methods in DOC["paths"].items() for method in methods
        if method in ("get", "post", "put", "patch", "delete")
    }  # fmt: skip

    assert known - shown == set()
