"""Silences: making, finding, changing and ending them. What they hold back is decided when a
message is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from daemon.clock import Clock, as_datetime
from daemon.domain.access import Principal
from daemon.domain.errors import Conflict, Forbidden, Invalid, NotFound
from daemon.domain.ids import new_id
from daemon.domain.silences import Silence
from daemon.log import get_logger
from daemon.store.silences import SilenceStore

SCANNED = 10_000
"""Among so many a key that is bound finds those that it sees."""

log = get_logger()


class Silences:
    """A key that is bound to devices, groups or metrics makes and sees only silences of devices,
    and of metrics, that it sees."""

    def __init__(self, store: SilenceStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @property
    def now(self) -> datetime:
        return as_datetime(self._clock.now_us())

    async def page(
        self, *, with_expired: bool, by: Principal, limit: int, offset: int
    ) -> tuple[list[Silence], int]:
        """A page, those that end last first, and how many there are."""
        if by.sees_everything:
            return await self._store.page(with_expired=with_expired, limit=limit, offset=offset)
        silences, _ = await self._store.page(with_expired=with_expired, limit=SCANNED, offset=0)
        seen = [silence for silence in silences if _is_in_reach(silence.matchers, by)]
        return seen[offset : offset + limit], len(seen)

    async def show(self, silence_id: str, *, by: Principal) -> Silence:
        """Raises NotFound."""
        silence = await self._store.find(silence_id)
        if silence is None or not _is_in_reach(silence.matchers, by):
            raise NotFound(f"there is no silence {silence_id}", code="unknown_silence")
        return silence

    async def create(self, fields: Mapping[str, Any], *, by: Principal) -> Silence:
        """Make a silence, from now on when nothing else is said.

        Raises Invalid, and Forbidden outside the key's patterns.
        """
        now_us = self._clock.now_us()
        now = as_datetime(now_us)
        silence = Silence(
            silence_id=new_id("sil", now_us=now_us),
            matchers=fields["matchers"],
            starts_at=fields.get("starts_at") or now,
            ends_at=fields["ends_at"],
            comment=fields.get("comment") or "",
            created_at=now,
            updated_at=now,
            created_by=by.key_id,
        )
        self._check(silence, by)
        stored = await self._store.insert(silence)
        log.info("silence_created", silence_id=silence.silence_id, by=by.key_id)
        return stored

    async def change(
        self, silence_id: str, changes: Mapping[str, Any], *, by: Principal
    ) -> Silence:
        """Change the given fields; what it held back is looked at again.

        Raises NotFound, Conflict `silence_over`, Invalid, Forbidden outside the key's patterns.
        """
        await self.show(silence_id, by=by)

        def change(silence: Silence) -> Silence:
            changed = replace(silence, **changes)
            self._check(changed, by)
            return changed

        silence = await self._store.change(silence_id, change)
        if silence is None:
            raise _over(silence_id)
        log.info("silence_changed", silence_id=silence_id, by=by.key_id, fields=sorted(changes))
        return silence

    async def expire(self, silence_id: str, *, by: Principal) -> None:
        """End a silence now; what it held back is told, where it still holds.

        Raises NotFound, Conflict `silence_over`, Forbidden outside the key's patterns.
        """
        silence = await self.show(silence_id, by=by)
        _refuse_out_of_reach(silence, by)
        if not await self._store.expire(silence_id):
            raise _over(silence_id)
        log.info("silence_expired", silence_id=silence_id, by=by.key_id)

    def _check(self, silence: Silence, by: Principal) -> None:
        if silence.ends_at <= max(silence.starts_at, self.now):
            errors = [
                {
                    "pointer": "/ends_at",
                    "code": "bad_value",
                    "detail": "ends_at lies after starts_at and in the future",
                }
            ]
            raise Invalid("The silence would be over already.", errors=errors)
        _refuse_out_of_reach(silence, by)


def _refuse_out_of_reach(silence: Silence, by: Principal) -> None:
    if not _is_in_reach(silence.matchers, by):
        raise Forbidden(
            "the key's patterns do not reach all that the silence matches", code="outside_patterns"
        )


def _is_in_reach(matchers: Mapping[str, Any], by: Principal) -> bool:
    """Whether it names only devices, and metrics, that the key sees; a pattern names no one."""
    if by.is_bound and not _all_seen(matchers.get("device_id"), by.sees_device):
        return False
    return by.metrics is None or _all_seen(matchers.get("metric_name"), by.sees_metric)


def _all_seen(named: Any, sees: Any) -> bool:
    values = named if isinstance(named, list) else [named] if named is not None else []
    return bool(values) and all(not set(value) & set("*?") and sees(value) for value in values)


def _over(silence_id: str) -> Conflict:
    return Conflict(f"the silence {silence_id} is over", code="silence_over")
