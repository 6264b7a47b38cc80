"""Memory view of the groups: who is in which, members of child groups included. Loaded by
service/groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from daemon.domain.access import Principal
from daemon.domain.errors import Invalid
from daemon.domain.groups import GroupNode

NOBODY: frozenset[str] = frozenset()
PATTERNS_KEPT_MAX = 4_096
"""What so many sets of patterns mean is remembered; over it all are worked out anew."""


class Membership:
    """Groups and their devices; `version` grows with every change of either.

    A group holds its own members and those of the groups below it. A key that is bound sees the
    groups that its patterns name with all below them, and those that hold a device which its device
    patterns allow.
    """

    def __init__(self) -> None:
        self.version = 0
        self._nodes: dict[str, GroupNode] = {}
        self._ids: dict[str, str] = {}
        self._children: dict[str, list[str]] = {}
        self._own: dict[str, frozenset[str]] = {}
        self._all: dict[str, frozenset[str]] = {}
        self._unions: dict[tuple[str, ...], frozenset[str]] = {}
        self._named: dict[tuple[str, ...], frozenset[str]] = {}
        self._devices_named: dict[tuple[str, ...], frozenset[str]] = {}
        self._holding: dict[tuple[str, ...], frozenset[str]] = {}

    def replace(
        self, nodes: Iterable[GroupNode], *, version: int, members: Mapping[str, frozenset[str]]
    ) -> None:
        """Take over all groups, and the members of those that changed since `self.version`."""
        self._nodes = {node.group_id: node for node in nodes}
        self._ids = {node.name: node.group_id for node in self._nodes.values()}
        own = {**self._own, **members}
        self._own = {group_id: own.get(group_id, NOBODY) for group_id in self._nodes}
        self._children = {}
        for node in self._nodes.values():
            if node.parent_id is not None:
                self._children.setdefault(node.parent_id, []).append(node.group_id)
        self._all.clear()
        for known in (self._unions, self._named, self._devices_named, self._holding):
            known.clear()
        self.version = version

    def find(self, text: str) -> str | None:
        """The id of the group of this id or name."""
        return text if text in self._nodes else self._ids.get(text)

    @property
    def group_ids(self) -> list[str]:
        return list(self._nodes)

    def name_of(self, group_id: str) -> str | None:
        node = self._nodes.get(group_id)
        return None if node is None else node.name

    def children_of(self, group_id: str) -> list[str]:
        return self._children.get(group_id, [])

    def above(self, group_id: str) -> list[str]:
        """The groups that this one is in, nearest first."""
        found: list[str] = []
        node = self._nodes.get(group_id)
        while node is not None and node.parent_id is not None and node.parent_id not in found:
            found.append(node.parent_id)
            node = self._nodes.get(node.parent_id)
        return found

    # -- devices -----------------------------------------------------------------------------

    def devices_of(self, group_id: str) -> frozenset[str]:
        """Devices of a group and of all below it; empty when it is unknown."""
        known = self._all.get(group_id)
        if known is None:
            found = self._below([group_id])
            known = NOBODY.union(*(self._own.get(one, NOBODY) for one in found))
            self._all[group_id] = known
        return known

    def own_of(self, group_id: str) -> frozenset[str]:
        """Devices in the group itself."""
        return self._own.get(group_id, NOBODY)

    def members(self, group_ids: Iterable[str]) -> frozenset[str]:
        """Devices of any of these groups; one that is gone has none."""
        wanted = tuple(group_ids)
        if len(wanted) == 1:
            return self.devices_of(wanted[0])
        known = self._unions.get(wanted)
        if known is None:
            self._bound(self._unions)
            known = NOBODY.union(*(self.devices_of(group_id) for group_id in wanted))
            self._unions[wanted] = known
        return known

    def resolve(self, names: Sequence[str], *, by: Principal) -> tuple[str, ...]:
        """The ids of groups given by id or name. Raises Invalid `unknown_group`.

        A group that the key may not see is unknown. Ids outlive a change of names, so who follows
        groups keeps these, and asks `members` again when `version` has changed.
        """
        visible = self.visible_to(by)
        found = [self.find(name) for name in names]
        for name, group_id in zip(names, found, strict=True):
            if group_id is None or (visible is not None and group_id not in visible):
                raise Invalid(f"there is no group {name}", code="unknown_group")
        return tuple(dict.fromkeys(group_id for group_id in found if group_id is not None))

    def select(self, names: Sequence[str], *, by: Principal) -> frozenset[str]:
        """Devices of any of these groups, by id or name. Raises Invalid `unknown_group`."""
        return self.members(self.resolve(names, by=by))

    # -- what keys see -----------------------------------------------------------------------

    def devices_named(self, patterns: tuple[str, ...]) -> frozenset[str]:
        """Devices of all groups whose id or name fits a pattern; the call behind bound keys."""
        known = self._devices_named.get(patterns)
        if known is None:
            self._bound(self._devices_named)
            known = self.members(sorted(self._groups_named(patterns)))
            self._devices_named[patterns] = known
        return known

    def visible_to(self, by: Principal) -> frozenset[str] | None:
        """Ids of the groups that a key sees; None means all."""
        if by.devices is None and by.groups is None:
            return None
        named = NOBODY if by.groups is None else self._groups_named(by.groups)
        return named if by.devices is None else named | self._groups_holding(by.devices)

    def _groups_named(self, patterns: tuple[str, ...]) -> frozenset[str]:
        known = self._named.get(patterns)
        if known is None:
            self._bound(self._named)
            fitting = [
                node.group_id
                for node in self._nodes.values()
                if any(
                    fnmatchcase(node.group_id, pattern) or fnmatchcase(node.name, pattern)
                    for pattern in patterns
                )
            ]
            known = self._named[patterns] = frozenset(self._below(fitting))
        return known

    def _groups_holding(self, patterns: tuple[str, ...]) -> frozenset[str]:
        known = self._holding.get(patterns)
        if known is None:
            self._bound(self._holding)
            # Whoever holds one directly is enough: all above it hold it too.
            direct = [
                group_id
                for group_id, devices in self._own.items()
                if any(fnmatchcase(one, pattern) for pattern in patterns for one in devices)
            ]
            above = [one for group_id in direct for one in self.above(group_id)]
            known = self._holding[patterns] = frozenset([*direct, *above])
        return known

    def _below(self, group_ids: Iterable[str]) -> list[str]:
        """These groups and all below them, each once."""
        found = dict.fromkeys(group_ids)
        waiting = list(found)
        while waiting:
            for child in self._children.get(waiting.pop(), ()):
                if child not in found:
                    found[child] = None
                    waiting.append(child)
        return list(found)

    def _bound(self, known: dict[tuple[str, ...], frozenset[str]]) -> None:
        if len(known) >= PATTERNS_KEPT_MAX:
            known.clear()
