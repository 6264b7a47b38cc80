"""Groups of devices: a tree of named sets. Who is in which is held in live/groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

ID_PREFIX = "grp_"


@dataclass(frozen=True, slots=True)
class Group:
    """`location` is {"lat", "lon", "alt"?} in WGS 84 degrees and metres; names are unique."""

    group_id: str
    name: str
    kind: str
    parent_id: str | None
    location: dict[str, float] | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class Moved:
    """Devices that came into a group itself, and that went out of it."""

    joined: Sequence[str] = ()
    left: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class GroupNode:
    """A group as the memory view knows it.

    `version` is that of all groups when it, or who is in it, changed last.
    """

    group_id: str
    name: str
    parent_id: str | None
    version: int
