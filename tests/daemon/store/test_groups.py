"""Changes of groups that meet each other, and devices that go meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from control import API, Control
from event_builder import an_event

from daemon.domain.errors import DomainError
from daemon.domain.kinds import Kind
from daemon.store.groups import GroupStore

pytestmark = pytest.mark.anyio


async def make(control: Control, name: str) -> str:
    answer = await control.client.post(f"{API}/groups", json={"name": name, "kind": "x"})
    group_id: str = answer.json()["group_id"]
    return group_id


async def test_two_moves_at_once_never_make_a_circle(control: Control) -> None:
    store = GroupStore(control.database)
    for turn in range(10):
        one, two = await make(control, f"one {turn}"), await make(control, f"two {turn}")

        async def move(group_id: str, parent_id: str) -> str:
            try:
                await store.change(
                    group_id,
                    lambda group: replace(group, parent_id=parent_id),
                    device_ids=None,
                    tell=lambda group, moved: an_event("group.updated"),
                )
            except DomainError as error:
                return error.error_code
            return "moved"

        outcomes = await asyncio.gather(move(one, two), move(two, one))

        assert sorted(outcomes) == ["moved", "parent_cycle"]


async def test_devices_that_join_leave_and_go_at_once_never_break(control: Control) -> None:
    group_id = await make(control, "g")
    codes: set[int] = set()

    async def ask(method: str, path: str, times: int = 15) -> None:
        for _ in range(times):
            await control.tail.series.register([("d1", "m", Kind.NUMERIC)])
            answer = await control.client.request(method, f"{API}{path}")
            codes.add(answer.status_code)

    await asyncio.gather(
        ask("PUT", f"/groups/{group_id}/devices/d1"),
        ask("DELETE", f"/groups/{group_id}/devices/d1"),
        ask("DELETE", "/devices/d1"),
        ask("GET", f"/groups/{group_id}/devices"),
    )

    assert codes <= {200, 404}
    async with control.database.connection("control") as connection:
        kept = await connection.fetchval("select array_agg(device_id) from telemetry.group_member")
    await control.services.groups.refresh()
    assert control.tail.registry.membership.devices_of(group_id) == set(kept or ())


async def test_a_version_that_went_back_makes_everything_new(control: Control) -> None:
    group_id = await make(control, "g")
    store = GroupStore(control.database)
    changed = await store.changed_since(1_000_000)

    assert changed is not None
    assert changed.members == {group_id: frozenset()}
    assert await store.changed_since(changed.version) is None
