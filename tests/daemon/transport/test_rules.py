"""Alert rules over HTTP (contract 7 and 7.1): their fields, lint, edits, and what keys see."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from alert_builder import FIRED, a_rule, an_alert, steps_of
from control import API, Control, bearer

from daemon.store import messages

pytestmark = pytest.mark.anyio
RULES = f"{API}/alerts/rules"


async def some_devices(control: Control, *names: str) -> None:
    """a and b have sent a temperature; further ones too."""
    now_us = control.clock.now_us()
    await control.send([(name, "temperature", now_us, 20.0) for name in ("a", "b", *names)])


async def make(control: Control, name: str = "hot", **fields: Any) -> dict[str, Any]:
    answer = await control.client.post(RULES, json=a_rule(name, **fields))
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def findings(control: Control, **fields: Any) -> dict[str, str]:
    """Code -> severity of what lint says of a rule like that."""
    answer = await control.client.post(f"{RULES}/lint", json=a_rule(**fields))
    assert answer.status_code == 200, answer.text
    return {finding["code"]: finding["severity"] for finding in answer.json()["findings"]}


async def told(control: Control, type: str) -> list[dict[str, Any]]:
    """Events of a type, the newest first."""
    answer = await control.client.get(f"{API}/events", params={"type": type})
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


async def status_of(control: Control, alert_id: str) -> tuple[str, str | None]:
    alert = (await control.client.get(f"{API}/alerts/{alert_id}")).json()
    return alert["status"], alert["resolved_reason"]


async def since(control: Control, rule_id: str) -> int:
    """Up to which position the rule judges nothing."""
    async with control.database.connection("control") as connection:
        return int(
            await connection.fetchval(
                "select since_seq from telemetry.alert_rule where rule_id = $1", rule_id
            )
        )


async def test_a_rule_begins_where_it_is_made_and_anew_where_it_decides_otherwise(
    control: Control,
) -> None:
    await some_devices(control)
    made = await make(control)
    rule = f"{RULES}/{made['rule_id']}"
    begun = [await since(control, made["rule_id"])]
    for change in (
        {"description": "of the oven"},
        {"threshold_value": 70},
        {"enabled": False},
        {"enabled": True},
        {"level": "critical"},
    ):
        await some_devices(control)
        assert (await control.client.patch(rule, json=change)).status_code == 200
        begun.append(await since(control, made["rule_id"]))

    assert 0 < begun[0] == begun[1] < begun[2] == begun[3] < begun[4] == begun[5]


class TestMaking:
    async def test_a_rule_has_the_defaults_of_the_contract(self, control: Control) -> None:
        await some_devices(control)

        rule = await make(control)

        assert rule["rule_id"].startswith("rul_")
        assert rule | {} == rule | {
            "name": "hot", "description": None, "metric_name": "temperature", "condition": ">",
            "threshold_value": 30, "level": "warning", "kind": "threshold", "device_ids": [],
            "device_groups": [], "evaluation_window": 0, "trigger_count": 1, "for": 0,
            "resolve_threshold": None, "no_data": "ok", "from": None, "to": None,
            "expected_interval": None, "notification_channels": [], "cooldown_minutes": 15,
            "auto_resolve": True, "auto_resolve_timeout": 300, "quiet_hours": None,
            "enabled": True, "shadow": False, "tags": [], "total_triggers": 0,
            "last_triggered": None, "findings": [],
        }  # fmt: skip
        assert rule["created_by"].startswith("key_")

    async def test_a_rule_comes_back_as_it_was_asked_for(self, control: Control) -> None:
        await some_devices(control)
        asked = a_rule(
            level="critical", description="too hot", device_ids=["a", "b"], evaluation_window=300,
            trigger_count=3, resolve_threshold=28.5, no_data="keep", cooldown_minutes=0.5,
            auto_resolve_timeout=60, enabled=False, shadow=True, tags={"site": "north"},
            quiet_hours={"start": "22:30", "end": 7, "days": ["mon"], "timezone": "Asia/Hong_Kong"},
        ) | {"for": 30}  # fmt: skip

        made = (await control.client.post(RULES, json=asked)).json()
        shown = (await control.client.get(f"{RULES}/{made['rule_id']}")).json()

        assert {name: shown[name] for name in asked} == asked
        assert made == shown | {"findings": made["findings"]}

    async def test_absence_and_transition_need_no_condition(self, control: Control) -> None:
        absence = {"name": "gone", "metric_name": "temperature", "kind": "absence"}
        moved = {"name": "free", "metric_name": "status", "kind": "transition", "to": "free"}

        gone = await control.client.post(RULES, json=absence)
        free = await control.client.post(RULES, json=moved)

        assert (gone.status_code, gone.json()["expected_interval"]) == (201, "auto")
        assert gone.json()["grace_factor"] == 3
        assert (free.status_code, free.json()["from"], free.json()["to"]) == (201, None, "free")

    @pytest.mark.parametrize(
        ("fields", "pointer"),
        [
            ({"condition": None}, "/condition"),
            ({"threshold_value": None}, "/threshold_value"),
            ({"threshold_value": "hot"}, "/threshold_value"),
            ({"threshold_value": True}, "/threshold_value"),
            ({"condition": "~"}, "/condition"),
            ({"level": "bad"}, "/level"),
            ({"resolve_threshold": 31}, "/resolve_threshold"),
            ({"condition": "==", "resolve_threshold": 31}, "/resolve_threshold"),
            ({"trigger_count": 0}, "/trigger_count"),
            ({"evaluation_window": -1}, "/evaluation_window"),
            ({"for": -1}, "/for"),
            ({"name": ""}, "/name"),
            ({"metric_name": "a b"}, "/metric_name"),
            ({"device_ids": ["a b"]}, "/device_ids/0"),
            ({"quiet_hours": {"start": 24, "end": 7}}, "/quiet_hours/start"),
            ({"quiet_hours": {"timezone": "Mars/Base"}}, "/quiet_hours/timezone"),
            ({"quiet_hours": {"days": ["sol"]}}, "/quiet_hours/days/0"),
            ({"kind": "transition", "from": "a", "to": "a"}, "/to"),
            ({"colour": "red"}, "/colour"),
        ],
    )
    async def test_a_rule_that_can_not_be_is_a_422_that_says_where(
        self, control: Control, fields: dict[str, Any], pointer: str
    ) -> None:
        answer = await control.client.post(RULES, json=a_rule() | fields)

        assert answer.status_code == 422, answer.text
        assert pointer in {error["pointer"] for error in answer.json()["errors"]}
        assert (await control.client.get(RULES)).json()["total"] == 0

    async def test_a_name_is_taken_once(self, control: Control) -> None:
        await make(control)

        answer = await control.client.post(RULES, json=a_rule(threshold_value=5))

        assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")

    async def test_its_making_is_told(self, control: Control) -> None:
        rule = await make(control)

        (event,) = await told(control, "alert.rule.created")

        assert event["subject"] == rule["rule_id"]
        assert event["data"] == {k: v for k, v in rule.items() if k != "findings"}


class TestLint:
    async def test_a_good_rule_has_no_findings(self, control: Control) -> None:
        await some_devices(control)

        assert await findings(control) == {}

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"metric_name": "temprature"}, {"unknown_metric": "error"}),
            ({"threshold_value": 85}, {"never_true": "error"}),
            ({"threshold_value": -41}, {"always_true": "error"}),
            ({"condition": "<", "threshold_value": -40}, {"never_true": "error"}),
            ({"condition": "==", "threshold_value": "hot"}, {"never_true": "error"}),
            ({"trigger_count": 2}, {"never_true": "error"}),
            ({"device_ids": ["stranger"]}, {"no_device": "warning"}),
            ({"device_groups": ["nowhere"]}, {"no_device": "warning"}),
            ({"notification_channels": ["pager"]}, {"unknown_channel": "error"}),
            ({"cooldown_minutes": 60}, {"cooldown_longer_than_resolve": "warning"}),
            ({"cooldown_minutes": 60, "auto_resolve": False}, {}),
            (
                {"evaluation_window": 5, "trigger_count": 2},
                {"window_shorter_than_cadence": "warning"},
            ),
            ({"evaluation_window": 30, "trigger_count": 2}, {}),
        ],
    )
    async def test_each_finding(
        self, control: Control, fields: dict[str, Any], expected: dict[str, str]
    ) -> None:
        definition = {
            "name": "temperature",
            "data_type": "numeric",
            "min_value": -40,
            "max_value": 85,
        }
        await control.client.post(f"{API}/metrics", json=definition)
        now_us = control.clock.now_us()
        every_10_s = [("a", "temperature", now_us - n * 10_000_000, 20.0) for n in range(9, -1, -1)]
        await control.send(every_10_s)

        assert await findings(control, **fields) == expected

    async def test_a_rule_that_another_one_is_already(self, control: Control) -> None:
        await some_devices(control)
        await make(control, "first", device_ids=["a"])

        assert await findings(control, device_ids=["b"]) == {}
        assert await findings(control, threshold_value=31) == {}
        assert await findings(control) == {"duplicate_rule": "warning"}

    async def test_states_that_a_metric_never_has(self, control: Control) -> None:
        definition = {"name": "door", "data_type": "string", "allowed_values": ["open", "shut"]}
        await control.client.post(f"{API}/metrics", json=definition)
        door = {"kind": "transition", "metric_name": "door", "from": "open", "to": "shut"}

        assert "never_true" not in await findings(control, **door)
        assert (await findings(control, **door | {"to": "ajar"}))["never_true"] == "error"
        always = {"metric_name": "door", "condition": "!=", "threshold_value": "ajar"}
        assert (await findings(control, **always))["always_true"] == "error"

    async def test_strict_refuses_what_lint_calls_an_error(self, control: Control) -> None:
        body = a_rule(notification_channels=["pager"])

        refused = await control.client.post(f"{RULES}?strict=true", json=body)
        made = await control.client.post(RULES, json=body)

        assert refused.status_code == 422
        codes = {finding["code"] for finding in refused.json()["findings"]}
        assert codes == {"unknown_metric", "unknown_channel"}
        assert {finding["code"] for finding in made.json()["findings"]} == codes

    async def test_a_stored_rule_is_no_duplicate_of_itself(self, control: Control) -> None:
        await some_devices(control)
        rule = await make(control)

        same = await control.client.post(f"{RULES}/lint", json={"rule_id": rule["rule_id"]})
        changed = {"rule_id": rule["rule_id"], "trigger_count": 2}
        worse = await control.client.post(f"{RULES}/lint", json=changed)

        assert same.json() == {"findings": [], "count": 0}
        assert [finding["code"] for finding in worse.json()["findings"]] == ["never_true"]

    async def test_nothing_is_stored(self, control: Control) -> None:
        await findings(control)

        nameless = await control.client.post(f"{RULES}/lint", json={"condition": ">"})

        assert nameless.status_code == 422
        assert (await control.client.get(RULES)).json()["total"] == 0


class TestListing:
    async def test_filters_and_pages(self, control: Control) -> None:
        await make(control, "a", level="critical")
        await make(control, "b", enabled=False)
        await make(control, "c", metric_name="pressure")

        async def names(query: str) -> list[str]:
            body = (await control.client.get(f"{RULES}?{query}")).json()
            assert body["count"] == len(body["rules"])
            return [rule["name"] for rule in body["rules"]]

        assert await names("") == ["a", "b", "c"]
        assert await names("enabled=true") == ["a", "c"]
        assert await names("level=critical") == ["a"]
        assert await names("metric_name=pressure") == ["c"]
        assert await names("limit=1&offset=1") == ["b"]
        body = (await control.client.get(f"{RULES}?enabled=false&offset=5")).json()
        assert (body["total"], body["count"]) == (1, 0)
        assert body["filters"] == {"enabled": False}


class TestChanging:
    async def test_an_edit_changes_what_is_named(self, control: Control) -> None:
        rule = await make(control, resolve_threshold=25)

        answer = await control.client.patch(
            f"{RULES}/{rule['rule_id']}", json={"level": "critical", "resolve_threshold": None}
        )

        changed = answer.json()
        assert answer.status_code == 200
        assert (changed["level"], changed["resolve_threshold"]) == ("critical", None)
        assert (changed["revision"], changed["threshold_value"]) == (2, 30)
        (event,) = await told(control, "alert.rule.updated")
        assert event["data"]["changed"] == ["level", "resolve_threshold"]

    async def test_an_edit_that_can_not_be_changes_nothing(self, control: Control) -> None:
        rule = await make(control)
        await make(control, "other")
        url = f"{RULES}/{rule['rule_id']}"

        assert (await control.client.patch(url, json={"name": "other"})).status_code == 409
        assert (await control.client.patch(url, json={"condition": None})).status_code == 422
        assert (await control.client.patch(url, json={"level": None})).status_code == 422
        assert (await control.client.get(url)).json()["revision"] == 1

    async def test_open_alerts_stay_while_the_condition_does(self, control: Control) -> None:
        rule = await make(control)
        alert_id = await an_alert(control.database, rule_id=rule["rule_id"], device_id="a")

        changes = {"name": "warm", "level": "info", "cooldown_minutes": 1, "description": "x"}
        answer = await control.client.patch(f"{RULES}/{rule['rule_id']}", json=changes)

        assert answer.json()["closed_alerts"] == 0
        assert await status_of(control, alert_id) == ("active", None)

    @pytest.mark.parametrize(
        ("changes", "closed", "decides_anew"),
        [
            ({"threshold_value": 31}, 2, True),
            ({"device_ids": ["b"]}, 1, False),
            ({"enabled": False}, 2, False),
            ({"name": "warm", "level": "info"}, 0, False),
        ],
    )
    async def test_a_preview_counts_what_a_change_would_end_and_changes_nothing(
        self, control: Control, changes: dict[str, Any], closed: int, decides_anew: bool
    ) -> None:
        await some_devices(control)
        rule = await make(control)
        url = f"{RULES}/{rule['rule_id']}"
        for device_id in ("a", "b"):
            await an_alert(control.database, rule_id=rule["rule_id"], device_id=device_id)

        seen = (await control.client.post(f"{url}/preview", json=changes)).json()
        stored = (await control.client.get(url)).json()
        done = (await control.client.patch(url, json=changes)).json()

        assert (seen["closed_alerts"], seen["decides_anew"]) == (closed, decides_anew)
        assert stored["revision"] == 1
        assert done["closed_alerts"] == closed

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"threshold_value": 31}, "rule_changed"),
            ({"trigger_count": 2}, "rule_changed"),
            ({"metric_name": "other"}, "rule_changed"),
            ({"device_ids": ["b"]}, "rule_changed"),
            ({"enabled": False}, "rule_disabled"),
        ],
    )
    async def test_an_edit_of_what_decides_ends_the_open_alerts(
        self, control: Control, changes: dict[str, Any], reason: str
    ) -> None:
        rule = await make(control)
        alert_id = await an_alert(control.database, rule_id=rule["rule_id"], device_id="a")
        other = await an_alert(control.database, rule_id="rul_other", device_id="a")

        answer = await control.client.patch(f"{RULES}/{rule['rule_id']}", json=changes)

        assert answer.json()["closed_alerts"] == 1
        assert await status_of(control, alert_id) == ("resolved", reason)
        assert await status_of(control, other) == ("active", None)
        (event,) = await told(control, "alert.resolved")
        assert (event["subject"], event["data"]["resolved_reason"]) == (alert_id, reason)
        by = rule["created_by"]
        assert await steps_of(control.database, alert_id) == [("resolved", reason, by)]

    async def test_a_device_that_stays_watched_keeps_its_alert(self, control: Control) -> None:
        rule = await make(control)
        alert_id = await an_alert(control.database, rule_id=rule["rule_id"], device_id="a")

        await control.client.patch(f"{RULES}/{rule['rule_id']}", json={"device_ids": ["a", "b"]})

        assert await status_of(control, alert_id) == ("active", None)

    async def test_enable_turns_it_off_and_on(self, control: Control) -> None:
        rule = await make(control)
        alert_id = await an_alert(control.database, rule_id=rule["rule_id"], device_id="a")
        url = f"{RULES}/{rule['rule_id']}/enable"

        off = await control.client.put(url, json={"enabled": False})
        on = await control.client.put(url, json={"enabled": True})

        assert (off.json()["success"], off.json()["enabled"]) == (True, False)
        assert (on.json()["success"], on.json()["enabled"]) == (True, True)
        assert await status_of(control, alert_id) == ("resolved", "rule_disabled")

    async def test_a_deleted_rule_leaves_its_alerts_resolved(self, control: Control) -> None:
        rule = await make(control)
        alert_id = await an_alert(control.database, rule_id=rule["rule_id"], device_id="a")

        answer = await control.client.delete(f"{RULES}/{rule['rule_id']}")
        again = await control.client.delete(f"{RULES}/{rule['rule_id']}")

        assert (answer.status_code, answer.json()["closed_alerts"]) == (200, 1)
        assert again.status_code == 404
        assert await status_of(control, alert_id) == ("resolved", "rule_deleted")
        (event,) = await told(control, "alert.rule.deleted")
        assert event["data"]["name"] == "hot"

    async def test_every_change_raises_the_version_of_the_rules(self, control: Control) -> None:
        async def version() -> int:
            async with control.database.connection("control") as connection:
                found: int = await connection.fetchval(
                    "select rules_version from telemetry.alert_version"
                )
            return found

        seen = [await version()]
        rule = await make(control)
        seen.append(await version())
        await control.client.patch(f"{RULES}/{rule['rule_id']}", json={"level": "info"})
        seen.append(await version())
        await control.client.patch(f"{RULES}/{rule['rule_id']}", json={"level": "no"})
        seen.append(await version())
        await control.client.delete(f"{RULES}/{rule['rule_id']}")
        seen.append(await version())

        assert [n - seen[0] for n in seen] == [0, 1, 2, 2, 3]

    async def test_a_deleted_device_ends_its_alerts(self, control: Control) -> None:
        await some_devices(control)
        rule = await make(control)
        alert_id = await an_alert(control.database, rule_id=rule["rule_id"], device_id="a")
        other = await an_alert(control.database, rule_id=rule["rule_id"], device_id="b")

        await control.client.delete(f"{API}/devices/a")

        assert await status_of(control, alert_id) == ("resolved", "device_deleted")
        assert await status_of(control, other) == ("active", None)
        assert len(await told(control, "alert.resolved")) == 1


class TestClosingMessages:
    """Whoever was told of a firing is told of its end, whatever ended it (B5)."""

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("PATCH", "/alerts/rules/{rule}", {"threshold_value": 31}),
            ("PUT", "/alerts/rules/{rule}/enable", {"enabled": False}),
            ("DELETE", "/alerts/rules/{rule}", None),
            ("DELETE", "/devices/a", None),
            ("PUT", "/alerts/{alert}/resolve", None),
        ],
    )
    async def test_every_end_that_somebody_makes(
        self, control: Control, method: str, path: str, body: Any
    ) -> None:
        await some_devices(control)
        rule = await make(control, notification_channels=["ops", "pager"])
        alert_id = await an_alert(control.database, rule_id=rule["rule_id"], device_id="a")
        async with control.database.transaction("control") as connection:
            await messages.tell_fired(connection, [alert_id])

        url = API + path.format(rule=rule["rule_id"], alert=alert_id)
        answer = await control.client.request(method, url, json=body)

        assert answer.status_code == 200, answer.text
        async with control.database.connection("control") as connection:
            rows = await connection.fetch(
                "select channel, kind from telemetry.notification order by ordinal"
            )
        assert [tuple(row) for row in rows] == [
            ("ops", "fire"), ("pager", "fire"), ("ops", "close"), ("pager", "close"),
        ]  # fmt: skip


class TestKeys:
    async def test_scopes(self, control: Control) -> None:
        rule = await make(control)
        reader, writer = await control.key("read"), await control.key("alerts:write")
        url = f"{RULES}/{rule['rule_id']}"

        for method, path, body in (
            ("POST", RULES, a_rule("x")), ("PATCH", url, {}), ("DELETE", url, None),
            ("PUT", f"{url}/enable", {"enabled": True}),
        ):  # fmt: skip
            answer = await control.client.request(method, path, json=body, headers=bearer(reader))
            assert answer.status_code == 403
        for path in (RULES, url):
            answer = await control.client.get(path, headers=bearer(writer))
            assert answer.status_code == 403
            answer = await control.client.get(path, headers=bearer(reader))
            assert answer.status_code == 200

    async def test_rules_of_metrics_that_a_key_does_not_see_do_not_exist_for_it(
        self, control: Control
    ) -> None:
        rule = await make(control)
        key = bearer(await control.key("read", "alerts:write", metrics=("pressure*",)))
        url = f"{RULES}/{rule['rule_id']}"

        assert (await control.client.get(RULES, headers=key)).json()["total"] == 0
        assert (await control.client.get(url, headers=key)).status_code == 404
        assert (await control.client.delete(url, headers=key)).status_code == 404
        refused = await control.client.post(RULES, json=a_rule("x"), headers=key)
        assert (refused.status_code, refused.json()["code"]) == (403, "outside_patterns")

    async def test_a_key_bound_to_devices_changes_rules_about_those_only(
        self, control: Control
    ) -> None:
        await some_devices(control)
        wide = await make(control, "wide")
        other = await make(control, "other", device_ids=["b"])
        both = await make(control, "both", device_ids=["a", "b"])
        key = bearer(await control.key("read", "alerts:write", devices=("a*",)))

        async def names() -> list[str]:
            body = (await control.client.get(RULES, headers=key)).json()
            return [rule["name"] for rule in body["rules"]]

        made = await control.client.post(RULES, json=a_rule("own", device_ids=["a"]), headers=key)
        everywhere = await control.client.post(RULES, json=a_rule("x"), headers=key)
        wider = await control.client.patch(
            f"{RULES}/{made.json()['rule_id']}", json={"device_ids": []}, headers=key
        )

        assert (made.status_code, everywhere.status_code, wider.status_code) == (201, 403, 403)
        assert await names() == ["both", "own", "wide"]
        shown = await control.client.get(f"{RULES}/{both['rule_id']}", headers=key)
        assert shown.json()["device_ids"] == ["a"]
        for rule, status in ((wide, 403), (both, 403), (other, 404)):
            url = f"{RULES}/{rule['rule_id']}"
            answer = await control.client.patch(url, json={"level": "info"}, headers=key)
            assert answer.status_code == status
        events = await control.client.get(f"{API}/events?type=alert.rule.created", headers=key)
        assert events.json()["events"] == []

    async def test_lint_tells_nothing_of_devices_that_the_key_does_not_see(
        self, control: Control
    ) -> None:
        await some_devices(control)
        await make(control, "secret", device_ids=["b"])
        key = bearer(await control.key("read", devices=("c*",)))

        answer = await control.client.post(
            f"{RULES}/lint", json=a_rule("x", device_ids=["b"]), headers=key
        )

        codes = {finding["code"] for finding in answer.json()["findings"]}
        assert codes == {"unknown_metric", "no_device"}

    @pytest.mark.parametrize("path", ["lint", "lint of a stored rule", "preview"])
    async def test_a_metric_that_a_key_does_not_see_is_an_unknown_one_to_lint(
        self, control: Control, path: str
    ) -> None:
        await some_devices(control)
        now_us = control.clock.now_us()
        await control.send([("a", "hidden", now_us + n, 9.0) for n in range(9)])
        bounds = {"data_type": "numeric", "min_value": 0, "max_value": 137}
        made = await control.client.post(f"{API}/metrics", json={"name": "hidden"} | bounds)
        assert made.status_code == 201
        rule = await make(control)
        await make(control, "secret", metric_name="hidden", threshold_value=500)
        key = bearer(await control.key("read", metrics=("temperature", "pressure")))
        about = {"threshold_value": 500, "evaluation_window": 1, "device_ids": ["a"]}

        said = []
        for name in ("hidden", "absent"):
            url, fields = f"{RULES}/lint", {"metric_name": name} | about
            if path == "lint":
                fields = a_rule("x", **fields)
            elif path == "preview":
                url = f"{RULES}/{rule['rule_id']}/preview"
            else:
                fields["rule_id"] = rule["rule_id"]
            answer = await control.client.post(url, json=fields, headers=key)
            assert answer.status_code == 200
            said.append(answer.text.replace(name, "it"))

        assert said[0] == said[1]
        assert '"unknown_metric","severity":"error"' in said[0]

    async def test_to_lint_a_group_of_others_is_one_that_is_not_there(
        self, control: Control
    ) -> None:
        await some_devices(control)
        for name, members in (("theirs", ["b"]), ("ours", ["a"]), ("both", ["a", "b"])):
            group = {"name": name, "kind": "line", "device_ids": members}
            assert (await control.client.post(f"{API}/groups", json=group)).status_code == 201
        await make(control, "secret", device_ids=["a", "b"])

        async def said(key: dict[str, str], group: str) -> str:
            rule = a_rule("x", device_groups=[group])
            answer = await control.client.post(f"{RULES}/lint", json=rule, headers=key)
            return answer.text.replace(group, "it")

        by_device = bearer(await control.key("read", devices=("a",)))
        by_group = bearer(await control.key("read", groups=("ours",)))

        assert await said(by_device, "theirs") == await said(by_device, "absent")
        assert await said(by_group, "both") == await said(by_group, "absent")
        assert await said(by_device, "both") != await said(by_device, "absent")

    async def test_a_twin_on_hidden_devices_is_none(self, control: Control) -> None:
        await some_devices(control)
        await make(control, "secret", device_ids=["a", "b"])
        key = bearer(await control.key("read", devices=("a",)))
        rule = a_rule("x", device_ids=["b"])

        answer = await control.client.post(f"{RULES}/lint", json=rule, headers=key)

        assert [one["code"] for one in answer.json()["findings"]] == ["no_device"]

    async def test_a_preview_counts_what_the_key_sees(self, control: Control) -> None:
        await some_devices(control)
        rule = await make(control)
        for device_id in ("a", "b"):
            await an_alert(control.database, rule_id=rule["rule_id"], device_id=device_id)
        key = bearer(await control.key("read", devices=("a",)))
        url = f"{RULES}/{rule['rule_id']}/preview"

        for changes, closed in (({"threshold_value": 31}, 1), ({"device_ids": ["a"]}, 0)):
            seen = await control.client.post(url, json=changes, headers=key)
            assert seen.json()["closed_alerts"] == closed

    async def test_a_rule_about_more_than_the_key_sees_counts_what_it_sees(
        self, control: Control
    ) -> None:
        await some_devices(control, "c")
        rule = await make(control)
        for device_id, fired in (("a", FIRED), ("b", FIRED + timedelta(hours=1))):
            await an_alert(
                control.database, rule_id=rule["rule_id"], device_id=device_id, triggered_at=fired
            )
        counts = {}
        for device_id in ("a", "c"):
            key = bearer(await control.key("read", devices=(device_id,)))
            shown = (await control.client.get(f"{RULES}/{rule['rule_id']}", headers=key)).json()
            listed = (await control.client.get(RULES, headers=key)).json()["rules"][0]
            assert shown == listed
            counts[device_id] = (shown["total_triggers"], shown["last_triggered"])

        assert counts == {"a": (1, "2025-12-18T12:00:00Z"), "c": (0, None)}
