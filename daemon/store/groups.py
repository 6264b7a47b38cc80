"""Groups as stored, and who is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from asyncpg import Record

from daemon.domain.errors import Conflict, Invalid, NotFound
from daemon.domain.events import NewEvent
from daemon.domain.groups import Group, GroupNode, Moved
from daemon.store import events
from daemon.store.named_sql import load
from daemon.store.pool import Connection, Database

SQL = load("groups")
GROUPS_MAX = 10_000
"""Every daemon holds all of them in memory; a further one is refused."""
Change = Callable[[Group], Group]
Tell = Callable[[Group, Moved], NewEvent]
"""What a change tells, in its transaction: the group as it is then, and who came and went."""


@dataclass(frozen=True, slots=True)
class GroupFilter:
    """None means all. `ids` are those that may be seen."""

    kind: str | None = None
    name: str | None = None
    parent_id: str | None = None
    ids: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """All groups at one moment, and the members of those that changed since another."""

    version: int
    nodes: list[GroupNode]
    members: Mapping[str, frozenset[str]]


class GroupStore:
    """Changes come one after the other, by the row of their version; what raises undoes them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def changed_since(self, known: int) -> Changed | None:
        """What there is to know beyond this version; None when it is the newest.

        A version that went back (a restored dump) makes everything new.
        """
        async with self._database.connection("control") as connection:
            version: int = await connection.fetchval(SQL["version"])
            if version == known:
                return None
            since = known if version > known else 0
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                version = await connection.fetchval(SQL["version"])
                nodes = await connection.fetch(SQL["nodes"])
                rows = await connection.fetch(SQL["members_since"], since)
        found = {row["group_id"]: frozenset(row["device_ids"]) for row in rows}
        changed = [GroupNode(*row.values()) for row in nodes]
        members = {
            node.group_id: found.get(node.group_id, frozenset())
            for node in changed
            if node.version > since
        }
        return Changed(version, changed, members)

    async def page(
        self, wanted: GroupFilter, *, limit: int, offset: int
    ) -> tuple[list[Group], int]:
        """A page by name, and how many there are in all."""
        filters = (wanted.kind, wanted.name, wanted.parent_id, wanted.ids)
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["list_groups"], *filters, limit, offset)
            if not rows and offset:
                first = await connection.fetchrow(SQL["list_groups"], *filters, 1, 0)
                return [], first["total"] if first else 0
        return [_group(row) for row in rows], rows[0]["total"] if rows else 0

    async def find(self, group_id: str) -> Group | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["find_group"], group_id)
        return None if row is None else _group(row)

    async def insert(self, group: Group, *, device_ids: Sequence[str], tell: Tell) -> Group:
        """Store a group with its first members.

        Raises Conflict `name_taken`, Invalid for an unknown parent or device or one group too many.
        """
        async with self._database.transaction("control") as connection:
            await _hold(connection, device_ids)
            version = await connection.fetchval(SQL["next_version"])
            if await connection.fetchval(SQL["count_groups"]) >= GROUPS_MAX:
                raise Invalid(f"there are {GROUPS_MAX} groups already", code="too_many_groups")
            await _check(connection, group)
            stamps = await connection.fetchrow(
                SQL["insert_group"], *_texts(group), version, group.created_by
            )
            assert stamps is not None
            await connection.fetch(SQL["add_members"], group.group_id, device_ids)
            group = replace(group, created_at=stamps["created_at"], updated_at=stamps["updated_at"])
            await events.append(connection, tell(group, Moved(joined=device_ids)))
        return group

    async def change(
        self, group_id: str, change: Change, *, device_ids: Sequence[str] | None, tell: Tell
    ) -> Group | None:
        """Replace a group by `change(group)` and, when given, its members; None when it is unknown.

        Raises as `insert`, and Invalid `parent_cycle`.
        """
        async with self._database.transaction("control") as connection:
            await _hold(connection, device_ids or ())
            version = await connection.fetchval(SQL["next_version"])
            row = await connection.fetchrow(SQL["find_group"], group_id)
            if row is None:
                return None
            group = change(_group(row))
            await _check(connection, group)
            updated_at = await connection.fetchval(SQL["update_group"], *_texts(group), version)
            group, moved = replace(group, updated_at=updated_at), Moved()
            if device_ids is not None:
                rows = await connection.fetch(SQL["remove_members"], group_id)
                await connection.fetch(SQL["add_members"], group_id, device_ids)
                moved = _moved({row["device_id"] for row in rows}, set(device_ids))
            await events.append(connection, tell(group, moved))
        return group

    async def delete(self, group_id: str, *, tell: Callable[[Group], NewEvent]) -> bool:
        """Remove a group; False when it is unknown. Raises Conflict `has_children`."""
        async with self._database.transaction("control") as connection:
            await connection.fetchval(SQL["next_version"])
            if await connection.fetchval(SQL["has_children"], group_id):
                raise Conflict(
                    "there are groups in this one; move or delete them first", code="has_children"
                )
            row = await connection.fetchrow(SQL["find_group"], group_id)
            if row is None:
                return False
            await connection.execute(SQL["remove_members"], group_id)
            await connection.execute(SQL["delete_group"], group_id)
            await events.append(connection, tell(_group(row)))
            return True

    async def add(self, group_id: str, device_id: str, *, tell: Tell) -> bool:
        """Put a device into a group; False when there is no such group. Raises NotFound."""
        async with self._database.transaction("control") as connection:
            if not await connection.fetch(SQL["hold_devices"], [device_id]):
                raise NotFound(f"there is no device {device_id}", code="unknown_device")
            version = await connection.fetchval(SQL["next_version"])
            touched = await connection.fetchval(SQL["touch_group"], group_id, version, device_id)
            if touched is None:
                return False
            if await connection.fetch(SQL["add_members"], group_id, [device_id]):
                await _told(connection, group_id, Moved(joined=[device_id]), tell)
            return True

    async def remove(self, group_id: str, device_id: str, *, tell: Tell) -> bool:
        """Take a device out of a group; False when it is not in it."""
        async with self._database.transaction("control") as connection:
            version = await connection.fetchval(SQL["next_version"])
            if await connection.fetchval(SQL["remove_member"], group_id, device_id) is None:
                return False
            await connection.fetchval(SQL["touch_group"], group_id, version, device_id)
            await _told(connection, group_id, Moved(left=[device_id]), tell)
            return True

    async def tags_of(self, device_ids: Sequence[str], key: str) -> dict[str, str]:
        """What a tag of these devices says; those without it are absent."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["tags_of"], device_ids, key)
        return {row["device_id"]: row["value"] for row in rows}


async def _told(connection: Connection, group_id: str, moved: Moved, tell: Tell) -> None:
    row = await connection.fetchrow(SQL["find_group"], group_id)
    assert row is not None
    await events.append(connection, tell(_group(row), moved))


def _moved(before: set[str], after: set[str]) -> Moved:
    return Moved(sorted(after - before), sorted(before - after))


async def _hold(connection: Connection, device_ids: Sequence[str]) -> None:
    """Keep devices from being deleted. Raises Invalid `unknown_device`, with every place."""
    if not device_ids:
        return
    rows = await connection.fetch(SQL["hold_devices"], device_ids)
    known = {row["device_id"] for row in rows}
    errors = [
        {"pointer": f"/device_ids/{at}", "code": "unknown_device", "detail": "never seen"}
        for at, device_id in enumerate(device_ids)
        if device_id not in known
    ]
    if errors:
        detail = "a member has to have sent something before"
        raise Invalid(detail, code="unknown_device", errors=errors[:100])


async def _check(connection: Connection, group: Group) -> None:
    """Raises Conflict when another has the name, and Invalid for a parent that can't be one."""
    namesake = await connection.fetchval(SQL["named_group"], group.name)
    if namesake not in (None, group.group_id):
        raise Conflict(f"there is a group {group.name} already", code="name_taken")
    if group.parent_id is None:
        return
    above = [row["group_id"] for row in await connection.fetch(SQL["above"], group.parent_id)]
    if not above:
        raise _bad_parent("there is no such group", "unknown_group")
    if group.group_id in above:
        raise _bad_parent("a group can't be inside itself", "parent_cycle")


def _bad_parent(detail: str, code: str) -> Invalid:
    errors = [{"pointer": "/parent_id", "code": code, "detail": detail}]
    return Invalid(detail, code=code, errors=errors)


def _texts(group: Group) -> tuple[str | None, ...]:
    return (
        group.group_id,
        group.name,
        group.kind,
        group.parent_id,
        None if group.location is None else _json(group.location),
        _json(group.metadata),
    )


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _group(row: Record) -> Group:
    values = {name: row[name] for name in Group.__slots__}
    values["metadata"] = orjson.loads(values["metadata"])
    if values["location"] is not None:
        values["location"] = orjson.loads(values["location"])
    return Group(**values)
