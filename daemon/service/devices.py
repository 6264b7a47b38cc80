"""Devices: finding, describing and removing them.

They appear by themselves with their first point.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from daemon.clock import Clock, as_datetime
from daemon.domain import tellings
from daemon.domain.access import Principal
from daemon.domain.alert_record import Ended
from daemon.domain.devices import Box, Device
from daemon.domain.errors import Forbidden, NotFound, TryLater
from daemon.domain.patterns import as_like
from daemon.live.groups import Membership
from daemon.live.presence import Presence
from daemon.log import get_logger
from daemon.store.alerts import Act
from daemon.store.devices import DeviceFilter, DeviceStore

ACTIVE_FOR_US = 24 * 3_600 * 1_000_000
Status = Literal["active", "inactive"]

log = get_logger()


@dataclass(frozen=True, slots=True)
class DeviceQuery:
    """Which devices to list; None means all. `group` is an id or a name, `is_direct` leaves out
    what is only in groups below it.

    A device is active with a point of the last 24 hours.
    """

    type: str | None = None
    group: str | None = None
    tags: Mapping[str, str] | None = None
    status: Status | None = None
    box: Box | None = None
    is_direct: bool = False


class Devices:
    """What a key may not see does not exist for it."""

    def __init__(
        self,
        store: DeviceStore,
        *,
        clock: Clock,
        presence: Presence,
        membership: Membership,
        registry_reload: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._presence = presence
        self._membership = membership
        self._registry_reload = registry_reload

    async def page(
        self, wanted: DeviceQuery, *, by: Principal, limit: int, offset: int
    ) -> tuple[list[Device], int]:
        """A page by id of what the key may see, and how many there are.

        Raises Invalid `unknown_group`.
        """
        members = None
        if wanted.group is not None:
            members = list(self._membership.select([wanted.group], by=by))
            if wanted.is_direct:
                own = self._membership.own_of(self._membership.find(wanted.group) or "")
                members = [device_id for device_id in members if device_id in own]
        active = None
        if wanted.status is not None:
            active = self._presence.active_devices(self._clock.now_us() - ACTIVE_FOR_US, by=by)
        found = DeviceFilter(
            wanted.type,
            wanted.tags,
            as_like(by.devices),
            wanted.box,
            active,
            wanted.status == "active",
            group_ids=members,
            seen_ids=None if by.groups is None else list(by.member_ids),
        )
        devices, total = await self._store.page(found, limit=limit, offset=offset)
        return [self._seen(device, by) for device in devices], total

    async def show(self, device_id: str, *, by: Principal) -> Device:
        """Raises NotFound."""
        device = await self._store.find(device_id) if by.sees_device(device_id) else None
        if device is None:
            raise _unknown(device_id)
        return self._seen(device, by)

    async def change(self, device_id: str, changes: Mapping[str, Any], *, by: Principal) -> Device:
        """Change the given fields; maps are replaced whole. Raises NotFound."""
        device = (
            await self._store.change(
                device_id,
                lambda device: replace(device, **changes),
                tell=lambda device: tellings.device_updated(
                    device, sorted(changes), by=by.key_id, now_us=self._clock.now_us()
                ),
            )
            if by.sees_device(device_id)
            else None
        )
        if device is None:
            raise _unknown(device_id)
        log.info("device_changed", device_id=device_id, by=by.key_id, fields=sorted(changes))
        return self._seen(device, by)

    async def delete(self, device_id: str, *, by: Principal) -> None:
        """Remove a device and everything it sent. Raises NotFound, and Forbidden for a key that is
        bound to metrics, since points of others would go too."""
        if not by.sees_device(device_id):
            raise _unknown(device_id)
        if by.metrics is not None:
            await self.show(device_id, by=by)
            raise Forbidden(
                "a key that is bound to metrics can't delete devices", code="outside_patterns"
            )
        now_us = self._clock.now_us()
        series_ids = await self._store.delete(
            device_id,
            tell=lambda series: tellings.device_deleted(
                device_id, series, by=by.key_id, now_us=now_us
            ),
            act=Act(by.key_id, as_datetime(now_us), Ended.DEVICE_DELETED),
            tell_ended=lambda alert: tellings.alert_resolved(alert, by=by.key_id, now_us=now_us),
        )
        if series_ids is None:
            raise _unknown(device_id)
        try:
            await self._registry_reload()
        except TryLater as error:
            # The device is gone; the next append or poll finds the catalogue stale and reloads it.
            log.warning("catalog_not_reloaded", code=error.error_code)
        log.info("device_deleted", device_id=device_id, by=by.key_id, series=len(series_ids))

    def _seen(self, device: Device, by: Principal) -> Device:
        seen_us = self._presence.last_seen_us(device.device_id, by=by)
        if seen_us is None:
            return device
        is_active = seen_us >= self._clock.now_us() - ACTIVE_FOR_US
        return replace(
            device,
            last_seen_at=as_datetime(seen_us),
            status="active" if is_active else "inactive",
        )


def _unknown(device_id: str) -> NotFound:
    return NotFound(f"there is no device {device_id}", code="unknown_device")
