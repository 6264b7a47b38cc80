"""A POST with an Idempotency-Key is done once, whatever happens between the first and the last
time it is sent."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx
import pytest
from control import API, Control, bearer
from daemons import DaemonProcess, started

from daemon.clock import SystemClock
from daemon.domain.errors import Conflict, StoreUnavailable
from daemon.service.idempotency import Idempotency, Kept, Turn
from daemon.service.retention import Retention
from daemon.store.idempotency import IdempotencyStore
from daemon.store.leases import take
from daemon.store.notifications import NotificationStore
from daemon.store.pool import Database

pytestmark = pytest.mark.anyio
METRIC = {"name": "flow", "data_type": "numeric"}


async def create(
    control: Control, key: str, body: dict[str, Any] | None = None, *, path: str = "/metrics"
) -> httpx.Response:
    body = METRIC if body is None else body
    return await control.client.post(API + path, json=body, headers={"Idempotency-Key": key})


async def rows_of(control: Control) -> list[Any]:
    async with control.database.connection("control") as connection:
        return list(await connection.fetch("select * from telemetry.idempotency"))


async def set_all(database: Database, assignment: str) -> None:
    async with database.connection("control") as connection:
        await connection.execute(f"update telemetry.idempotency set {assignment}")


async def test_a_repeat_gets_the_first_answer(control: Control) -> None:
    first = await create(control, "k-1")
    again = await create(control, "k-1")

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == "application/json"


async def test_without_a_key_nothing_is_kept(control: Control) -> None:
    assert (await control.client.post(f"{API}/metrics", json=METRIC)).status_code == 201
    assert (await control.client.post(f"{API}/metrics", json=METRIC)).status_code == 409
    assert await rows_of(control) == []


@pytest.mark.parametrize("other", [
    ("/metrics", {"name": "flow", "data_type": "string"}), ("/groups", METRIC),
    ("/metrics?x=1", METRIC),
])  # fmt: skip
async def test_a_key_is_for_one_request(control: Control, other: tuple[str, Any]) -> None:
    await create(control, "k-1")

    answer = await create(control, "k-1", other[1], path=other[0])

    assert answer.status_code == 422
    assert answer.json()["code"] in ("idempotency_key_reused", "invalid")


async def test_the_key_of_another_is_another_key(control: Control) -> None:
    other = await control.key("metrics:write")
    await create(control, "k-1")

    answer = await control.client.post(
        f"{API}/metrics", json=METRIC, headers={"Idempotency-Key": "k-1", **bearer(other)}
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 129])
async def test_an_unreadable_key_is_refused(control: Control, key: str) -> None:
    answer = await create(control, key)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_idempotency_key")


async def test_two_keys_are_none(control: Control) -> None:
    answer = await control.client.post(
        f"{API}/metrics", json=METRIC,
        headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
    )  # fmt: skip

    assert answer.json()["code"] == "bad_idempotency_key"


@pytest.mark.parametrize("body", [{"name": "flow"}, {"name": "x y", "data_type": "numeric"}])
async def test_what_was_refused_may_be_mended(control: Control, body: dict[str, Any]) -> None:
    refused = await create(control, "k-1", body)
    mended = await create(control, "k-1")

    assert (refused.status_code, mended.status_code) == (422, 201)


async def test_a_name_that_is_taken_is_refused_again(control: Control) -> None:
    await create(control, "k-1")

    answers = [await create(control, "k-2") for _ in range(2)]

    assert [answer.json()["code"] for answer in answers] == ["name_taken"] * 2


async def test_a_running_one_is_not_begun_again(control: Control) -> None:
    await create(control, "k-1")
    await set_all(control.database, "state = 'running'")

    answer = await create(control, "k-1")

    assert (answer.status_code, answer.json()["code"]) == (409, "request_running")


async def test_one_that_was_left_before_it_changed_anything_is_done(control: Control) -> None:
    await create(control, "k-1")
    await control.client.delete(f"{API}/metrics/flow")
    await set_all(control.database, "state = 'running', running_until = now() - interval '1 s'")

    answer = await create(control, "k-1")

    assert answer.status_code == 201
    assert (await create(control, "k-1")).headers["idempotency-replayed"] == "true"


async def test_one_that_was_left_after_its_change_is_not_done_again(control: Control) -> None:
    await create(control, "k-1")
    await control.client.delete(f"{API}/metrics/flow")
    await set_all(
        control.database,
        "state = 'changed', status = null, answer = null, running_until = now() - interval '1 h'",
    )

    answer = await create(control, "k-1")

    assert (answer.status_code, answer.json()["code"]) == (409, "already_done")
    assert (await control.client.get(f"{API}/metrics/flow")).status_code == 404


async def test_the_change_and_its_mark_are_one(database: Database) -> None:
    store = IdempotencyStore(database)
    idempotency = Idempotency(store)
    turn = await idempotency.begin("key_a", "k", b"request")
    assert isinstance(turn, Turn)

    with pytest.raises(ValueError, match="half-way"), turn.marking():
        async with database.transaction("control"):
            raise ValueError("half-way")
    with pytest.raises(Conflict, match="still running"):
        await idempotency.begin("key_a", "k", b"request")
    await set_all(database, "running_until = now() - interval '1 s'")
    second = await idempotency.begin("key_a", "k", b"request")

    assert isinstance(second, Turn)
    with second.marking():
        async with database.transaction("control"):
            pass
    with pytest.raises(Conflict, match="still running"):
        await idempotency.begin("key_a", "k", b"request")
    await set_all(database, "running_until = now() - interval '1 s'")
    with pytest.raises(Conflict, match="done already"):
        await idempotency.begin("key_a", "k", b"request")


async def test_who_was_taken_over_changes_nothing_any_more(database: Database) -> None:
    idempotency = Idempotency(IdempotencyStore(database))
    slow = await idempotency.begin("key_a", "k", b"request")
    await set_all(database, "running_until = now() - interval '1 s'")
    quick = await idempotency.begin("key_a", "k", b"request")
    assert isinstance(slow, Turn)
    assert isinstance(quick, Turn)

    with pytest.raises(Conflict, match="taken over"), slow.marking():
        async with database.transaction("control") as connection:
            await connection.execute("create table public.changed ()")
    await slow.failed(is_refused=True)
    await quick.answered(201, b"{}")

    assert await idempotency.begin("key_a", "k", b"request") == Kept(201, b"{}")
    async with database.connection("control") as connection:
        assert await connection.fetchval("select to_regclass('public.changed')") is None


async def test_a_failure_that_changed_something_is_not_forgotten(database: Database) -> None:
    idempotency = Idempotency(IdempotencyStore(database))
    turn = await idempotency.begin("key_a", "k", b"request")
    assert isinstance(turn, Turn)

    with turn.marking():
        async with database.transaction("control"):
            pass
    await turn.failed(is_refused=False)
    await set_all(database, "running_until = now() - interval '1 s'")

    with pytest.raises(Conflict, match="done already"):
        await idempotency.begin("key_a", "k", b"request")


async def test_a_test_message_is_marked_before_it_is_sent(control: Control) -> None:
    channel = {"name": "ops", "kind": "webhook", "url": "https://example.com/h"}
    await create(control, "k-1", channel, path="/channels")
    turn = await control.services.idempotency.begin("key_a", "k", b"request")
    assert isinstance(turn, Turn)

    with turn.marking():
        store = NotificationStore(control.database, holder=uuid4(), mark=b"")
        await store.insert_test("ntf_1", channel="ops", payload={})
    await turn.failed(is_refused=False)
    await set_all(control.database, "running_until = now() - interval '1 s'")

    with pytest.raises(Conflict, match="done already"):
        await control.services.idempotency.begin("key_a", "k", b"request")


async def test_a_lost_database_is_said_and_nothing_is_done(control: Control) -> None:
    await control.database.close()

    with pytest.raises(StoreUnavailable):
        await control.services.idempotency.begin("key_a", "k", b"")
    assert (await create(control, "k-1")).status_code == 503


# -- secrets ---------------------------------------------------------------------------------------


async def test_a_secret_is_given_once_and_kept_nowhere(control: Control) -> None:
    wanted = {"name": "n", "scopes": ["read"], "tier": "free"}

    first = await create(control, "k-1", wanted, path="/keys")
    again = await create(control, "k-1", wanted, path="/keys")

    made = first.json()
    assert first.status_code == 201
    assert (again.status_code, again.json()["code"]) == (409, "already_done")
    assert made["key_id"] in again.json()["detail"]
    assert made["key"] not in again.text
    assert made["key"].encode() not in b"".join(row["answer"] for row in await rows_of(control))
    rotated = await create(control, "k-2", {}, path=f"/keys/{made['key_id']}/rotate")
    assert rotated.json()["key"].encode() not in b"".join(
        row["answer"] for row in await rows_of(control)
    )
    assert (await create(control, "k-2", {}, path=f"/keys/{made['key_id']}/rotate")).json()[
        "code"
    ] == "already_done"


@pytest.mark.parametrize(("path", "body"), [
    ("/channels", {"name": "hook", "kind": "webhook", "url": "https://example.com/h"}),
    ("/tickets", {}),
])  # fmt: skip
async def test_other_secrets_are_kept_nowhere_either(
    control: Control, path: str, body: dict[str, Any]
) -> None:
    made = (await create(control, "k-1", body, path=path)).json()
    again = await create(control, "k-1", body, path=path)

    secret = made.get("secret") or made["ticket"]
    assert again.json()["code"] == "already_done"
    assert secret not in str([dict(row) for row in await rows_of(control)])


async def test_neither_the_key_nor_the_request_can_be_read(control: Control) -> None:
    account = {"username": "ann", "password": "correct horse battery", "scopes": ["read"],
               "tier": "free"}  # fmt: skip
    await create(control, "secret-key", account, path="/accounts")

    stored = "".join(str(dict(row)) for row in await rows_of(control))

    assert stored
    assert "secret-key" not in stored
    assert "correct horse" not in stored


# -- reads, housekeeping ---------------------------------------------------------------------------


async def test_a_body_that_a_route_does_not_take_is_not_read(control: Control) -> None:
    first = await create(control, "k-1", {"a": 1}, path="/admin/retention/run")
    again = await create(control, "k-1", {"b": 2}, path="/admin/retention/run")

    assert first.status_code == again.status_code == 202
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("path", ["/alerts/rules/lint", "/query"])
async def test_reads_are_done_each_time(control: Control, path: str) -> None:
    await create(control, "k-1", {}, path=path)

    assert await rows_of(control) == []


async def test_a_day_later_a_key_is_forgotten(control: Control) -> None:
    await create(control, "old")
    await set_all(control.database, "created_at = now() - interval '25 h'")
    await create(control, "young", METRIC | {"name": "other"})
    taken = await take(control.database, "housekeeping", holder=uuid4(), ttl_s=10)
    assert taken is not None

    done = await Retention(control.database).run_once(SystemClock().now_us(), taken[0])

    assert done["idempotency"] == 1
    assert len(await rows_of(control)) == 1


# -- many at once, over the wire -------------------------------------------------------------------


async def fifty(daemon: DaemonProcess, path: str, body: Any, key: str) -> list[httpx.Response]:
    """What each hears, once the daemon had time for it."""
    headers = {"Authorization": f"Bearer {daemon.key}", "Idempotency-Key": key}

    async def one() -> httpx.Response:
        while (answer := await http.post(path, json=body)).status_code == 503:
            assert answer.json()["code"] in ("busy", "database_unavailable")
            await asyncio.sleep(0.2)
        return answer

    async with httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=60) as http:
        return await asyncio.gather(*(one() for _ in range(50)))


async def test_fifty_at_once_make_one_group(daemon: DaemonProcess) -> None:
    wanted = {"name": "fifty", "kind": "site"}

    answers = await fifty(daemon, "/groups", wanted, "fifty")

    counts = Counter(
        (answer.status_code, answer.headers.get("idempotency-replayed", answer.json().get("code")))
        for answer in answers
    )
    assert counts[201, None] == 1
    assert set(counts) <= {(201, None), (201, "true"), (409, "request_running")}
    assert len({a.json()["group_id"] for a in answers if a.status_code == 201}) == 1


async def test_two_daemons_know_of_each_others_requests(dsn: str) -> None:
    one = await started(dsn)
    two = await started(dsn, key=one.key)
    wanted = {"name": "shared", "kind": "site"}

    answers = await asyncio.gather(*(fifty(d, "/groups", wanted, "shared") for d in (one, two)))

    made = [a for both in answers for a in both if a.status_code == 201]
    again = (await fifty(two, "/groups", wanted, "shared"))[0]
    assert len({a.json()["group_id"] for a in [*made, again]}) == 1
    assert sum("idempotency-replayed" not in a.headers for a in made) == 1
    assert again.headers["idempotency-replayed"] == "true"


async def test_fifty_at_once_make_one_silence(daemon: DaemonProcess) -> None:
    """Silences have no name that would be taken: without the key there would be fifty."""
    wanted = {"matchers": {"device_id": "fifty"}, "ends_at": "2099-01-01T00:00:00Z", "comment": "c"}

    answers = await fifty(daemon, "/silences", wanted, "fifty-silences")

    assert {a.status_code for a in answers} <= {201, 409}
    with daemon.http() as http:
        found = http.get("/silences").json()["silences"]
    assert [s["matchers"] for s in found].count({"device_id": "fifty"}) == 1


@pytest.mark.parametrize("path", ["", "/batch"])
async def test_fifty_at_once_store_one_batch(daemon: DaemonProcess, path: str) -> None:
    point = {"timestamp": round(time.time()), "metric_name": "m", "value": 1}
    body = {"data_points": [point]} if path else point

    answers = await fifty(daemon, f"/devices/fifty/telemetry{path}", body, "points" + path)

    firsts = [a for a in answers if "duplicate" not in a.json()]
    assert {a.status_code for a in answers} == {200}
    assert len(firsts) == 1
    assert all(a.json() | {"duplicate": True} == firsts[0].json() | {"duplicate": True}
               for a in answers)  # fmt: skip


def test_points_of_another_body_are_refused(daemon: DaemonProcess) -> None:
    point = {"timestamp": round(time.time()), "metric_name": "m", "value": 1}
    for path, one, two in (
        ("/devices/other/telemetry", point, point | {"value": 2}),
        ("/devices/other/telemetry/batch", {"data_points": [point]}, {"data_points": [point] * 2}),
        ("/bulk", {"other": [point]}, {"other": [point | {"value": 3}]}),
    ):
        with daemon.http() as http:
            http.headers["Idempotency-Key"] = "same"
            first, again, other = (
                http.post(path, json=one),
                http.post(path, json=one),
                http.post(path, json=two),
            )
        assert (first.status_code, again.status_code) == (200, 200), path
        assert again.json()["duplicate"] is True
        assert again.headers["idempotency-replayed"] == "true"
        assert "idempotency-replayed" not in first.headers
        assert "batch_id" not in again.json()
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_a_refused_point_stores_nothing_under_its_key(daemon: DaemonProcess) -> None:
    point = {"timestamp": round(time.time()), "metric_name": "m", "value": 1}
    headers = {"Idempotency-Key": "refused"}
    with daemon.http() as http:
        early = http.post(
            "/devices/r/telemetry", json=point | {"timestamp": "1999-01-01T00:00:00Z"},
            headers=headers,
        )  # fmt: skip
        mended = http.post("/devices/r/telemetry", json=point, headers=headers)

    assert early.status_code == 422
    assert mended.status_code == 200
