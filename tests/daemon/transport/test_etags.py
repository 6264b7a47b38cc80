"""Tags of what can be changed: nothing is sent twice, nobody's edit is overwritten unseen."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from alert_builder import an_alert
from control import API, Control, bearer

from daemon.transport.etags import matches

pytestmark = pytest.mark.anyio
RULE = {"name": "hot", "metric_name": "flow", "condition": ">", "threshold_value": 1}
CHANNEL = {"name": "ops", "kind": "webhook", "url": "https://example.com/hook"}
SILENCE = {"matchers": {"device_id": "d"}, "ends_at": "2099-01-01T00:00:00Z", "comment": "c"}
WATCH = {"device_id": "d", "metric_name": "flow", "from": "a", "to": "b"}


@dataclass(frozen=True)
class Thing:
    """How one kind is made, where it is, and what a change of it is."""

    made: tuple[str, dict[str, Any]] | None
    path: str
    change: dict[str, Any]
    ids: str = ""


THINGS = {
    "metric": Thing(
        ("/metrics", {"name": "flow", "data_type": "numeric"}), "/metrics/flow", {"unit": "l"}
    ),
    "device": Thing(None, "/devices/d", {"name": "pump"}),
    "group": Thing(("/groups", {"name": "g", "kind": "site"}), "/groups/{}", {"name": "h"},
                   "group_id"),
    "rule": Thing(("/alerts/rules", RULE), "/alerts/rules/{}", {"level": "error"}, "rule_id"),
    "channel": Thing(("/channels", CHANNEL), "/channels/ops",
                     {"url": "https://example.com/other"}),
    "silence": Thing(("/silences", SILENCE), "/silences/{}", {"comment": "other"}, "silence_id"),
    "watch": Thing(("/watches", WATCH), "/watches/{}", {"to": "c"}, "watch_id"),
}  # fmt: skip


async def made(control: Control, name: str) -> str:
    """The path of a new thing."""
    thing = THINGS[name]
    await control.send([("d", "flow", 1_790_000_000_000_000, 1.0)])
    if thing.made is None:
        return API + thing.path
    path, body = thing.made
    answer = await control.client.post(API + path, json=body)
    assert answer.status_code == 201, answer.text
    return API + thing.path.format(answer.json().get(thing.ids))


@pytest.mark.parametrize("name", THINGS)
async def test_what_is_known_is_not_sent_again(control: Control, name: str) -> None:
    path = await made(control, name)
    first = await control.client.get(path)
    tag = first.headers["etag"]

    again = await control.client.get(path, headers={"If-None-Match": f'"x", W/{tag}'})
    await control.client.patch(path, json=THINGS[name].change)
    changed = await control.client.get(path, headers={"If-None-Match": tag})

    assert tag.startswith('"')
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


@pytest.mark.parametrize("name", THINGS)
async def test_what_was_made_or_changed_can_be_changed_again_unread(
    control: Control, name: str
) -> None:
    """The answer to a change has the tag that a GET would have now."""
    thing = THINGS[name]
    await control.send([("d", "flow", 1_790_000_000_000_000, 1.0)])
    path = API + thing.path
    if thing.made is not None:
        answer = await control.client.post(API + thing.made[0], json=thing.made[1])
        path = API + thing.path.format(answer.json().get(thing.ids))
        assert answer.headers["etag"] == (await control.client.get(path)).headers["etag"]
    else:
        answer = await control.client.get(path)
    for any_version in ("*", None, None):
        headers = {"If-Match": any_version or answer.headers["etag"]}
        answer = await control.client.patch(path, json=thing.change, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["etag"] == (await control.client.get(path)).headers["etag"]
    removed = await control.client.delete(path)

    assert removed.status_code == 200
    assert "etag" not in removed.headers


async def test_keys_accounts_and_alerts_say_their_tag_when_they_change(control: Control) -> None:
    client = control.client
    key = await client.post(f"{API}/keys", json={"name": "k", "scopes": ["read"]})
    body = {"username": "ann", "password": "a long password", "scopes": ["read"]}
    account = await client.post(f"{API}/accounts", json=body)
    off = await client.patch(
        f"{API}/accounts/ann",
        json={"disabled": True},
        headers={"If-Match": account.headers["etag"]},
    )
    rule = await client.post(f"{API}/alerts/rules", json=RULE)
    path = f"{API}/alerts/rules/{rule.json()['rule_id']}/enable"
    enabled = await client.put(path, json={"enabled": False})
    revoked = await client.delete(
        f"{API}/keys/{key.json()['key_id']}", headers={"If-Match": key.headers["etag"]}
    )

    assert [a.status_code for a in (key, account, off, enabled, revoked)] == [
        201, 201, 200, 200, 200
    ]  # fmt: skip
    assert off.headers["etag"] == (await client.get(f"{API}/accounts/ann")).headers["etag"]
    again = await client.put(
        path, json={"enabled": True}, headers={"If-Match": enabled.headers["etag"]}
    )
    assert again.status_code == 200


@pytest.mark.parametrize("name", THINGS)
async def test_only_what_was_seen_is_changed(control: Control, name: str) -> None:
    path, change = await made(control, name), THINGS[name].change
    tag = (await control.client.get(path)).headers["etag"]

    mine = await control.client.patch(path, json=change, headers={"If-Match": f'"0-x", {tag}'})
    late = await control.client.patch(path, json=change, headers={"If-Match": tag})
    removed = await control.client.delete(path, headers={"If-Match": tag})

    assert mine.status_code == 200, mine.text
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert removed.status_code == 412
    newest = (await control.client.get(path)).headers["etag"]
    for wrong in (f"W/{newest}", '""', "nonsense", '"0-0"'):
        refused = await control.client.delete(path, headers={"If-Match": wrong})
        assert refused.status_code == 412, wrong
    done = await control.client.delete(path, headers={"If-Match": newest})
    assert done.status_code == 200, done.text


async def test_a_key_is_revoked_as_it_was_seen(control: Control) -> None:
    made = (await control.client.post(f"{API}/keys", json={"name": "k", "scopes": ["read"]})).json()
    path = f"{API}/keys/{made['key_id']}"
    tag = (await control.client.get(path)).headers["etag"]
    await control.client.get("/auth/whoami", headers=bearer(made["key"]))
    await control.services.keys.uses.write()

    used = await control.client.get(path, headers={"If-None-Match": tag})
    await control.client.post(path + "/rotate", json={"overlap": "1h"})
    late = await control.client.delete(path, headers={"If-Match": tag})
    newest = (await control.client.get(path)).headers["etag"]
    await control.client.get("/auth/whoami", headers=bearer(made["key"]))
    control.clock.advance_s(61)
    await control.client.get("/auth/whoami", headers=bearer(made["key"]))
    await control.services.keys.uses.write()
    done = await control.client.delete(path, headers={"If-Match": newest})
    again = await control.client.delete(path, headers={"If-Match": newest})

    assert used.status_code == 200
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert (done.status_code, again.status_code) == (200, 404)


async def test_a_key_is_rotated_as_it_was_seen(control: Control) -> None:
    made = await control.client.post(f"{API}/keys", json={"name": "k", "scopes": ["read"]})
    path = f"{API}/keys/{made.json()['key_id']}"
    seen, overlap = {"If-Match": made.headers["etag"]}, {"overlap": "1h"}

    done = await control.client.post(path + "/rotate", json=overlap, headers=seen)
    late = await control.client.post(path + "/rotate", json=overlap, headers=seen)
    mine = {"If-Match": done.headers["etag"]}
    control.clock.advance_s(1)
    again = await control.client.post(path + "/rotate", json=overlap, headers=mine)
    control.clock.advance_s(1)
    once = {"Idempotency-Key": "turn"}
    stale = await control.client.post(path + "/rotate", json=overlap, headers=mine | once)
    newest = {"If-Match": again.headers["etag"]}
    last = await control.client.post(path + "/rotate", json=overlap, headers=newest | once)
    repeated = await control.client.post(path + "/rotate", json=overlap, headers=newest | once)

    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert (done.status_code, again.status_code) == (200, 200)
    # What was refused did nothing, so its key is free.
    assert (stale.status_code, last.status_code) == (412, 200)
    assert (repeated.status_code, repeated.json()["code"]) == (409, "already_done")


async def test_of_two_that_revoke_a_key_one_does_it(control: Control) -> None:
    """Neither waits for the other's row while it holds its turn."""
    for _ in range(5):
        made = await control.client.post(f"{API}/keys", json={"name": "k", "scopes": ["read"]})
        path = f"{API}/keys/{made.json()['key_id']}"
        tag = (await control.client.get(path)).headers["etag"]

        answers = await asyncio.gather(
            control.client.delete(path, headers={"If-Match": tag}),
            control.client.delete(path),
            control.client.delete(path, headers={"If-Match": tag}),
        )

        assert sorted(answer.status_code for answer in answers) == [200, 404, 404]


async def test_an_account_is_changed_as_it_was_seen(control: Control) -> None:
    body = {"username": "Ann", "password": "long enough", "scopes": ["read"]}
    made = await control.client.post(f"{API}/accounts", json=body)
    path, other = f"{API}/accounts/Ann", f"{API}/accounts/ann"
    shown = await control.client.get(path)
    tag = shown.headers["etag"]
    login = {"username": "ann", "password": "long enough"}
    assert (await control.client.post("/auth/login", json=login)).status_code == 200

    known = await control.client.get(path, headers={"If-None-Match": tag})
    mine = await control.client.patch(
        other, json={"password": "longer still"}, headers={"If-Match": tag}
    )
    late = await control.client.patch(path, json={"disabled": True}, headers={"If-Match": tag})
    removed = await control.client.delete(other, headers={"If-Match": tag})
    newest = (await control.client.get(path)).headers["etag"]
    done = await control.client.delete(path, headers={"If-Match": newest})

    assert made.json()["updated_at"] == shown.json()["updated_at"]
    assert known.status_code == 200
    assert mine.status_code == 200, mine.text
    assert mine.json()["updated_at"] > shown.json()["updated_at"]
    assert (late.status_code, removed.status_code) == (412, 412)
    assert done.status_code == 200


async def test_members_change_in_the_group_that_was_seen(control: Control) -> None:
    path = await made(control, "group")
    await control.send([("e", "flow", 1_790_000_000_000_000, 1.0)])
    tag = (await control.client.get(path)).headers["etag"]
    member = path + "/devices/d"

    joined = await control.client.put(member, headers={"If-Match": tag})
    late = await control.client.put(path + "/devices/e", headers={"If-Match": tag})
    edit = await control.client.patch(path, json={"device_ids": []}, headers={"If-Match": tag})
    left = await control.client.delete(member, headers={"If-Match": tag})
    newest = (await control.client.get(path)).headers["etag"]
    again = await control.client.put(member, headers={"If-Match": newest})
    same = await control.client.delete(member, headers={"If-Match": newest})

    assert joined.status_code == 200, joined.text
    assert [late.status_code, edit.status_code, left.status_code] == [412] * 3
    assert [again.status_code, same.status_code] == [200, 200]


async def test_of_ten_that_saw_a_group_one_adds_a_member(control: Control) -> None:
    path = await made(control, "group")
    points = [(f"d{at}", "flow", 1_790_000_000_000_000, 1.0) for at in range(10)]
    await control.send(points)
    tag = (await control.client.get(path)).headers["etag"]

    answers = await asyncio.gather(
        *(
            control.client.put(f"{path}/devices/d{at}", headers={"If-Match": tag})
            for at in range(10)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9


async def test_any_version_is_any_that_is_there(control: Control) -> None:
    path = await made(control, "metric")

    there = await control.client.patch(path, json={"unit": "m"}, headers={"If-Match": "*"})
    gone = await control.client.delete(API + "/metrics/none", headers={"If-Match": "*"})

    assert (there.status_code, gone.status_code) == (200, 404)


async def test_a_counter_that_moved_is_no_edit(control: Control) -> None:
    path = await made(control, "rule")
    tag = (await control.client.get(path)).headers["etag"]
    async with control.database.connection("control") as connection:
        await connection.execute("update telemetry.alert_rule set total_triggers = 7")

    known = await control.client.get(path, headers={"If-None-Match": tag})
    enabled = await control.client.put(
        path + "/enable", json={"enabled": False}, headers={"If-Match": tag}
    )
    late = await control.client.put(
        path + "/enable", json={"enabled": True}, headers={"If-Match": tag}
    )

    assert known.status_code == 200
    assert (enabled.status_code, late.status_code) == (200, 412)


async def test_of_ten_that_saw_the_same_one_changes_it(control: Control) -> None:
    path = await made(control, "metric")
    tag = (await control.client.get(path)).headers["etag"]

    answers = await asyncio.gather(
        *(
            control.client.patch(path, json={"unit": f"u{at}"}, headers={"If-Match": tag})
            for at in range(10)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9


async def test_what_may_not_be_seen_is_not_there_whatever_its_tag(control: Control) -> None:
    path = await made(control, "metric")
    blind = bearer(await control.key("metrics:write", "read", metrics=("other_*",)))

    hidden = await control.client.patch(
        path, json={"unit": "m"}, headers={"If-Match": '"0-0"', **blind}
    )
    absent = await control.client.patch(
        API + "/metrics/none", json={"unit": "m"}, headers={"If-Match": '"0-0"', **blind}
    )

    assert (hidden.status_code, absent.status_code) == (404, 404)


@pytest.mark.parametrize(("said", "expected"), [
    ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("a", False),
    ("", False),
])  # fmt: skip
def test_any_of_the_tags_of_a_request_may_be_it(said: str, expected: bool) -> None:
    assert matches(said, '"a"') is expected
    assert matches(said, 'W/"a"') is expected


async def test_an_alert_is_acknowledged_as_it_was_seen(control: Control) -> None:
    alert_id = await an_alert(control.database, rule_id="rul_1", device_id="a")
    path = f"{API}/alerts/{alert_id}"
    tag = (await control.client.get(path)).headers["etag"]

    first = await control.client.put(path + "/acknowledge", headers={"If-Match": tag})
    late = await control.client.put(path + "/resolve", headers={"If-Match": tag})
    seen = (await control.client.get(path)).headers["etag"]
    ended = await control.client.put(path + "/resolve", headers={"If-Match": seen})

    assert [first.status_code, late.status_code, ended.status_code] == [200, 412, 200]


TURNS = {
    "rule": ("alert_version", "update telemetry.alert_rule set tags = tags"),
    "watch": ("alert_version", "update telemetry.watch set owner = owner"),
    "group": ("group_version", "update telemetry.device_group set name = name"),
}
"""What the evaluator, or another change, holds before it writes to such a row."""


@pytest.mark.parametrize("name", TURNS)
async def test_a_change_of_what_was_seen_waits_for_its_turn_before_it_holds_the_row(
    control: Control, name: str
) -> None:
    path, change = await made(control, name), THINGS[name].change
    tag = (await control.client.get(path)).headers["etag"]
    turn, write = TURNS[name]

    async with asyncio.TaskGroup() as tasks, control.database.transaction("ingest") as other:
        await other.execute(f"select from telemetry.{turn} for share")
        mine = tasks.create_task(control.client.patch(path, json=change, headers={"If-Match": tag}))
        await waits(control)
        await other.execute(write)

    assert mine.result().status_code == 200, mine.result().text


async def test_a_member_that_is_deleted_meanwhile_is_held_before_its_group(
    control: Control,
) -> None:
    path = await made(control, "group")
    tag = (await control.client.get(path)).headers["etag"]

    async with asyncio.TaskGroup() as tasks, control.database.transaction("ingest") as other:
        await other.execute("select from telemetry.device where device_id = 'd' for update")
        mine = tasks.create_task(control.client.put(f"{path}/devices/d", headers={"If-Match": tag}))
        await waits(control)
        await other.execute("update telemetry.group_version set version = version + 1")

    assert mine.result().status_code == 200, mine.result().text


async def waits(control: Control) -> None:
    """Until a statement waits for a lock of this database."""
    asked = """select exists (select from pg_locks l join pg_stat_activity a using (pid)
                               where not l.granted and a.datname = current_database())"""
    while True:
        async with control.database.connection("control") as connection:
            if await connection.fetchval(asked):
                return
        await asyncio.sleep(0.02)
