"""Routes of groups of devices."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from daemon.domain.devices import Device
from daemon.domain.errors import Malformed
from daemon.domain.groups import Group as StoredGroup
from daemon.service.devices import DeviceQuery
from daemon.service.group_states import Standing, parse_rollup
from daemon.service.groups import GroupView
from daemon.store.groups import GroupFilter
from daemon.transport.answers import json_answer
from daemon.transport.auth import DevicesWriter, Reader
from daemon.transport.paging import Limit, Offset, Text, tags_of
from daemon.transport.paths import PathId
from daemon.transport.reading import words_schema
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.groups import (
    Group,
    GroupCreate,
    GroupDeleted,
    GroupDevices,
    GroupList,
    GroupMembership,
    GroupPatch,
)

router = new_router(tags=["groups"])

INCLUDABLE = ("status", "changed_at", "watchable")
GroupId = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-z_]+$")]
Name = Annotated[str, Query(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:/-]+$")]
RollupText = Annotated[
    Text,
    Query(
        description="metric:state counts the members whose newest value is that",
        json_schema_extra={"pattern": "^[A-Za-z0-9_.:/-]{1,128}:[^:\\x00]{1,100}$"},
    ),
]
ByText = Annotated[
    Text,
    Query(
        description="tag.K splits the counts; it needs a rollup",
        json_schema_extra={"pattern": "^tag[.][^\\x00]{1,200}$"},
    ),
]
IncludeText = Annotated[
    str,
    Query(max_length=100, description=f"of {', '.join(INCLUDABLE)}, separated by commas"),
    words_schema(INCLUDABLE, chars_max=100),
]


@router.post("/groups", status_code=201, response_model=Group, operation_id="create_group")
async def create_group(body: GroupCreate, who: DevicesWriter, parts: Parts) -> Response:
    """Make a group; members have to have sent something before."""
    return json_answer(_shown(await parts.groups.create(_given(body), by=who)), status=201)


@router.get("/groups", response_model=GroupList, operation_id="list_groups")
async def list_groups(
    who: Reader,
    parts: Parts,
    kind: Text | None = None,
    name: Text | None = None,
    parent_id: Text | None = None,
    rollup: RollupText | None = None,
    by: ByText | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Groups by name; `rollup=metric:state` counts members in a state, `by=tag.K` by a tag."""
    if by is not None and rollup is None:
        raise Malformed("by needs a rollup", code="bad_rollup")
    counted = None if rollup is None else parse_rollup(rollup, by=by)
    wanted = GroupFilter(kind, name, parent_id)
    views, total = await parts.groups.page(wanted, by=who, limit=limit, offset=offset)
    groups = [_shown(view) for view in views]
    if counted is not None:
        ids = [view.group.group_id for view in views]
        rollups = await parts.group_states.rollups(ids, counted, by=who)
        groups = [group | {"rollup": rollups[group["group_id"]]} for group in groups]
    filters = {"kind": kind, "name": name, "parent_id": parent_id, "rollup": rollup, "by": by}
    return json_answer(
        {"groups": groups, "count": len(groups), "total": total,
         "filters": {name: value for name, value in filters.items() if value is not None},
         "limit": limit, "offset": offset}
    )  # fmt: skip


@router.get("/groups/{group_id}", response_model=Group, operation_id="show_group")
async def show_group(group_id: GroupId, who: Reader, parts: Parts) -> Response:
    """One group."""
    return json_answer(_shown(await parts.groups.show(group_id, by=who)))


@router.patch("/groups/{group_id}", response_model=Group, operation_id="change_group")
async def change_group(
    group_id: GroupId, body: GroupPatch, who: DevicesWriter, parts: Parts
) -> Response:
    """Change the given fields; `device_ids` are all members from then on."""
    return json_answer(_shown(await parts.groups.change(group_id, _given(body), by=who)))


@router.delete("/groups/{group_id}", response_model=GroupDeleted, operation_id="delete_group")
async def delete_group(group_id: GroupId, who: DevicesWriter, parts: Parts) -> Response:
    """Remove a group; its devices stay. One that others are in is a 409."""
    await parts.groups.delete(group_id, by=who)
    return json_answer({"success": True, "message": f"{group_id} is deleted; its devices stay"})


@router.get(
    "/groups/{group_id}/devices", response_model=GroupDevices, operation_id="list_group_devices"
)
async def list_group_devices(
    request: Request,
    group_id: GroupId,
    who: Reader,
    parts: Parts,
    include: IncludeText = "",
    metric: Name = "status",
    state: Text | None = None,
    direct: bool = False,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Devices of a group and (unless `direct`) of those below it; `tag.K=V` asks for a tag.

    `status` is the newest value of `metric`; a device that is in `state` is not watchable for it.
    """
    included = _included(include)
    parts.groups.devices_of(group_id, by=who)
    tags = tags_of(request.query_params.multi_items())
    wanted = DeviceQuery(group=group_id, tags=tags, is_direct=direct)
    found, total = await parts.devices.page(wanted, by=who, limit=limit, offset=offset)
    devices = [_member(device) for device in found]
    for device in devices if included else ():
        standing = parts.group_states.standing(
            device["device_id"], metric=metric, state=state, by=who
        )
        told = _told(standing)
        device.update({name: told[name] for name in included})
    filters = {"tags": tags or None, "metric": metric if included else None, "state": state,
               "direct": direct or None}  # fmt: skip
    return json_answer(
        {"group_id": group_id, "devices": devices, "count": len(devices), "total": total,
         "filters": {name: value for name, value in filters.items() if value is not None},
         "limit": limit, "offset": offset}
    )  # fmt: skip


@router.put(
    "/groups/{group_id}/devices/{device_id}",
    response_model=GroupMembership,
    operation_id="add_group_device",
)
async def add_group_device(
    group_id: GroupId, device_id: PathId, who: DevicesWriter, parts: Parts
) -> Response:
    """Put a device into a group; again changes nothing."""
    await parts.groups.add(group_id, device_id, by=who)
    return _membership(group_id, device_id, f"{device_id} is in {group_id}")


@router.delete(
    "/groups/{group_id}/devices/{device_id}",
    response_model=GroupMembership,
    operation_id="remove_group_device",
)
async def remove_group_device(
    group_id: GroupId, device_id: PathId, who: DevicesWriter, parts: Parts
) -> Response:
    """Take a device out of a group; in the groups below it, it stays."""
    await parts.groups.remove(group_id, device_id, by=who)
    return _membership(group_id, device_id, f"{device_id} is not in {group_id} any more")


def _membership(group_id: str, device_id: str, message: str) -> Response:
    return json_answer(
        {"success": True, "message": message, "group_id": group_id, "device_id": device_id}
    )


def _given(body: GroupCreate | GroupPatch) -> dict[str, Any]:
    given = body.model_dump(exclude_unset=True, mode="json")
    if given.get("location"):
        given["location"] = {k: v for k, v in given["location"].items() if v is not None}
    return given


def _shown(view: GroupView) -> dict[str, Any]:
    group = {name: getattr(view.group, name) for name in StoredGroup.__slots__}
    return group | {"device_count": view.device_count}


def _member(device: Device) -> dict[str, Any]:
    """A device; its status is told of a metric, when that is asked for."""
    return {name: getattr(device, name) for name in Device.__slots__ if name != "status"}


def _told(standing: Standing) -> dict[str, Any]:
    watchable = {"eligible": standing.reason is None, "reason": standing.reason}
    return {
        "status": standing.status,
        "changed_at": standing.changed_at,
        "watchable": watchable,
    }


def _included(text: str) -> list[str]:
    """The names of a list, each once. Raises Malformed."""
    names = list(dict.fromkeys(filter(None, text.split(","))))
    for name in names:
        if name not in INCLUDABLE:
            raise Malformed(f"include knows {', '.join(INCLUDABLE)}, not {name[:64]}")
    return names
