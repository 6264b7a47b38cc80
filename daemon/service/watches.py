"""Watches: making, finding, changing and removing them. They fire in service/evaluating."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from daemon.clock import Clock, as_datetime
from daemon.domain.access import Principal
from daemon.domain.errors import Conflict, NotFound
from daemon.domain.ids import new_id
from daemon.domain.watches import Watch, changed_watch, new_watch
from daemon.live.registry import Registry
from daemon.log import get_logger
from daemon.store.watches import WatchStore

log = get_logger()


class Watches:
    """A watch is seen by nobody but who made it: a key, or an account."""

    def __init__(self, store: WatchStore, *, registry: Registry, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock

    @property
    def now(self) -> datetime:
        return as_datetime(self._clock.now_us())

    async def page(
        self, *, state: str | None, by: Principal, limit: int, offset: int
    ) -> tuple[list[Watch], int]:
        """A page, the newest first, and how many there are."""
        return await self._store.page(by.key_id, state=state, limit=limit, offset=offset)

    async def show(self, watch_id: str, *, by: Principal) -> Watch:
        """Raises NotFound."""
        watch = await self._store.find(watch_id, owner=by.key_id)
        if watch is None:
            raise NotFound(f"there is no watch {watch_id}", code="unknown_watch")
        return watch

    async def create(self, fields: Mapping[str, Any], *, by: Principal) -> Watch:
        """Make a watch on a device that there is.

        Raises NotFound, Invalid, and Conflict `too_many_watches`.
        """
        now_us = self._clock.now_us()
        watch_id = new_id("wat", now_us=now_us)
        watch = new_watch(fields, watch_id=watch_id, owner=by.key_id, now=as_datetime(now_us))
        self._check_target(watch, by)
        stored = await self._store.insert(watch)
        log.info("watch_created", watch_id=watch_id, by=by.key_id)
        return stored

    async def change(self, watch_id: str, changes: Mapping[str, Any], *, by: Principal) -> Watch:
        """Change the given fields of a watch that has not fired.

        Raises NotFound, Invalid, and Conflict `watch_fired`.
        """
        await self.show(watch_id, by=by)

        def change(watch: Watch) -> Watch:
            changed = changed_watch(watch, changes, now=self.now)
            self._check_target(changed, by)
            return changed

        watch = await self._store.change(watch_id, change, owner=by.key_id)
        if watch is None:
            raise Conflict(f"the watch {watch_id} has fired", code="watch_fired")
        log.info("watch_changed", watch_id=watch_id, by=by.key_id, fields=sorted(changes))
        return watch

    async def delete(self, watch_id: str, *, by: Principal) -> None:
        """Remove a watch, whatever became of it. Raises NotFound."""
        await self.show(watch_id, by=by)
        await self._store.delete(watch_id, owner=by.key_id)
        log.info("watch_deleted", watch_id=watch_id, by=by.key_id)

    def _check_target(self, watch: Watch, by: Principal) -> None:
        device_id = watch.device_id
        if device_id not in self._registry.devices or not by.sees_device(device_id):
            raise NotFound(f"there is no device {device_id}", code="unknown_device")
        if not by.sees_metric(watch.metric_name):
            raise NotFound(f"there is no metric {watch.metric_name}", code="unknown_metric")
