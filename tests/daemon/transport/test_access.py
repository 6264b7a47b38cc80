"""Who may do what: credentials, scopes, and the order of checks (contract 9.1)."""

from __future__ import annotations

from typing import Any

import pytest
from control import API, Control, bearer

from daemon.domain.access import SCOPES
from daemon.transport.auth import token_of
from daemon.transport.routing import UndeclaredScope, new_router

pytestmark = pytest.mark.anyio
NO_CREDENTIAL: dict[str, str] = {"Authorization": ""}


async def operations(control: Control) -> list[tuple[str, str, dict[str, Any]]]:
    document = (await control.client.get("/api/openapi.json")).json()
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def test_every_operation_declares_its_scope(control: Control) -> None:
    for method, path, operation in await operations(control):
        scope = operation.get("x-scope")
        assert scope in (*SCOPES, "any", "none"), f"{method} {path} declares {scope}"
        assert bool(operation["security"]) == (scope != "none"), f"{method} {path}"
        assert operation["operationId"]


async def test_only_health_and_logins_need_no_credential(control: Control) -> None:
    found = {p for _, p, o in await operations(control) if o["x-scope"] == "none"}

    logins = {"/auth/login", "/auth/refresh", "/auth/logout"}
    assert found == logins | {"/health", "/health/ready", "/health/live", "/health/detailed"}


def test_a_route_without_a_scope_can_not_be_made() -> None:
    router = new_router()

    with pytest.raises(UndeclaredScope):

        @router.get("/open")
        async def open_route() -> None: ...


def is_here(path: str) -> bool:
    """Served by the application under test; the hot routes stand in front of it in the daemon."""
    return not path.endswith(("/telemetry", "/batch", "/bulk", "/columns", "/stream/{channel}"))


async def test_every_operation_asks_for_a_credential_before_it_reads(control: Control) -> None:
    for method, path, operation in await operations(control):
        if operation["x-scope"] == "none" or not is_here(path):
            continue
        answer = await control.client.request(
            method, path.replace("{", "").replace("}", ""), headers=NO_CREDENTIAL, content=b"{"
        )
        assert answer.status_code == 401, f"{method} {path}"
        assert answer.json()["code"] == "unauthenticated"
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_every_operation_refuses_a_key_of_every_other_scope(control: Control) -> None:
    tokens = {scope: await control.key(scope) for scope in SCOPES if scope != "admin"}
    for method, path, operation in await operations(control):
        needed = operation["x-scope"]
        if needed in ("any", "none") or not is_here(path):
            continue
        for scope, token in tokens.items():
            answer = await control.client.request(
                method,
                path.replace("{", "").replace("}", ""),
                headers=bearer(token),
                content=b"{" if method in ("post", "patch") else b"",
            )
            is_refused = answer.status_code == 403 and answer.json()["code"] == "forbidden"
            assert is_refused == (scope != needed), f"{method} {path} with {scope}: {answer.text}"


@pytest.mark.parametrize(
    "headers", [{"Authorization": "bearer {}"}, {"Authorization": "Bearer {}"}, {"X-Api-Key": "{}"}]
)
async def test_a_key_comes_in_either_header(control: Control, headers: dict[str, str]) -> None:
    given = NO_CREDENTIAL | {k: v.format(control.token) for k, v in headers.items()}

    answer = await control.client.get("/auth/whoami", headers=given)

    assert answer.status_code == 200
    assert answer.json()["scopes"] == ["admin"]
    assert answer.json()["tier"] == "enterprise"


@pytest.mark.parametrize("token", ["", "x", "tlm_live_a_b_c", "é", "t" * 5000, "tlm_live_\x00"])
def test_rubbish_is_read_as_it_stands(token: str) -> None:
    raw = [(b"authorization", b"Bearer " + token.encode("latin-1"))]

    assert token_of(raw) == token.strip()


async def test_a_changed_letter_is_no_key(control: Control) -> None:
    last = "0" if control.token[-1] != "0" else "1"

    answer = await control.client.get("/auth/whoami", headers=bearer(control.token[:-1] + last))

    assert answer.status_code == 401


async def test_an_unknown_path_is_a_problem_with_an_id(control: Control) -> None:
    answer = await control.client.get(f"{API}/nothing", headers={"X-Request-ID": "r-1"})

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "r-1"
    assert answer.json()["request_id"] == "r-1"


async def test_a_wrong_method_is_a_problem(control: Control) -> None:
    answer = await control.client.put(f"{API}/metrics")

    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
    assert "GET" in answer.headers["allow"] or "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"[]", 422),
        (b"null", 422),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (b'{"name": "m", "data_type": "numeric", "metadata": {"a": NaN}}', 422),
        (b'{"name": "\\ud800", "data_type": "numeric"}', 422),
        (b'{"\\ud800": 1}', 422),
        (b'{"name": "m", "data_type": "numeric", "min_value": 1e400}', 422),
        (b'{"name": "m", "data_type": "numeric", "min_value": ' + b"9" * 5000 + b"}", 400),
        (b" " * (5 << 20), 413),
    ],
)
async def test_a_hostile_body_is_a_clear_refusal(
    control: Control, content: bytes, status: int
) -> None:
    answer = await control.client.post(f"{API}/metrics", content=content)

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "offset=-1", "offset=99999999999", "q=%00", "data_type=x"],
)
async def test_a_malformed_query_value_is_a_400(control: Control, query: str) -> None:
    answer = await control.client.get(f"{API}/metrics?{query}")

    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "malformed"


async def test_an_encoded_body_is_refused_as_such(control: Control) -> None:
    answer = await control.client.post(
        f"{API}/metrics", content=b"x", headers={"Content-Encoding": "gzip"}
    )

    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "identity"


async def test_a_body_may_have_four_mebibytes_and_no_more(control: Control) -> None:
    statuses = []
    for size in (4 * 2**20, 4 * 2**20 + 1):
        body = b'{"name": "m", "data_type": "numeric"}'.ljust(size)
        answer = await control.client.post(f"{API}/metrics", content=body)
        statuses.append(answer.status_code)

    assert statuses == [201, 413]


@pytest.mark.parametrize("one", ["1", "{}", "[]", '"a"'])
async def test_a_body_of_very_many_values_is_refused_unread(control: Control, one: str) -> None:
    body = '{"name": "m", "data_type": "numeric", "tags": [' + ",".join([one] * 200_000) + "]}"
    answer = await control.client.post(f"{API}/metrics", content=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_values")


async def test_a_group_may_have_ten_thousand_devices_of_long_names(control: Control) -> None:
    names = [f"{number:0128}" for number in range(10_000)]
    body = {"name": "g", "kind": "site", "device_ids": names}
    answer = await control.client.post(f"{API}/groups", json=body)

    # There are no such devices, which it came to find out.
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_device")


async def test_an_unparsable_body_has_one_code_everywhere(control: Control) -> None:
    answer = await control.client.post(f"{API}/metrics", content=b"{")

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


async def test_an_unexpected_error_says_nothing_and_is_logged(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(control.services.metrics, "show", fail)

    answer = await control.client.get(f"{API}/metrics/x")

    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
