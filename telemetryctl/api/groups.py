"""Groups of devices: named sets that may lie in one another."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from telemetryctl.api.devices import Device, Location
from telemetryctl.api.model import Answer, DeviceId, Input, Instant

ID_PREFIX = "grp_"
MEMBERS_MAX = 10_000


def _is_no_id(name: str) -> str:
    if name.startswith(ID_PREFIX):
        raise ValueError(f"a name does not begin with {ID_PREFIX}, as ids do")
    if not name.isprintable() or name != name.strip():
        raise ValueError("a name is printable, without blanks around it")
    return name


GroupId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^grp_[0-9a-z]+$")]
GroupName = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_is_no_id)]
GroupKind = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:/-]+$")]
Members = Annotated[list[DeviceId], Field(max_length=MEMBERS_MAX)]
Metadata = Annotated[dict[str, Any], Field(max_length=256)]


class GroupCreate(Input):
    """A new group; names are unique, and members are devices that have sent something."""

    name: GroupName
    kind: GroupKind
    parent_id: GroupId | None = None
    location: Location | None = None
    metadata: Metadata = Field(default_factory=dict)
    device_ids: Members = Field(default_factory=list)


class GroupPatch(Input):
    """A change of a group: only fields that are present change, null clears one.

    Read it with `model_dump(exclude_unset=True)`. `metadata` and `device_ids` replace the whole.
    Only `parent_id` and `location` may be null.
    """

    name: GroupName = "group"
    kind: GroupKind = "group"
    parent_id: GroupId | None = None
    location: Location | None = None
    metadata: Metadata = Field(default_factory=dict)
    device_ids: Members = Field(default_factory=list)


class Group(Answer):
    """A group as the server keeps it; `device_count` counts the groups below it too.

    `rollup`, when asked for, is {state: n, "total": n}, with `by` one such for each value of the
    tag.
    """

    group_id: str
    name: str
    kind: str
    parent_id: str | None = None
    location: Location | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: Instant
    updated_at: Instant
    created_by: str
    device_count: int
    rollup: dict[str, Any] | None = None


class GroupList(Answer):
    """A page of groups, by name."""

    groups: list[Group]
    count: int
    total: int
    filters: dict[str, Any]
    limit: int
    offset: int
    next_cursor: str | None = None


class GroupDeleted(Answer):
    """A group is gone; its devices stay."""

    success: bool
    message: str


class GroupMembership(Answer):
    """A device is in a group now, or not any more."""

    success: bool
    message: str
    group_id: str
    device_id: str


class Watchable(Answer):
    """Whether a watch for the state may be set on a device, and if not, why."""

    eligible: bool
    reason: str | None = None


class GroupDevice(Device):
    """A member: what was asked to be included is there.

    `status` is the newest value of the metric asked for, since `changed_at`.
    """

    status: Any = None
    changed_at: Instant | None = None
    watchable: Watchable | None = None


class GroupDevices(Answer):
    """A page of the devices of a group and of the groups below it, by id."""

    group_id: str
    devices: list[GroupDevice]
    count: int
    total: int
    filters: dict[str, Any]
    limit: int
    offset: int
    next_cursor: str | None = None
