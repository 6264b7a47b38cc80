"""Groups over HTTP (contract 6 and 8.1): the tree, its members, and what keys see of them."""

from __future__ import annotations

from typing import Any

import pytest
from control import API, Control, bearer, services_over

from daemon.clock import ManualClock
from daemon.live.groups import Membership

pytestmark = pytest.mark.anyio
GROUPS = f"{API}/groups"
NO_GROUP = "grp_01m7zcgmc636pkb37wjgewvz56"


async def some_devices(control: Control, *more: str) -> None:
    """a, b and c have a status now: 1, 1 and 0; further ones too."""
    now_us = control.clock.now_us()
    numbers = {"a": 1.0, "b": 1.0, "c": 0.0, **dict.fromkeys(more, 0.0)}
    await control.send([(name, "status", now_us, number) for name, number in numbers.items()])


async def make(control: Control, name: str, **fields: Any) -> str:
    answer = await control.client.post(GROUPS, json={"name": name, "kind": "branch", **fields})
    assert answer.status_code == 201, answer.text
    group_id: str = answer.json()["group_id"]
    return group_id


async def get(control: Control, path: str, **options: Any) -> dict[str, Any]:
    answer = await control.client.get(f"{API}{path}", **options)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def devices(control: Control, group: str, **options: Any) -> list[str]:
    body = await get(control, f"/devices?group={group}", **options)
    return [device["device_id"] for device in body["devices"]]


class TestTheTree:
    async def test_a_group_says_everything_that_it_was_made_with(self, control: Control) -> None:
        await some_devices(control)
        place = {"lat": 22.28, "lon": 114.16}

        answer = await control.client.post(
            GROUPS,
            json={"name": "Central", "kind": "branch", "location": place,
                  "metadata": {"floor": 3}, "device_ids": ["a", "b", "a"]},
        )  # fmt: skip

        group = answer.json()
        assert answer.status_code == 201
        assert group["group_id"].startswith("grp_")
        assert (group["name"], group["kind"], group["parent_id"]) == ("Central", "branch", None)
        assert (group["location"], group["metadata"]) == (place, {"floor": 3})
        assert group["device_count"] == 2
        assert group["created_by"].startswith("key_")
        assert await get(control, f"/groups/{group['group_id']}") == group

    @pytest.mark.parametrize(
        "fields",
        [
            {"kind": "branch"},
            {"name": "x"},
            {"name": "", "kind": "branch"},
            {"name": "grp_x", "kind": "branch"},
            {"name": "a\0", "kind": "branch"},
            {"name": "x", "kind": "a kind"},
            {"name": "x", "kind": "branch", "parent_id": NO_GROUP},
            {"name": "x", "kind": "branch", "parent_id": "Central"},
            {"name": "x", "kind": "branch", "device_ids": ["a", "unknown"]},
            {"name": "x", "kind": "branch", "location": {"lat": 91, "lon": 0}},
            {"name": "x", "kind": "branch", "colour": "red"},
        ],
    )
    async def test_a_group_that_can_not_be_is_a_422_and_not_made(
        self, control: Control, fields: dict[str, Any]
    ) -> None:
        await some_devices(control)

        answer = await control.client.post(GROUPS, json=fields)

        assert answer.status_code == 422, answer.text
        assert (await get(control, "/groups"))["total"] == 0

    async def test_an_unknown_member_is_named_by_its_place(self, control: Control) -> None:
        await some_devices(control)

        answer = await control.client.post(
            GROUPS, json={"name": "x", "kind": "y", "device_ids": ["a", "none"]}
        )

        assert answer.json()["code"] == "unknown_device"
        assert answer.json()["errors"][0]["pointer"] == "/device_ids/1"

    async def test_names_are_unique_also_after_a_change(self, control: Control) -> None:
        await make(control, "one")
        two = await make(control, "two")

        again = await control.client.post(GROUPS, json={"name": "one", "kind": "x"})
        renamed = await control.client.patch(f"{GROUPS}/{two}", json={"name": "one"})
        same = await control.client.patch(f"{GROUPS}/{two}", json={"name": "two"})

        assert [again.status_code, renamed.status_code, same.status_code] == [409, 409, 200]
        assert again.json()["code"] == renamed.json()["code"] == "name_taken"

    async def test_a_list_goes_by_name_and_filters_and_pages(self, control: Control) -> None:
        await make(control, "b")
        parent = await make(control, "a")
        await make(control, "c", kind="category", parent_id=parent)

        whole = await get(control, "/groups")
        paged = await get(control, "/groups?limit=1&offset=1")
        beyond = await get(control, "/groups?offset=9")

        assert [group["name"] for group in whole["groups"]] == ["a", "b", "c"]
        assert (whole["count"], whole["total"], whole["filters"]) == (3, 3, {})
        assert [group["name"] for group in paged["groups"]] == ["b"]
        assert (paged["total"], beyond["total"], beyond["count"]) == (3, 3, 0)
        for query, names in (
            ("kind=category", ["c"]),
            (f"parent_id={parent}", ["c"]),
            ("name=b", ["b"]),
            ("name=none", []),
        ):
            found = await get(control, f"/groups?{query}")
            assert [group["name"] for group in found["groups"]] == names

    async def test_a_change_keeps_what_it_does_not_name_and_null_clears(
        self, control: Control
    ) -> None:
        parent = await make(control, "parent")
        place = {"lat": 1.0, "lon": 2.0}
        group_id = await make(control, "g", parent_id=parent, location=place, metadata={"a": 1})

        answer = await control.client.patch(
            f"{GROUPS}/{group_id}", json={"name": "h", "parent_id": None, "location": None}
        )

        changed = answer.json()
        assert (changed["name"], changed["parent_id"], changed["location"]) == ("h", None, None)
        assert (changed["kind"], changed["metadata"]) == ("branch", {"a": 1})

    @pytest.mark.parametrize("fields", [{"name": None}, {"kind": None}, {"metadata": None}])
    async def test_what_a_group_always_has_can_not_be_cleared(
        self, control: Control, fields: dict[str, Any]
    ) -> None:
        group_id = await make(control, "g")

        answer = await control.client.patch(f"{GROUPS}/{group_id}", json=fields)

        assert answer.status_code == 422

    async def test_a_group_is_never_inside_itself(self, control: Control) -> None:
        top = await make(control, "top")
        middle = await make(control, "middle", parent_id=top)
        bottom = await make(control, "bottom", parent_id=middle)

        for parent_id in (top, middle, bottom):
            answer = await control.client.patch(f"{GROUPS}/{top}", json={"parent_id": parent_id})
            assert (answer.status_code, answer.json()["code"]) == (422, "parent_cycle")

    async def test_a_group_with_groups_in_it_stays(self, control: Control) -> None:
        top = await make(control, "top")
        below = await make(control, "below", parent_id=top)

        refused = await control.client.delete(f"{GROUPS}/{top}")
        deleted = await control.client.delete(f"{GROUPS}/{below}")
        now = await control.client.delete(f"{GROUPS}/{top}")

        assert (refused.status_code, refused.json()["code"]) == (409, "has_children")
        assert [deleted.status_code, now.status_code] == [200, 200]
        assert (await get(control, "/groups"))["total"] == 0

    async def test_an_unknown_group_is_a_404_everywhere(self, control: Control) -> None:
        await some_devices(control)
        path = f"{GROUPS}/{NO_GROUP}"

        answers = [
            await control.client.get(path),
            await control.client.patch(path, json={"name": "x"}),
            await control.client.delete(path),
            await control.client.get(f"{path}/devices"),
            await control.client.put(f"{path}/devices/a"),
            await control.client.delete(f"{path}/devices/a"),
        ]

        assert [answer.status_code for answer in answers] == [404] * 6
        assert {answer.json()["code"] for answer in answers} == {"unknown_group"}


class TestMembers:
    async def test_a_device_joins_and_leaves(self, control: Control) -> None:
        await some_devices(control)
        group_id = await make(control, "g")

        joined = await control.client.put(f"{GROUPS}/{group_id}/devices/a")
        again = await control.client.put(f"{GROUPS}/{group_id}/devices/a")
        with_it = await devices(control, group_id)
        left = await control.client.delete(f"{GROUPS}/{group_id}/devices/a")
        gone = await control.client.delete(f"{GROUPS}/{group_id}/devices/a")

        assert [joined.status_code, again.status_code, left.status_code] == [200, 200, 200]
        assert (joined.json()["success"], joined.json()["device_id"]) == (True, "a")
        assert with_it == ["a"]
        assert (gone.status_code, gone.json()["code"]) == (404, "not_a_member")
        assert await devices(control, group_id) == []

    async def test_a_device_that_was_never_seen_can_not_join(self, control: Control) -> None:
        group_id = await make(control, "g")

        answer = await control.client.put(f"{GROUPS}/{group_id}/devices/none")

        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_device")

    async def test_members_can_be_replaced_as_a_whole(self, control: Control) -> None:
        await some_devices(control)
        group_id = await make(control, "g", device_ids=["a", "b"])

        answer = await control.client.patch(f"{GROUPS}/{group_id}", json={"device_ids": ["b", "c"]})

        assert answer.json()["device_count"] == 2
        assert await devices(control, group_id) == ["b", "c"]

    async def test_a_group_holds_what_the_groups_below_it_hold(self, control: Control) -> None:
        await some_devices(control)
        top = await make(control, "top", device_ids=["c"])
        below = await make(control, "below", parent_id=top, device_ids=["a", "c"])

        shown = await get(control, f"/groups/{top}")
        await control.client.patch(f"{GROUPS}/{below}", json={"parent_id": None})

        assert shown["device_count"] == 2
        assert await devices(control, "top") == ["c"]

    async def test_the_devices_of_a_group_itself_are_told_apart(self, control: Control) -> None:
        await some_devices(control)
        top = await make(control, "top", device_ids=["c"])
        await make(control, "below", parent_id=top, device_ids=["a", "c"])

        own = await get(control, f"/groups/{top}/devices?direct=true")

        assert ([device["device_id"] for device in own["devices"]], own["total"]) == (["c"], 1)
        assert (await get(control, f"/groups/{top}/devices"))["total"] == 2

    async def test_a_deleted_device_leaves_its_groups_for_good(self, control: Control) -> None:
        await some_devices(control)
        group_id = await make(control, "g", device_ids=["a", "b"])

        deleted = await control.client.delete(f"{API}/devices/a")
        await some_devices(control)

        assert deleted.status_code == 200
        assert await devices(control, group_id) == ["b"]
        assert (await get(control, f"/groups/{group_id}"))["device_count"] == 1

    async def test_another_daemon_learns_of_every_change(self, control: Control) -> None:
        await some_devices(control)
        other = services_over(
            control.database, clock=ManualClock(control.clock.now_us()), tail=control.tail
        ).groups
        membership = Membership()
        other._membership = membership
        one = await make(control, "one", device_ids=["a"])
        two = await make(control, "two", device_ids=["c"])
        seen = []
        for method, path, body in (
            ("PATCH", f"/groups/{one}", {"name": "uno"}),
            ("PUT", f"/groups/{one}/devices/b", None),
            ("DELETE", f"/groups/{one}/devices/a", None),
            ("DELETE", "/devices/b", None),
            ("DELETE", f"/groups/{one}", None),
        ):
            await control.client.request(method, f"{API}{path}", json=body)
            await other.refresh()
            seen.append((membership.find("uno") == one, sorted(membership.devices_of(one))))

        assert seen == [
            (True, ["a"]), (True, ["a", "b"]), (True, ["b"]), (True, []), (False, [])
        ]  # fmt: skip
        assert membership.devices_of(two) == {"c"}

    async def test_a_change_of_groups_leaves_the_catalogue_as_it_is(self, control: Control) -> None:
        await some_devices(control)
        version, _ = await control.tail.series.state()

        group_id = await make(control, "g", device_ids=["a"])
        await control.client.put(f"{GROUPS}/{group_id}/devices/b")

        assert await control.tail.series.state() == (version, control.tail.registry.epoch)


class TestFilters:
    async def test_every_read_takes_groups_by_id_or_name(self, control: Control) -> None:
        await some_devices(control)
        top = await make(control, "top floor")
        below = await make(control, "below", parent_id=top, device_ids=["a", "b"])
        window = {"start_time": 0, "end_time": control.clock.now_us() // 1000 + 1_000}
        for group in ("top floor", top, "below", below):
            asked = {"metrics": ["status"], "groups": [group], **window}
            found = await control.client.post(f"{API}/query", json=asked)
            changes = await get(control, "/changes", params={"groups": group})
            newest = await get(control, "/latest", params={"group": group})
            csv = await control.client.get(f"{API}/export/csv", params={"groups": group, **window})
            arrived = await control.client.get(
                f"{API}/export/csv", params={"groups": group, "after": ""}
            )

            assert [p["device_id"] for p in found.json()["data_points"]] == ["a", "b"]
            assert [p["device_id"] for p in changes["data_points"]] == ["a", "b"]
            assert list(newest["latest"]) == ["a", "b"]
            assert await devices(control, group) == ["a", "b"]
            for text in (csv.text, arrived.text):
                assert [row.split(",")[1] for row in text.splitlines()[1:]] == ["a", "b"]

    async def test_filters_narrow_each_other_and_groups_add_up(self, control: Control) -> None:
        await some_devices(control)
        await make(control, "one", device_ids=["a", "b"])
        await make(control, "two", device_ids=["c"])

        both = await get(control, "/changes?groups=one,two")
        narrow = await get(control, "/changes?groups=one&device_ids=b,c")
        nobody = await get(control, "/changes?groups=two&device_ids=a")
        newest = await get(control, "/latest?group=one&device_ids=b,c")

        assert [p["device_id"] for p in both["data_points"]] == ["a", "b", "c"]
        assert [p["device_id"] for p in narrow["data_points"]] == ["b"]
        assert nobody["data_points"] == []
        assert (list(newest["latest"]), newest["missing"]) == (["b"], ["c"])

    async def test_latest_of_a_group_and_a_type(self, control: Control) -> None:
        await some_devices(control)
        await make(control, "one", device_ids=["a", "b"])
        for device_id in ("b", "c"):
            await control.client.patch(f"{API}/devices/{device_id}", json={"type": "bike"})

        newest = await get(control, "/latest?group=one&type=bike")

        assert list(newest["latest"]) == ["b"]

    async def test_an_unknown_group_is_a_422_in_every_filter(self, control: Control) -> None:
        await some_devices(control)
        window = {"start_time": 0, "end_time": control.clock.now_us() // 1000}

        answers = [
            await control.client.post(
                f"{API}/query", json={"metrics": ["status"], "groups": ["none"], **window}
            ),
            await control.client.get(f"{API}/changes?groups=none"),
            await control.client.get(f"{API}/latest?group=none"),
            await control.client.get(f"{API}/latest?group=none&type=bike"),
            await control.client.get(f"{API}/devices?group=none"),
            await control.client.get(f"{API}/export/csv?groups=none&after="),
            await control.client.get(f"{API}/export/csv", params={"groups": "none", **window}),
        ]

        assert [answer.status_code for answer in answers] == [422] * 7
        assert {answer.json()["code"] for answer in answers} == {"unknown_group"}


class TestStates:
    async def branch(self, control: Control) -> str:
        await some_devices(control, "d")
        group_id = await make(control, "g", device_ids=["a", "b", "c", "d"])
        for device_id, category in (("a", "bike"), ("b", "rower"), ("c", "bike")):
            await control.client.patch(
                f"{API}/devices/{device_id}", json={"tags": {"category": category}}
            )
        return group_id

    async def test_a_rollup_counts_the_members_in_a_state(self, control: Control) -> None:
        await self.branch(control)
        await make(control, "empty")

        body = await get(control, "/groups?kind=branch&rollup=status:1")

        rollups = {group["name"]: group["rollup"] for group in body["groups"]}
        assert rollups == {"empty": {"1": 0, "total": 0}, "g": {"1": 2, "total": 4}}

    async def test_a_rollup_splits_by_a_tag(self, control: Control) -> None:
        await self.branch(control)

        body = await get(control, "/groups?rollup=status:1&by=tag.category")

        assert body["groups"][0]["rollup"] == {
            "": {"1": 0, "total": 1},
            "bike": {"1": 1, "total": 2},
            "rower": {"1": 1, "total": 1},
        }

    @pytest.mark.parametrize(
        "query",
        ["rollup=status", "rollup=:free", "rollup=status:", "rollup=status:total",
         "by=tag.x", "rollup=status:1&by=x", "rollup=status:1&by=tag."],
    )  # fmt: skip
    async def test_a_rollup_that_means_nothing_is_a_400(self, control: Control, query: str) -> None:
        answer = await control.client.get(f"{GROUPS}?{query}")

        assert answer.status_code == 400

    async def test_members_say_their_state_and_whether_a_watch_may_be_set(
        self, control: Control
    ) -> None:
        group_id = await self.branch(control)
        everything = "include=status,changed_at,watchable&state=1"

        body = await get(control, f"/groups/{group_id}/devices?tag.category=bike&{everything}")
        bare = await get(control, f"/groups/{group_id}/devices")
        other = await get(
            control, f"/groups/{group_id}/devices?include=status,watchable&metric=x&limit=1"
        )

        taken, free = body["devices"]
        assert [taken["device_id"], free["device_id"], body["total"]] == ["a", "c", 2]
        assert (taken["status"], free["status"]) == (1, 0)
        assert taken["changed_at"].endswith("Z")
        assert taken["watchable"] == {"eligible": False, "reason": "its status is 1 already"}
        assert free["watchable"] == {"eligible": True, "reason": None}
        assert bare["count"] == 4
        assert not {"status", "changed_at", "watchable"} & set(bare["devices"][0])
        assert (other["count"], other["total"]) == (1, 4)
        assert other["devices"][0]["status"] is None
        assert other["devices"][0]["watchable"]["eligible"] is False

    async def test_what_can_not_be_included_is_a_400(self, control: Control) -> None:
        group_id = await self.branch(control)

        answer = await control.client.get(f"{GROUPS}/{group_id}/devices?include=colour")

        assert answer.status_code == 400


class TestBoundKeys:
    async def test_a_key_bound_to_a_group_sees_exactly_the_members(self, control: Control) -> None:
        await some_devices(control)
        top = await make(control, "top")
        below = await make(control, "below", parent_id=top, device_ids=["a"])
        other = await make(control, "other", device_ids=["a", "c"])
        now_us = control.clock.now_us()
        window = {"start_time": 0, "end_time": now_us // 1000 + 1_000}
        bound = bearer(await control.key("read", "export", groups=["below"]))
        asked = {"metrics": ["status"], **window}

        async def seen() -> list[list[str]]:
            found = await control.client.post(f"{API}/query", json=asked, headers=bound)
            changes = await get(control, "/changes", headers=bound)
            newest = await get(control, "/latest", headers=bound)
            listed = await get(control, "/devices", headers=bound)
            whole = window | {"device_ids": "*"}
            csv = await control.client.get(f"{API}/export/csv", params=whole, headers=bound)
            return [
                [p["device_id"] for p in found.json()["data_points"]],
                [p["device_id"] for p in changes["data_points"]],
                list(newest["latest"]),
                [d["device_id"] for d in listed["devices"]],
                [row.split(",")[1] for row in csv.text.splitlines()[1:]],
            ]

        assert await seen() == [["a"]] * 5

        await control.client.put(f"{GROUPS}/{below}/devices/b")
        await control.client.delete(f"{GROUPS}/{below}/devices/a")

        assert await seen() == [["b"]] * 5
        assert (await get(control, "/groups", headers=bound))["total"] == 1
        shown = await get(control, f"/groups/{below}", headers=bound)
        assert (shown["parent_id"], shown["device_count"]) == (None, 1)
        for group_id in (top, other):
            answer = await control.client.get(f"{GROUPS}/{group_id}", headers=bound)
            assert answer.status_code == 404
            filtered = await control.client.get(f"{API}/changes?groups={group_id}", headers=bound)
            assert filtered.json()["code"] == "unknown_group"
        one = await control.client.get(f"{API}/devices/c", headers=bound)
        newest = await control.client.get(f"{API}/devices/c/metrics/status/latest", headers=bound)
        assert [one.status_code, newest.status_code] == [404, 404]

    async def test_a_key_bound_to_a_group_sees_the_groups_below_it(self, control: Control) -> None:
        await some_devices(control)
        top = await make(control, "top", device_ids=["c"])
        await make(control, "below", parent_id=top, device_ids=["a"])
        bound = bearer(await control.key("read", groups=[top]))

        groups = await get(control, "/groups", headers=bound)

        assert [group["name"] for group in groups["groups"]] == ["below", "top"]
        assert await devices(control, "top", headers=bound) == ["a", "c"]

    async def test_a_key_bound_to_devices_sees_the_groups_that_hold_them(
        self, control: Control
    ) -> None:
        await some_devices(control)
        top = await make(control, "top")
        holding = await make(control, "holding", parent_id=top, device_ids=["a", "b"])
        await make(control, "other", device_ids=["c"])
        bound = bearer(await control.key("read", devices=["a"]))

        groups = await get(control, "/groups?rollup=status:1", headers=bound)

        assert [group["name"] for group in groups["groups"]] == ["holding", "top"]
        assert [group["rollup"] for group in groups["groups"]] == [{"1": 1, "total": 1}] * 2
        members = await get(control, f"/groups/{holding}/devices", headers=bound)
        assert [device["device_id"] for device in members["devices"]] == ["a"]

    async def test_patterns_of_devices_and_groups_add_up(self, control: Control) -> None:
        await some_devices(control)
        await make(control, "g", device_ids=["b"])
        bound = bearer(await control.key("read", devices=["a"], groups=["g"]))

        body = await get(control, "/devices", headers=bound)

        assert [device["device_id"] for device in body["devices"]] == ["a", "b"]

    async def test_a_bound_key_changes_no_groups(self, control: Control) -> None:
        await some_devices(control)
        group_id = await make(control, "g", device_ids=["a"])
        hidden = await make(control, "hidden")
        bound = bearer(await control.key("read", "devices:write", groups=["g"]))
        path = f"{GROUPS}/{group_id}"

        answers = [
            await control.client.post(GROUPS, json={"name": "x", "kind": "y"}, headers=bound),
            await control.client.patch(path, json={"name": "x"}, headers=bound),
            await control.client.put(f"{path}/devices/b", headers=bound),
            await control.client.delete(f"{path}/devices/a", headers=bound),
            await control.client.delete(path, headers=bound),
            await control.client.delete(f"{GROUPS}/{hidden}", headers=bound),
        ]

        assert [answer.status_code for answer in answers] == [403] * 5 + [404]

    async def test_reading_and_changing_need_their_scopes(self, control: Control) -> None:
        reader = bearer(await control.key("read"))
        writer = bearer(await control.key("devices:write"))

        made = await control.client.post(GROUPS, json={"name": "x", "kind": "y"}, headers=reader)
        listed = await control.client.get(GROUPS, headers=writer)

        assert [made.status_code, listed.status_code] == [403, 403]
