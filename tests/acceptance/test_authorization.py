"""Who may do what, for every operation that the daemon documents: by scope, and by owner.

An operation that nobody has thought about here fails.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from daemons import API, DaemonProcess, start_daemon
from databases import fresh_database
from servers import PostgresServer

SCOPES = (
    "ingest", "read", "alerts:write", "metrics:write", "devices:write", "export", "keys", "admin",
)  # fmt: skip
UNSENT = {"get": b"", "delete": b""}


@dataclass(frozen=True)
class Operation:
    """One operation of the OpenAPI document; `path` has its parameters in braces."""

    id: str
    method: str
    path: str
    scope: str

    def at(self, **names: str) -> str:
        path = self.path
        for name, value in names.items():
            path = path.replace("{" + name + "}", value.replace("/", "%2F"))
        return path.replace("{", "").replace("}", "")


@pytest.fixture(scope="module")
def daemon(postgres: PostgresServer) -> Iterator[DaemonProcess]:
    process = start_daemon(asyncio.run(fresh_database(postgres)))
    yield process
    process.stop()


@pytest.fixture(scope="module")
def operations(daemon: DaemonProcess) -> list[Operation]:
    with daemon.http() as http:
        document = http.get(f"{daemon.url}/api/openapi.json").json()
    return [
        Operation(operation["operationId"], method, path, operation["x-scope"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def a_key(daemon: DaemonProcess, **wanted: Any) -> str:
    with daemon.http() as http:
        made = http.post("/keys", json={"name": "k", "tier": "enterprise"} | wanted)
        assert made.status_code == 201, made.text
        return str(made.json()["key"])


def an_access_token(daemon: DaemonProcess, key: str) -> str:
    made = httpx.post(f"{daemon.url}/auth/login", json={"api_key": key}, timeout=60)
    assert made.status_code == 200, made.text
    return str(made.json()["access_token"])


def ask(
    http: httpx.Client, operation: Operation, path: str, *, content: bytes = b"{"
) -> tuple[int, dict[str, Any]]:
    """Status and problem; a stream that opens is left at once."""
    body = UNSENT.get(operation.method, content)
    with http.stream(operation.method, path, content=body) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer.status_code, {}
        answer.read()
    is_problem = answer.headers.get("content-type") == "application/problem+json"
    return answer.status_code, answer.json() if is_problem else {}


# -- by scope ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["key", "access token"])
@pytest.mark.parametrize("scope", SCOPES)
def test_a_credential_does_what_its_scope_allows_and_nothing_else(
    daemon: DaemonProcess, operations: list[Operation], scope: str, kind: str
) -> None:
    token = a_key(daemon, scopes=[scope])
    if kind == "access token":
        token = an_access_token(daemon, token)
    wrong = []
    with client(daemon, token) as http:
        for operation in operations:
            if operation.scope in ("none", "any"):
                continue
            status, problem = ask(http, operation, operation.at(channel="telemetry"))
            is_refused = status == 403 and problem.get("code") == "forbidden"
            is_expected = scope not in (operation.scope, "admin")
            if is_refused != is_expected or status in (401, 500):
                wrong.append((operation.method, operation.path, operation.scope, status))

    assert wrong == []
    assert len(operations) > 80


@pytest.mark.parametrize("token", ["", "tlm_live_x", "a.b.c"])
def test_nobody_does_anything_without_a_credential(
    daemon: DaemonProcess, operations: list[Operation], token: str
) -> None:
    with client(daemon, token) as http:
        statuses = {
            operation.id: ask(http, operation, operation.at(channel="telemetry"))[0]
            for operation in operations
        }

    closed = {operation.id for operation in operations if operation.scope != "none"}
    assert {name for name, status in statuses.items() if status == 401} >= closed
    assert 500 not in statuses.values()


def client(daemon: DaemonProcess, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=daemon.url, headers=headers, timeout=60)


# -- by no header (S-01) -------------------------------------------------------------------------

INSIDE = (
    [("X-Internal-Call", "true")],
    [("x-internal-call", "TRUE"), ("X-INTERNAL-CALL", "true")],
    [("X_Internal_Call", "1"), ("X-Internal-Service", "billing"), ("X-Internal-Token", "x" * 40)],
    [("X-Internal-Call", "true"), ("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "127.0.0.1")],
)


@pytest.mark.parametrize("scopes", [[], ["read"], ["read", "ingest"]], ids=",".join)
def test_no_header_of_inside_changes_an_answer(
    daemon: DaemonProcess, operations: list[Operation], world: World, scopes: list[str]
) -> None:
    """With bodies that are good: what the header would allow, it would do."""
    differ, stored = [], set()
    with client(daemon, a_key(daemon, scopes=scopes) if scopes else "") as http:
        for operation in operations:
            names = world.names | {"fresh": f"f{next(FRESH)}", "channel": "telemetry"}
            plain = status_of(http, operation, names, [])
            stored |= {operation.id} if plain == 200 else set()
            differ += [
                (operation.id, plain, said, spelling)
                for spelling in INSIDE
                if (said := status_of(http, operation, names, spelling)) != plain
            ]

    assert differ == []
    assert ("follow_stream" in stored) == ("read" in scopes)
    writes = {"write_point", "write_batch", "write_bulk", "write_columns"}
    assert writes & stored == (writes if "ingest" in scopes else set())


def status_of(
    http: httpx.Client, operation: Operation, names: dict[str, str], more: list[tuple[str, str]]
) -> int:
    """Of the answer to a good request; a stream that opens is left at once."""
    path, query, body = request_of(operation, names)
    content = {} if body is None else {"json": body}
    with http.stream(operation.method, path, params=query, headers=more, **content) as answer:
        return answer.status_code


# -- by owner ------------------------------------------------------------------------------------

MINE, THEIRS, CHANNEL = "bolt-van-1", "acme-bus-1", "acme-feed"
METRIC, COMMON = "acme-speed", "fuel"
NOW_S = int(time.time())
DAY_S = 86_400
SPAN = {
    name: time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(NOW_S + days * DAY_S))
    for name, days in (("start_time", -2000), ("end_time", 1000))
}
RULE = {"metric_name": "{metric_name}", "condition": ">", "threshold_value": 6}
POINT = {"metric_name": "{metric_name}", "value": 7, "timestamp": NOW_S - 20 * DAY_S}
OF_DEVICE = {"device_ids": ["{device_id}"]}
OF_TARGETS = OF_DEVICE | {"device_groups": ["{group_id}"]}
OF_SERIES = {"device_id": "{device_id}", "metric_name": "{metric_name}"}
MATCHES = {"matchers": OF_SERIES, "ends_at": "2099-01-01T00:00:00Z"}
WATCH = OF_SERIES | {"from": None, "to": 1}

SHARED = {
    "show_channel": "channels belong to all; their secrets are shown to nobody",
    "list_channels": "the same",
}
"""Operations whose things belong to nobody: a stranger sees that they are there."""

MOVING = frozenset({"follow_stream", "explain_rule"})
"""What it tells depends on when it is asked."""

BODIES: dict[str, Any] = {
    "create_metric": {"name": "{fresh}", "data_type": "numeric"},
    "change_metric": {},
    "change_device": {"name": "mine"},
    "create_group": {"name": "{fresh}", "kind": "line"} | OF_DEVICE,
    "change_group": {"name": "mine"},
    "backtest_rule": {"rule": RULE | OF_TARGETS} | SPAN,
    "create_job": {"type": "backtest", "params": {"rule": RULE} | SPAN},
    "create_rule": RULE | {"name": "{fresh}"} | OF_DEVICE,
    "lint_rule": RULE | {"name": "x"} | OF_TARGETS,
    "change_rule": {"threshold_value": 666},
    "preview_rule": {"metric_name": "{metric_name}", "threshold_value": 666},
    "enable_rule": {"enabled": False},
    "acknowledge_alert": {"note": "mine"},
    "resolve_alert": {"note": "mine"},
    "create_channel": {"name": "{fresh}", "kind": "stream"},
    "change_channel": {},
    "create_silence": MATCHES,
    "change_silence": {"comment": "mine"},
    "create_watch": WATCH,
    "change_watch": {"to": 2},
    "query": {"metrics": ["{metric_name}"], "devices": ["{device_id}"]} | SPAN,
    "subscribe": OF_DEVICE | {"metric_names": ["{metric_name}"]},
    "make_ticket": {"subscription_id": "{subscription_id}"},
    "create_key": {"name": "mine", "scopes": ["read"], "devices": ["{device_id}"]},
    "rotate_key": {},
    "create_account": {"username": "{fresh}", "password": "long enough", "scopes": ["read"]},
    "change_account": {"disabled": True},
    "create_event": {"type": "x.y", "message": "m", "data": OF_SERIES},
    "write_point": POINT,
    "write_batch": {"data_points": [POINT]},
    "write_bulk": {"{device_id}": [POINT]},
    "write_columns": {
        "series": [
            OF_SERIES | {"timestamps": [NOW_S - 4 * DAY_S], "values": [1]}
        ]
    },
}  # fmt: skip
QUERIES: dict[str, dict[str, str]] = {
    "list_metrics": {},
    "service_stats": {},
    "list_rates": {},
    "list_devices": {},
    "list_groups": {},
    "list_jobs": {},
    "latest_job": {"type": "backtest", "device_id": "{device_id}"},
    "list_rules": {},
    "explain_rule": {"device_id": "{device_id}"},
    "list_alerts": {"device_id": "{device_id}"},
    "list_channels": {},
    "list_silences": {},
    "list_watches": {},
    "list_notifications": {"alert_id": "{alert_id}"},
    "read_aggregated": {
        "metric_name": "{metric_name}", "aggregation_type": "avg", "interval": "60",
        "device_id": "{device_id}", **SPAN,
    },
    "list_latest": {"device_ids": "{device_id}"},
    "list_changes": {"device_ids": "{device_id}", "after": ""},
    "export_csv": {"device_ids": "{device_id}", "metric_names": "{metric_name}", **SPAN},
    "list_keys": {},
    "list_accounts": {},
    "list_journal_partitions": {},
    "run_retention": {},
    "list_events": {},
    "whoami": {},
}  # fmt: skip
FRESH = itertools.count()
VOLATILE = frozenset(
    {"request_id", "cursor", "next_cursor", "start_time", "end_time", "timestamp", "age_seconds"}
)


@dataclass(frozen=True)
class Stranger:
    """Whose key is bound otherwise than the owner's; `common` is what both see, by the names of
    path parameters."""

    bound: dict[str, list[str]]
    common: frozenset[str]


STRANGERS = {
    "other devices": Stranger({"devices": ["bolt-*"]}, frozenset({"metric_name"})),
    "other groups": Stranger({"groups": ["bolt"]}, frozenset({"metric_name"})),
    "other metrics": Stranger({"metrics": [COMMON]}, frozenset({"device_id", "group_id"})),
}


@dataclass
class World:
    """What belongs to the owner: ids by the names of path parameters."""

    names: dict[str, str]
    owner: str
    keys: dict[str, str]

    def other(self, kind: str) -> dict[str, str]:
        """Names as good, of nothing, where the stranger does not see what they name."""
        return {name: value if name in STRANGERS[kind].common
                else value[:-1] + ("z" if value[-1] != "z" else "y")
                for name, value in self.names.items()}  # fmt: skip


@pytest.fixture(scope="module")
def world(daemon: DaemonProcess) -> World:
    return prepare(daemon)


def request_of(
    operation: Operation, names: dict[str, str], more: dict[str, str] | None = None
) -> tuple[str, Any, Any]:
    """Path, query and body of an operation about these names, `more` of its query."""
    query = filled(QUERIES.get(operation.id, {}) | (more or {}), names)
    return operation.at(**names), query, filled(BODIES.get(operation.id), names)


def asked(
    http: httpx.Client,
    operation: Operation,
    names: dict[str, str],
    more: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Status and text of the answer; what the operation makes is new."""
    path, query, body = request_of(operation, names | {"fresh": f"f{next(FRESH)}"}, more)
    content = {} if body is None else {"json": body}
    answer = http.request(operation.method, path, params=query, **content)
    if answer.status_code == 202 and operation.method == "post" and "job_id" in answer.json():
        return 202, outcome_of(http, answer.json()["status_url"])
    return answer.status_code, answer.text


def outcome_of(http: httpx.Client, path: str) -> str:
    """What became of a job, once it is over."""
    while (answer := http.get(path)).status_code == 202:
        time.sleep(0.05)
    job = answer.json()
    return json.dumps({name: job.get(name) for name in ("status", "code", "detail", "result")})


def filled(template: Any, names: dict[str, str]) -> Any:
    if template is None:
        return None
    text = json.dumps(template)
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return json.loads(text)


def settled(text: str, names: dict[str, str]) -> Any:
    """The answer without what differs between any two: ids asked for, stamps, request ids."""
    for name, value in names.items():
        text = text.replace(value, "{" + name + "}")
    try:
        return without_volatile(json.loads(text))
    except ValueError:
        return text


def without_volatile(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_volatile(v) for k, v in value.items() if k not in VOLATILE}
    return [without_volatile(one) for one in value] if isinstance(value, list) else value


def test_every_operation_has_been_thought_about(
    daemon: DaemonProcess, operations: list[Operation], world: World
) -> None:
    with daemon.http() as http:
        paths = http.get(f"{daemon.url}/api/openapi.json").json()["paths"]
    forgotten = []
    for operation in operations:
        if operation.scope == "none" or operation.id == "follow_stream":
            continue
        takes_body = "requestBody" in paths[operation.path][operation.method]
        parameters = re.findall(r"{(\w+)}", operation.path)
        if takes_body and operation.id not in BODIES:
            forgotten.append(f"{operation.id} needs a body in BODIES")
        if not takes_body and not parameters and operation.id not in QUERIES:
            forgotten.append(f"{operation.id} needs a query in QUERIES")
        forgotten += [f"{operation.id} is about {p}" for p in parameters if p not in world.names]

    assert forgotten == []


FURTHER: dict[str, list[dict[str, str]]] = {
    "list_rates": [{"by": "metric"}, {"by": "key"}],
    "list_rules": [{"metric_name": "{metric_name}"}],
    "list_alerts": [{"rule_id": "{rule_id}"}, {"metric_name": "{metric_name}"}],
    "list_devices": [{"group": "{group_id}"}],
    "list_groups": [{"rollup": "{metric_name}:7"}],
    "list_group_devices": [{"include": "status", "metric": "{metric_name}"}],
    "list_latest": [{"metric_names": "{metric_name}"}, {"group": "{group_id}"}],
    "list_changes": [{"metric_names": "{metric_name}"}],
    "list_events": [{"limit": "1000"}],
}
"""What else is asked, as queries beside the usual one."""


def with_variants(operations: list[Operation]) -> Iterator[tuple[Operation, dict[str, str]]]:
    """All that is about things of somebody, with what is to be said in its query."""
    for operation in operations:
        if operation.id not in (*SHARED, "follow_stream"):
            yield from ((operation, more) for more in ({}, *FURTHER.get(operation.id, [])))


@pytest.mark.parametrize("kind", STRANGERS)
def test_to_a_stranger_what_is_anothers_is_what_does_not_exist(
    daemon: DaemonProcess, operations: list[Operation], world: World, kind: str
) -> None:
    other = world.other(kind)
    with client(daemon, world.keys[kind]) as http, daemon.http() as admin:
        before = shown(admin, operations, world)
        wrong = []
        for operation, more in with_variants(operations):
            if operation.scope == "none":
                continue
            if request_of(operation, world.names, more) == request_of(operation, other, more):
                # It names nothing of the owner's; the next test looks at what it lists.
                continue
            answers = [
                (status, settled(text, names) if status != 201 else None)
                for names in (world.names, other)
                for status, text in [asked(http, operation, names, more)]
            ]
            if answers[0] != answers[1] or answers[0][0] >= 500:
                wrong.append((operation.id, more, *answers))
        after = shown(admin, operations, world)

    assert not wrong, "\n".join(map(str, wrong))
    assert before == after


@pytest.mark.parametrize("kind", STRANGERS)
def test_nothing_that_a_stranger_may_read_tells_of_it(
    daemon: DaemonProcess, operations: list[Operation], world: World, kind: str
) -> None:
    other = world.other(kind)
    hidden = {n: v for n, v in world.names.items() if n not in {*STRANGERS[kind].common, "name"}}
    told, seen = [], 0
    with client(daemon, world.keys[kind]) as http:
        for operation, more in with_variants(operations):
            if operation.method != "get" or operation.scope == "none":
                continue
            path, query, _ = request_of(operation, other, more)
            answer = http.get(path, params=query)
            seen += answer.is_success
            named = [name for name, value in hidden.items() if value in answer.text]
            if named or is_cut(answer):
                told.append((operation.id, more, named, answer.text))

    assert told == []
    assert seen > 20


def is_cut(answer: httpx.Response) -> bool:
    """Whether a list says that there is more than it shows, though all of it fits."""
    if not answer.headers["content-type"].startswith("application/json"):
        return False
    body = answer.json()
    return "total" in body and "count" in body and body["total"] != body["count"]


@pytest.mark.parametrize("kind", STRANGERS)
@pytest.mark.parametrize("channel", ["telemetry", "latest", "events", "alerts"])
def test_no_stream_tells_a_stranger_of_it(
    daemon: DaemonProcess, world: World, kind: str, channel: str
) -> None:
    """Things of the owner's happen, then something of the stranger's, which ends the looking."""
    hidden = {n: v for n, v in world.names.items() if n not in {*STRANGERS[kind].common, "name"}}
    marker = f"{kind} {channel}"
    lines = []
    with client(daemon, world.keys[kind]) as http, daemon.http() as admin:
        http.timeout = httpx.Timeout(60)
        rule = filled(RULE, world.names) | OPEN_AT_ONCE | {"name": marker}
        theirs = admin.post("/alerts/rules", json=rule | {"device_ids": [THEIRS]}).json()
        own = rule | {"metric_name": COMMON, "device_ids": [MINE], "name": f"own {marker}"}
        assert admin.post("/alerts/rules", json=own).status_code == 201
        headers = {"Accept": "text/event-stream"}
        with http.stream("GET", f"{API}/stream/{channel}", headers=headers) as stream:
            assert stream.status_code == 200
            for line in stream.iter_lines():
                lines.append(line)
                # From here on nothing that happens is missed.
                if line == "event: subscribed":
                    happen(admin, world, theirs["rule_id"], marker)
                if line.startswith("data:") and ENDS[channel].format(marker=marker) in line:
                    break

    told = [(name, line) for line in lines for name, value in hidden.items() if value in line]
    assert told == []
    assert theirs["rule_id"] not in "".join(lines)


OPEN_AT_ONCE = {"cooldown_minutes": 0, "auto_resolve_timeout": 1}
ENDS = {
    "telemetry": '"unit":"{marker}"',
    "latest": '"unit":"{marker}"',
    "events": '"message":"{marker}"',
    "alerts": "own {marker}",
}
"""What a stream says of the thing that the stranger sees, which happens last."""


def happen(admin: httpx.Client, world: World, rule_id: str, marker: str) -> None:
    """The owner's points, alert and event; after them a point, an alert and an event that every
    stranger sees."""
    event = {"type": "acme.thing", "message": "hidden", "data": filled(OF_SERIES, world.names)}
    assert admin.post("/events", json=event).status_code == 201
    for _ in range(600):
        send(admin, THEIRS)
        if admin.get("/alerts", params={"rule_id": rule_id}).json()["total"]:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("no alert")
    series = {"device_id": MINE, "metric_name": COMMON}
    point = {"metric_name": COMMON, "value": 9, "unit": marker, "timestamp": time.time()}
    assert admin.post(f"/devices/{MINE}/telemetry", json=point).is_success
    event = {"type": "acme.thing", "message": marker, "data": series}
    assert admin.post("/events", json=event).status_code == 201


def test_the_owner_sees_what_is_his(
    daemon: DaemonProcess, operations: list[Operation], world: World
) -> None:
    """Without this the two before could pass since nothing is there."""
    with client(daemon, world.owner) as http:
        unseen = [
            operation.id
            for operation in operations
            if operation.method == "get" and "{" in operation.path
            and operation.id not in ("follow_stream", *SHARED) and operation.scope != "admin"
            and asked(http, operation, world.names)[0] not in (200, 202)
        ]  # fmt: skip

    assert unseen == []


BEYOND = frozenset(
    {"create_rule", "change_rule", "preview_rule", "enable_rule", "delete_rule", "create_silence",
     "change_silence", "expire_silence", "create_event", "create_metric", "create_key"}
)  # fmt: skip
"""What a key that is bound may do depends on what it is about, and is a 403 where it may not."""


@pytest.mark.parametrize(
    "bound", [{"groups": ["bolt"]}, {"devices": ["bolt-*"]}, {"metrics": [METRIC]}, {}]
)
def test_what_a_key_is_told_it_may_do_is_what_it_may(
    daemon: DaemonProcess, operations: list[Operation], world: World, bound: dict[str, Any]
) -> None:
    token = a_key(daemon, scopes=[scope for scope in SCOPES if scope != "admin"], **bound)
    wrong = []
    with client(daemon, token) as http:
        told = http.get(f"{API}/keys/self/access").json()["operations"]
        allowed = {one["operation"]: one["allowed"] for one in told}
        for operation in operations:
            if operation.id in ("follow_stream", "logout") or (bound and operation.id in BEYOND):
                continue
            if operation.id == "delete_device" and "groups" in bound:
                # It would leave the group, and nothing could be written to it any more.
                continue
            names = world.other("other devices") | {"device_id": MINE}
            status, text = asked(http, operation, names)
            # What is not there is a 404 to who may not change it, too.
            if (status != 403) if allowed[operation.id] else (status in (403, 404)):
                continue
            wrong.append((operation.id, allowed[operation.id], status, text))

    assert not wrong, "\n".join(map(str, wrong))


def shown(admin: httpx.Client, operations: list[Operation], world: World) -> dict[str, Any]:
    """Everything of the owner's, as the administrator sees it; `last_used_at` may move."""
    admin.base_url = httpx.URL(str(admin.base_url).removesuffix(API + "/"))
    return {
        operation.id: settled(asked(admin, operation, world.names)[1], world.names)
        for operation in operations
        if operation.method == "get" and "{" in operation.path and operation.id not in MOVING
    }


def prepare(daemon: DaemonProcess) -> World:
    """An owner of one metric of acme's devices, what belongs to him, and strangers."""
    rights = [scope for scope in SCOPES if scope != "admin"]
    owner = a_key(daemon, scopes=rights, devices=["acme-*"], metrics=[METRIC])
    keys = {kind: a_key(daemon, scopes=rights, **one.bound) for kind, one in STRANGERS.items()}
    names = {"device_id": THEIRS, "metric_name": METRIC, "username": "acme-ann", "name": CHANNEL}
    with daemon.http() as admin, client(daemon, owner) as http:
        http.base_url = httpx.URL(daemon.url + API)
        for device in (MINE, THEIRS):
            send(admin, device)
        members, series = {"device_ids": [THEIRS]}, filled(OF_SERIES, names)
        # However long the tests take, its alert ends by none but them.
        rule = filled(RULE, names) | members | {"name": "acme", "auto_resolve": False}
        metric = {"name": METRIC, "data_type": "numeric", "min_value": 0, "max_value": 137}
        ends = {"matchers": series, "ends_at": "2099-01-01T00:00:00Z"}
        event = {"type": "acme.thing", "message": "acme", "data": series}
        key = {"name": "acme", "scopes": ["read"], "devices": ["acme-*"], "metrics": [METRIC]}
        account = {"username": "acme-ann", "password": "long enough", "scopes": ["read"]}
        for by, path, name, body in (
            (admin, "/metrics", "name", metric),
            (admin, "/groups", "group_id", {"name": "bolt", "kind": "line", "device_ids": [MINE]}),
            (admin, "/groups", "group_id", {"name": "acme", "kind": "line"} | members),
            (admin, "/channels", "name", {"name": CHANNEL, "kind": "stream"}),
            (admin, "/alerts/rules", "rule_id", rule | {"notification_channels": [CHANNEL]}),
            (http, "/silences", "silence_id", ends | {"comment": "acme"}),
            (http, "/watches", "watch_id", series | {"from": None, "to": 9}),
            (http, "/subscribe", "subscription_id", members),
            (http, "/keys", "key_id", key),
            (http, "/events", "event_id", event),
            (http, "/alerts/rules/backtest", "job_id", {"rule": rule} | SPAN),
            (admin, "/accounts", "account_id", account),
        ):
            made = by.post(path, json=body)
            assert made.status_code in (201, 202), f"{path}: {made.text}"
            names[name] = made.json()[name]
        names["alert_id"] = an_alert(admin)
        assert '"alerts": [{' in outcome_of(http, f"/jobs/{names['job_id']}")
        names["notification_id"] = a_notification(admin)
        names["owner_id"] = http.get(f"{daemon.url}/auth/whoami").json()["key_id"]
        http.post(f"/devices/{THEIRS}/telemetry", json=filled(POINT, names)).raise_for_status()
        # Rates are of whole seconds that are over.
        time.sleep(1.1)
    return World(names, owner, keys)


def send(http: httpx.Client, device_id: str) -> None:
    for name in (METRIC, COMMON):
        point = {"metric_name": name, "value": 7, "timestamp": time.time()}
        assert http.post(f"/devices/{device_id}/telemetry", json=point).is_success


def an_alert(admin: httpx.Client) -> str:
    """The alert of the owner's device, once it has been raised."""
    for _ in range(600):
        send(admin, THEIRS)
        alerts = admin.get("/alerts").json()["alerts"]
        if alerts:
            return str(alerts[0]["alert_id"])
        time.sleep(0.1)
    raise AssertionError("no alert")


def a_notification(admin: httpx.Client) -> str:
    """What is to be sent about it, once the silence has been looked at."""
    for _ in range(600):
        sent = admin.get("/notifications").json()["notifications"]
        if sent and sent[0]["status"] != "pending":
            return str(sent[0]["notification_id"])
        time.sleep(0.1)
    raise AssertionError("no notification")
