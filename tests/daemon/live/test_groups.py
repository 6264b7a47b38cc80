"""Who is in which group, and what bound keys see, in memory."""

from __future__ import annotations

import pytest

from daemon.domain.access import Principal
from daemon.domain.errors import Invalid
from daemon.domain.groups import GroupNode
from daemon.live.groups import PATTERNS_KEPT_MAX, Membership


def a_tree() -> Membership:
    """city (a) holds north (b, c), which holds dock (d); south (c) stands alone."""
    membership = Membership()
    membership.replace(
        [
            GroupNode("grp_1", "city", None, 1),
            GroupNode("grp_2", "north", "grp_1", 1),
            GroupNode("grp_3", "dock", "grp_2", 1),
            GroupNode("grp_4", "south", None, 1),
        ],
        version=1,
        members={
            "grp_1": frozenset("a"),
            "grp_2": frozenset("bc"),
            "grp_3": frozenset("d"),
            "grp_4": frozenset("c"),
        },
    )
    return membership


def a_key(membership: Membership, **bounds: tuple[str, ...]) -> Principal:
    return Principal("key_1", "k", frozenset({"read"}), members=membership, **bounds)  # type: ignore[arg-type]


def test_a_group_holds_what_lies_below_it() -> None:
    membership = a_tree()

    assert membership.devices_of("grp_1") == set("abcd")
    assert membership.members(["grp_3", "grp_4"]) == set("cd")
    assert membership.members(["grp_9"]) == set()
    assert membership.above("grp_3") == ["grp_2", "grp_1"]
    assert membership.children_of("grp_1") == ["grp_2"]


def test_groups_are_found_by_id_and_name_and_told_by_id() -> None:
    membership = a_tree()

    assert membership.resolve(["dock", "grp_3", "city"], by=a_key(membership)) == (
        "grp_3",
        "grp_1",
    )
    with pytest.raises(Invalid) as raised:
        membership.resolve(["dock", "harbour"], by=a_key(membership))
    assert raised.value.error_code == "unknown_group"


def test_only_what_changed_is_told_and_the_rest_stays() -> None:
    membership = a_tree()

    membership.replace(
        [
            GroupNode("grp_1", "town", None, 2),
            GroupNode("grp_3", "dock", "grp_1", 3),
            GroupNode("grp_4", "south", None, 1),
        ],
        version=3,
        members={"grp_1": frozenset("x"), "grp_3": frozenset()},
    )

    assert membership.version == 3
    assert membership.devices_of("grp_1") == {"x"}
    assert membership.devices_of("grp_4") == {"c"}
    assert membership.devices_of("grp_2") == set()
    assert (membership.find("city"), membership.find("town")) == (None, "grp_1")


def test_a_bound_key_follows_its_groups() -> None:
    membership = a_tree()
    key = a_key(membership, groups=("north",))
    before = {device for device in "abcd" if key.sees_device(device)}

    membership.replace(
        [GroupNode("grp_2", "north", None, 2)], version=2, members={"grp_2": frozenset("a")}
    )

    assert before == set("bcd")
    assert {device for device in "abcd" if key.sees_device(device)} == {"a"}
    assert not key.sees_everything


def test_a_key_without_members_to_ask_sees_none_by_groups() -> None:
    key = Principal("key_1", "k", frozenset({"read"}), groups=("north",))

    assert not key.sees_device("b")


@pytest.mark.parametrize(
    ("bounds", "visible"),
    [
        ({}, None),
        ({"groups": ("grp_2",)}, {"grp_2", "grp_3"}),
        ({"groups": ("no*", "south")}, {"grp_2", "grp_3", "grp_4"}),
        ({"groups": ("harbour",)}, set()),
        ({"devices": ("d",)}, {"grp_1", "grp_2", "grp_3"}),
        ({"devices": ("c",)}, {"grp_1", "grp_2", "grp_4"}),
        ({"devices": ("a",), "groups": ("dock",)}, {"grp_1", "grp_3"}),
        ({"metrics": ("speed",)}, None),
    ],
)
def test_a_key_sees_the_groups_it_is_bound_to_and_those_of_its_devices(
    bounds: dict[str, tuple[str, ...]], visible: set[str] | None
) -> None:
    membership = a_tree()

    assert membership.visible_to(a_key(membership, **bounds)) == visible


def test_what_is_remembered_is_bounded() -> None:
    membership = a_tree()

    for number in range(PATTERNS_KEPT_MAX + 10):
        a_key(membership, groups=(f"g{number}",)).sees_device("a")

    assert len(membership._named) <= PATTERNS_KEPT_MAX
    assert len(membership._devices_named) <= PATTERNS_KEPT_MAX


def test_a_circle_that_a_broken_database_holds_ends() -> None:
    membership = Membership()
    membership.replace(
        [GroupNode("grp_1", "a", "grp_2", 1), GroupNode("grp_2", "b", "grp_1", 1)],
        version=1,
        members={"grp_1": frozenset("x"), "grp_2": frozenset("y")},
    )

    assert membership.devices_of("grp_1") == {"x", "y"}
    assert membership.above("grp_1") == ["grp_2", "grp_1"]
