"""Devices as stored, and removing one with all that it sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from asyncpg import Record

from daemon.domain.alert_record import Alert
from daemon.domain.devices import Box, Device
from daemon.domain.events import NewEvent
from daemon.store import alerts, events
from daemon.store.alerts import Act
from daemon.store.named_sql import load
from daemon.store.pool import Database

SQL = load("devices")
Change = Callable[[Device], Device]


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """None means all.

    `active_ids` with `is_active` keeps the devices that are, or are not, among them. `likes` or
    `seen_ids`, where there are any, hold what may be seen; `group_ids` what a group holds.
    """

    type: str | None = None
    tags: Mapping[str, str] | None = None
    likes: Sequence[str] | None = None
    box: Box | None = None
    active_ids: Sequence[str] | None = None
    is_active: bool = True
    group_ids: Sequence[str] | None = None
    seen_ids: Sequence[str] | None = None


class DeviceStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, wanted: DeviceFilter, *, limit: int, offset: int
    ) -> tuple[list[Device], int]:
        """A page by id, and how many there are in all."""
        filters = (
            wanted.type,
            _json(dict(wanted.tags)) if wanted.tags else None,
            wanted.likes,
            None if wanted.box is None else list(wanted.box),
            wanted.active_ids,
            wanted.is_active,
            wanted.group_ids,
            wanted.seen_ids,
        )
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["list_devices"], *filters, limit, offset)
            if not rows and offset:
                first = await connection.fetchrow(SQL["list_devices"], *filters, 1, 0)
                return [], first["total"] if first else 0
        return [_device(row) for row in rows], rows[0]["total"] if rows else 0

    async def find(self, device_id: str) -> Device | None:
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["find_device"], device_id)
        return None if row is None else _device(row)

    async def change(
        self, device_id: str, change: Change, *, tell: Callable[[Device], NewEvent]
    ) -> Device | None:
        """Replace a device by `change(device)`; None when there is none."""
        async with self._database.transaction("control") as connection:
            row = await connection.fetchrow(SQL["lock_device"], device_id)
            if row is None:
                return None
            device = change(_device(row))
            updated_at = await connection.fetchval(
                SQL["update_device"],
                device_id,
                device.name,
                device.type,
                _json(device.tags),
                _json(device.attributes),
                _json(device.location),
                device.expected_interval,
            )
            device = replace(device, updated_at=updated_at)
            await events.append(connection, tell(device))
        return device

    async def delete(
        self,
        device_id: str,
        *,
        tell: Callable[[int], NewEvent],
        act: Act,
        tell_ended: Callable[[Alert], NewEvent],
    ) -> list[int] | None:
        """Remove a device and all its series hold, and end its alerts; the ids of the series, None
        when unknown.

        The catalogue changes last, since that holds up every append until the commit.
        """
        async with self._database.transaction("control") as connection:
            if await connection.fetchrow(SQL["lock_device"], device_id) is None:
                return None
            await connection.execute(SQL["wait_longer"])
            rows = await connection.fetch(SQL["delete_series"], device_id)
            series_ids = [row["series_id"] for row in rows]
            for query in ("delete_chunks", "delete_rollups", "delete_latest"):
                await connection.execute(SQL[query], series_ids)
            # As the groups' own changes do: the device first, then the version of the groups.
            await connection.execute(SQL["groups_changed"], device_id)
            await connection.execute(SQL["leave_groups"], device_id)
            await connection.execute(SQL["delete_device"], device_id)
            ended = await alerts.forget_device(connection, device_id, act)
            await connection.fetchval(SQL["catalog_changed"])
            await events.append(connection, tell(len(series_ids)))
            await alerts.tell_of(connection, ended, tell_ended)
        return series_ids


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _device(row: Record) -> Device:
    return Device(
        row["device_id"],
        row["name"],
        row["device_type"],
        orjson.loads(row["tags"]),
        orjson.loads(row["attributes"]),
        None if row["location"] is None else orjson.loads(row["location"]),
        row["expected_interval_s"],
        row["created_at"],
        row["updated_at"],
    )
