"""In which state the members of groups are: counts over a group, and each device by itself.

A state is the newest value of a metric, however old, as long as it is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from daemon.clock import as_datetime
from daemon.domain.access import Principal
from daemon.domain.errors import Invalid, Malformed
from daemon.service.groups import Groups
from daemon.service.latest import LatestReads, Newest
from daemon.store.groups import GroupStore

TOTAL = "total"
MEMBERS_COUNTED_MAX = 50_000
"""Members that one answer counts; a request over more is refused."""
MEMBERS_AT_A_TIME = 1_000
"""Between so many members other requests have their turn."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """Count the members whose newest value of `metric` is `state`; `tag` splits them."""

    metric: str
    state: str
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of one device; `reason` says why no watch may be set, None that one may."""

    status: Any
    changed_at: datetime | None
    reason: str | None


def parse_rollup(text: str, *, by: str | None) -> Rollup:
    """The rollup of `metric:state`, split by `tag.K`. Raises Malformed."""
    metric, colon, state = text.rpartition(":")
    if not colon or not metric or not state or state == TOTAL:
        raise Malformed(f"rollup is metric:state, and the state is not {TOTAL}", code="bad_rollup")
    if by is None:
        return Rollup(metric, state)
    tag = by.removeprefix("tag.")
    if tag == by or not tag:
        raise Malformed("by is tag.K", code="bad_rollup")
    return Rollup(metric, state, tag)


class GroupStates:
    """Reads the newest points of this process, and the tags of devices."""

    def __init__(self, store: GroupStore, *, groups: Groups, latest: LatestReads) -> None:
        self._store = store
        self._groups = groups
        self._latest = latest

    async def rollups(
        self, group_ids: Sequence[str], wanted: Rollup, *, by: Principal
    ) -> dict[str, dict[str, Any]]:
        """{state: n, "total": n} of each group, or one such for each value of the tag.

        Devices without the tag stand under the empty text. Raises Invalid over the bound.
        """
        members = {group_id: self._groups.devices_of(group_id, by=by) for group_id in group_ids}
        count = sum(map(len, members.values()))
        if count > MEMBERS_COUNTED_MAX:
            raise Invalid(
                f"the groups hold {count} devices, more than {MEMBERS_COUNTED_MAX}; "
                "ask for fewer groups at once",
                code="too_many_devices",
            )
        every = frozenset().union(*members.values())
        is_in = await self._those_in(every, wanted, by)
        if wanted.tag is None:
            return {
                group_id: {wanted.state: len(devices & is_in), TOTAL: len(devices)}
                for group_id, devices in members.items()
            }
        values = await self._store.tags_of(list(every), wanted.tag)
        return {
            group_id: _split(devices, is_in, values, state=wanted.state)
            for group_id, devices in members.items()
        }

    async def _those_in(self, devices: frozenset[str], wanted: Rollup, by: Principal) -> set[str]:
        found = set()
        for at, device_id in enumerate(devices, 1):
            if self._is_in(device_id, wanted, by):
                found.add(device_id)
            if at % MEMBERS_AT_A_TIME == 0:
                await asyncio.sleep(0)
        return found

    def _is_in(self, device_id: str, wanted: Rollup, by: Principal) -> bool:
        newest = self._latest.find(by, device_id=device_id, metric_name=wanted.metric)
        return newest is not None and is_state(newest.value, wanted.state)

    def standing(
        self, device_id: str, *, metric: str, state: str | None, by: Principal
    ) -> Standing:
        """The state of a device; with `state`, a device that is in it may not be watched for it."""
        newest = self._latest.find(by, device_id=device_id, metric_name=metric)
        if newest is None:
            return Standing(None, None, f"it has sent no {metric}")
        is_there = state is not None and is_state(newest.value, state)
        reason = f"its {metric} is {state} already" if is_there else None
        return Standing(newest.value, _changed_at(newest), reason)


def is_state(value: Any, state: str) -> bool:
    """Whether a value is what the text says: text as it is, booleans as true and false, numbers by
    their value."""
    if isinstance(value, str):
        return value == state
    if isinstance(value, bool):
        return state.lower() == str(value).lower()
    if isinstance(value, int | float):
        try:
            return float(state) == value
        except ValueError:
            return False
    return False


def _changed_at(newest: Newest) -> datetime:
    return as_datetime(newest.changed_at_us)


def _split(
    devices: frozenset[str], is_in: set[str], values: dict[str, str], *, state: str
) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for device_id in devices:
        counts = found.setdefault(values.get(device_id, ""), {state: 0, TOTAL: 0})
        counts[TOTAL] += 1
        counts[state] += device_id in is_in
    return dict(sorted(found.items()))
