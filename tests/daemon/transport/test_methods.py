"""A 405 says which methods its path knows."""

from __future__ import annotations

import pytest
from control import API, Control

from daemon.transport.http import describe, served_paths

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", f"{API}/metrics", "GET, HEAD, POST"),
        ("OPTIONS", f"{API}/devices/d", "DELETE, GET, HEAD, PATCH"),
        ("PATCH", f"{API}/jobs/latest", "GET, HEAD"),
        ("GET", f"{API}/bulk", "POST"),
        ("GET", f"{API}/devices/a%2Fb/telemetry", "POST"),
        ("POST", "/health/live", "GET, HEAD"),
    ],
)
async def test_a_refused_method_names_those_that_are_known(
    control: Control, method: str, path: str, allowed: str
) -> None:
    answer = await control.client.request(method, path)

    assert (answer.status_code, answer.headers.get("allow")) == (405, allowed)
    assert answer.json()["code"] == "method_not_allowed"


async def test_where_there_is_nothing_no_method_is_named(control: Control) -> None:
    answer = await control.client.get(f"{API}/nothing")

    assert answer.status_code == 404
    assert "allow" not in answer.headers


def test_the_document_says_the_same() -> None:
    aliases = {"/livez": {"GET"}, "/readyz": {"GET"}}
    paths = describe().openapi()["paths"]
    served = served_paths()

    said = {path: {method.upper() for method in paths[path]} for path in paths}
    assert {path: methods - {"HEAD"} for path, methods in served.items()} == said | aliases
    headless = {path for path, methods in served.items() if "HEAD" not in methods}
    assert {path for path in headless if "GET" in served[path]} == {f"{API}/stream/{{channel}}"}
