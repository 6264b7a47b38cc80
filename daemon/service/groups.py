"""Groups of devices: making, finding, changing and removing them, and who is in them.

Every process keeps who is in which in memory (live/groups) and asks for changes by their version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from daemon.clock import Clock, as_datetime
from daemon.domain import tellings
from daemon.domain.access import Principal
from daemon.domain.errors import Forbidden, NotFound, TryLater
from daemon.domain.groups import Group
from daemon.domain.ids import new_id
from daemon.live.groups import Membership
from daemon.log import get_logger
from daemon.store.groups import GroupFilter, GroupStore, Tell

REFRESH_EVERY_S = 0.25
"""Another daemon's change of a group is known here after this long."""
MEMBERS = ("device_ids",)
"""What changed when a device came or went."""

log = get_logger()


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as its asker may see it; a parent that they may not see is absent.

    `device_count` counts the devices that the asker sees, those of the groups below too.
    """

    group: Group
    device_count: int


class Groups:
    """What a key may not see does not exist for it.

    Only a key that is bound to no devices and groups may change a group, as that changes what bound
    keys see.
    """

    def __init__(self, store: GroupStore, *, membership: Membership, clock: Clock) -> None:
        self._store = store
        self._membership = membership
        self._clock = clock
        self._refreshing = asyncio.Lock()

    async def refresh(self) -> None:
        """Take over what changed since the last time, here or in another daemon."""
        async with self._refreshing:
            changed = await self._store.changed_since(self._membership.version)
            if changed is not None:
                self._membership.replace(
                    changed.nodes, version=changed.version, members=changed.members
                )

    # -- reading -----------------------------------------------------------------------------

    async def page(
        self, wanted: GroupFilter, *, by: Principal, limit: int, offset: int
    ) -> tuple[list[GroupView], int]:
        """A page by name of what the key may see, and how many there are."""
        visible = self._membership.visible_to(by)
        ids = None if visible is None else list(visible)
        groups, total = await self._store.page(replace(wanted, ids=ids), limit=limit, offset=offset)
        return [self._seen(group, by) for group in groups], total

    async def show(self, group_id: str, *, by: Principal) -> GroupView:
        """Raises NotFound."""
        group = await self._store.find(group_id) if self._is_visible(group_id, by) else None
        if group is None:
            raise _unknown(group_id)
        return self._seen(group, by)

    def devices_of(self, group_id: str, *, by: Principal) -> frozenset[str]:
        """The devices that the key sees, those of the groups below too. Raises NotFound."""
        if not self._is_visible(group_id, by) or self._membership.find(group_id) != group_id:
            raise _unknown(group_id)
        return self._visible_devices(group_id, by)

    def _visible_devices(self, group_id: str, by: Principal) -> frozenset[str]:
        devices = self._membership.devices_of(group_id)
        if by.devices is None and by.groups is None:
            return devices
        return frozenset(device_id for device_id in devices if by.sees_device(device_id))

    def _is_visible(self, group_id: str, by: Principal) -> bool:
        visible = self._membership.visible_to(by)
        return visible is None or group_id in visible

    def _seen(self, group: Group, by: Principal) -> GroupView:
        if group.parent_id is not None and not self._is_visible(group.parent_id, by):
            group = replace(group, parent_id=None)
        return GroupView(group, len(self._visible_devices(group.group_id, by)))

    # -- changing ----------------------------------------------------------------------------

    async def create(self, fields: Mapping[str, Any], *, by: Principal) -> GroupView:
        """Make a group. Raises Conflict `name_taken`, Invalid, and Forbidden for a bound key."""
        _refuse_bound(by)
        now_us = self._clock.now_us()
        now = as_datetime(now_us)
        group = Group(
            group_id=new_id("grp", now_us=now_us),
            name=fields["name"],
            kind=fields["kind"],
            parent_id=fields.get("parent_id"),
            location=fields.get("location"),
            metadata=fields.get("metadata") or {},
            created_at=now,
            updated_at=now,
            created_by=by.key_id,
        )
        stored = await self._store.insert(
            group,
            device_ids=_once(fields.get("device_ids") or ()),
            tell=lambda group, moved: tellings.group_created(
                group, moved, by=by.key_id, now_us=now_us
            ),
        )
        await self._take_over()
        log.info("group_created", group_id=stored.group_id, name=stored.name, by=by.key_id)
        return self._seen(stored, by)

    async def change(
        self, group_id: str, changes: Mapping[str, Any], *, by: Principal
    ) -> GroupView:
        """Change the given fields; `device_ids` are all members from then on.

        Raises NotFound, Conflict, Invalid, and Forbidden for a bound key.
        """
        self._check_change(group_id, by)
        fields = {name: value for name, value in changes.items() if name != "device_ids"}
        members = changes.get("device_ids")
        group = await self._store.change(
            group_id,
            lambda group: replace(group, **fields),
            device_ids=None if members is None else _once(members),
            tell=self._tell(sorted(changes), by),
        )
        if group is None:
            raise _unknown(group_id)
        await self._take_over()
        log.info("group_changed", group_id=group_id, by=by.key_id, fields=sorted(changes))
        return self._seen(group, by)

    async def delete(self, group_id: str, *, by: Principal) -> None:
        """Remove a group; its devices stay. Raises NotFound, Forbidden, Conflict `has_children`."""
        self._check_change(group_id, by)
        now_us = self._clock.now_us()
        if not await self._store.delete(
            group_id, tell=lambda group: tellings.group_deleted(group, by=by.key_id, now_us=now_us)
        ):
            raise _unknown(group_id)
        await self._take_over()
        log.info("group_deleted", group_id=group_id, by=by.key_id)

    async def add(self, group_id: str, device_id: str, *, by: Principal) -> None:
        """Put a device into a group; again is no error. Raises NotFound, Forbidden."""
        self._check_change(group_id, by)
        if not await self._store.add(group_id, device_id, tell=self._tell(MEMBERS, by)):
            raise _unknown(group_id)
        await self._take_over()
        log.info("group_joined", group_id=group_id, device_id=device_id, by=by.key_id)

    async def remove(self, group_id: str, device_id: str, *, by: Principal) -> None:
        """Take a device out of a group. Raises NotFound, also when it is not in it; Forbidden."""
        self._check_change(group_id, by)
        if not await self._store.remove(group_id, device_id, tell=self._tell(MEMBERS, by)):
            if await self._store.find(group_id) is None:
                raise _unknown(group_id)
            raise NotFound(f"{device_id} is not in {group_id} itself", code="not_a_member")
        await self._take_over()
        log.info("group_left", group_id=group_id, device_id=device_id, by=by.key_id)

    def _tell(self, fields: Sequence[str], by: Principal) -> Tell:
        now_us = self._clock.now_us()
        return lambda group, moved: tellings.group_updated(
            group, fields, moved, by=by.key_id, now_us=now_us
        )

    def _check_change(self, group_id: str, by: Principal) -> None:
        if not self._is_visible(group_id, by):
            raise _unknown(group_id)
        _refuse_bound(by)

    async def _take_over(self) -> None:
        """Know the change at once. It is committed; when this fails, the next turn takes it."""
        try:
            await self.refresh()
        except TryLater as error:
            log.warning("groups_not_refreshed", code=error.error_code)


def _refuse_bound(by: Principal) -> None:
    if by.devices is not None or by.groups is not None:
        raise Forbidden(
            "a key that is bound to devices or groups can't change groups", code="outside_patterns"
        )


def _once(device_ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(device_ids))


def _unknown(group_id: str) -> NotFound:
    return NotFound(f"there is no group {group_id}", code="unknown_group")
