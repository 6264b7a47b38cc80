"""Rules and alerts of a user, with a real daemon that evaluates them."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest
from command_line import PROGRAM, CommandLine

FIRES_WITHIN_S = 100.0


def document(cli: CommandLine, *arguments: str) -> dict[str, Any]:
    result = cli.run(*arguments, "-o", "json")
    assert result.code == 0, result.err
    read: dict[str, Any] = json.loads(result.out)
    return read


def fired(cli: CommandLine, rule: str) -> dict[str, Any]:
    """The open alert of a rule, as soon as there is one."""
    deadline = time.monotonic() + FIRES_WITHIN_S
    while time.monotonic() < deadline:
        found = document(cli, "alert", "ls", "--rule", rule)["alerts"]
        if found:
            alert: dict[str, Any] = found[0]
            return alert
        time.sleep(0.1)
    raise AssertionError(f"{rule} never fired")


class TestRule:
    def test_a_rule_is_made_changed_turned_off_and_deleted(self, cli: CommandLine) -> None:
        cli.run("write", "oven-1", "heat=20")

        made = document(
            cli, "rule", "create", "hot", "-m", "heat", "--when", ">= 90", "--level", "critical",
            "--window", "5m", "--count", "3", "--for", "30s", "--resolve-at", "80",
            "--cooldown", "30s", "--resolve-after", "2m", "-d", "oven-1",
            "--quiet-hours", "22:30-7,sat@Asia/Hong_Kong", "--tag", "kitchen",
        )  # fmt: skip
        changed = document(
            cli, "rule", "edit", "hot", "--when", "> 95", "--clear", "resolve_threshold",
            "--clear", "device_ids",
        )  # fmt: skip
        listed = document(cli, "rule", "ls", "--level", "critical", "-m", "heat", "--enabled")
        off = cli.run("rule", "disable", "hot")
        shown = document(cli, "rule", "get", made["rule_id"])
        gone = cli.run("rule", "delete", "hot", "--yes")

        assert (made["condition"], made["threshold_value"], made["for"]) == (">=", 90, 30)
        assert (made["evaluation_window"], made["trigger_count"]) == (300, 3)
        assert (made["cooldown_minutes"], made["auto_resolve_timeout"]) == (0.5, 120)
        assert (made["device_ids"], made["tags"]) == (["oven-1"], ["kitchen"])
        assert made["quiet_hours"] == {
            "start": "22:30", "end": 7, "days": ["sat"], "timezone": "Asia/Hong_Kong",
        }  # fmt: skip
        assert (changed["condition"], changed["threshold_value"]) == (">", 95)
        assert (changed["resolve_threshold"], changed["device_ids"]) == (None, [])
        assert [rule["name"] for rule in listed["rules"]] == ["hot"]
        assert (off.code, off.err) == (0, "rule hot is disabled\n")
        assert shown["enabled"] is False
        assert (gone.code, gone.out) == (0, "")
        assert cli.run("rule", "get", "hot").code == 3

    def test_what_can_not_work_is_refused_unless_it_is_meant(self, cli: CommandLine) -> None:
        asked = ("rule", "create", "typo", "-m", "haet", "--when", "> 1", "--channel", "pager")

        refused = cli.run(*asked)
        forced = cli.run(*asked, "--force", "-o", "json")

        assert refused.code == 5
        assert "no metric haet is defined" in refused.err
        assert "there is no channel pager" in refused.err
        assert "--force" in refused.err
        assert forced.code == 0
        assert (
            "error: there is no channel pager: nobody would be told (unknown_channel)" in forced.err
        )
        assert json.loads(forced.out)["notification_channels"] == ["pager"]

    def test_lint_says_what_is_wrong_by_its_exit_code(self, cli: CommandLine) -> None:
        cli.run("metric", "create", "damp", "--min", "0", "--max", "100")
        cli.run("write", "cellar-1", "damp=40")
        cli.run("rule", "create", "wet", "-m", "damp", "--when", "> 80")

        good = cli.run("rule", "lint", "wet")
        worse = cli.run("rule", "lint", "wet", "--when", "> 100")
        new = cli.run("rule", "lint", "-m", "damp", "--when", "> 101", "-o", "jsonl")

        assert (good.code, good.out.count("\n")) == (0, 1)
        assert worse.code == 5
        assert "never_true" in worse.out
        assert [json.loads(line)["code"] for line in new.out.splitlines()] == ["never_true"]

    @pytest.mark.parametrize(
        "arguments",
        [
            ["create", "x"],
            ["create", "x", "-m", "y", "--when", "hot"],
            ["create", "x", "-m", "y", "--when", "> 1", "--quiet-hours", "late"],
            ["create", "x", "-m", "y", "--when", "> 1", "--window", "soon"],
            ["edit", "x"],
            ["edit", "x", "--clear", "name"],
            ["lint"],
        ],
    )
    def test_what_makes_no_sense_is_a_usage_error(
        self, cli: CommandLine, arguments: list[str]
    ) -> None:
        assert cli.run("rule", *arguments).code == 2


class TestAlert:
    def test_an_alert_is_seen_acknowledged_and_resolved(self, cli: CommandLine) -> None:
        cli.run("write", "mill-7", "load=1")
        cli.run("rule", "create", "busy", "-m", "load", "--when", "> 90")
        cli.run("write", "mill-7", "load=95")

        alert = fired(cli, "busy")
        alert_id = alert["alert_id"]
        acked = document(cli, "alert", "ack", alert_id, "-m", "on it")
        resolved = document(cli, "alert", "resolve", alert_id, "--note", "belt replaced")
        again = cli.run("alert", "resolve", alert_id)
        left = document(cli, "alert", "ls", "--rule", "busy")
        past = document(cli, "alert", "ls", "--rule", "busy", "--status", "all", "--since", "1h")

        assert (alert["device_id"], alert["value"], alert["status"]) == ("mill-7", 95, "active")
        assert (acked["status"], acked["acknowledged_note"]) == ("acknowledged", "on it")
        assert (resolved["resolved_reason"], resolved["resolved_note"]) == (
            "by_hand", "belt replaced",
        )  # fmt: skip
        assert (again.code, "already_resolved" in again.err) == (5, True)
        assert left["alerts"] == []
        assert [one["alert_id"] for one in past["alerts"]] == [alert_id]
        assert document(cli, "alert", "get", alert_id)["status"] == "resolved"

    def test_a_watch_shows_what_is_open_and_what_comes(self, cli: CommandLine) -> None:
        cli.run("write", "fan-1", "rpm=1")
        cli.run("rule", "create", "fast", "-m", "rpm", "--when", "> 10")
        cli.run("write", "fan-1", "rpm=11")
        alert_id = fired(cli, "fast")["alert_id"]

        asked = ["alert", "watch", "--rule", "fast", "-n", "2", "-o", "jsonl"]
        with subprocess.Popen(
            [PROGRAM, *asked], stdout=subprocess.PIPE, text=True, env=cli.environment()
        ) as running:
            assert running.stdout is not None
            first = json.loads(running.stdout.readline())
            cli.run("alert", "ack", alert_id)
            second = json.loads(running.stdout.readline())
            code = running.wait(100)

        assert (first["alert_id"], first["status"]) == (alert_id, "active")
        assert (second["alert_id"], second["status"]) == (alert_id, "acknowledged")
        assert code == 0

    def test_disabling_a_rule_ends_its_alert_and_says_so(self, cli: CommandLine) -> None:
        cli.run("write", "pump-1", "flow=1")
        cli.run("rule", "create", "flood", "-m", "flow", "--when", "> 5", "--level", "emergency")
        cli.run("write", "pump-1", "flow=6")
        alert_id = fired(cli, "flood")["alert_id"]

        worst = document(cli, "alert", "ls", "--level", ">=critical", "-d", "pump-1")
        off = cli.run("rule", "disable", "flood")

        assert [one["alert_id"] for one in worst["alerts"]] == [alert_id]
        assert off.err.splitlines() == ["rule flood is disabled", "1 open alerts ended with it"]
        assert document(cli, "alert", "get", alert_id)["resolved_reason"] == "rule_disabled"

    def test_status_shows_how_many_are_open(self, cli: CommandLine) -> None:
        deadline = time.monotonic() + FIRES_WITHIN_S
        engine: dict[str, Any] = {}
        while "alerts_active" not in engine and time.monotonic() < deadline:
            engine = document(cli, "status")["health"]["alert_engine"]

        assert engine["status"] == "up"
        assert {"rules", "rules_enabled", "alerts_active", "alerts_critical"} <= set(engine)

    @pytest.mark.parametrize(
        "arguments",
        [["ls", "--level", "bad"], ["ls", "--level", ">=a,b"], ["watch", "-o", "json"], ["ack"]],
    )
    def test_what_makes_no_sense_is_a_usage_error(
        self, cli: CommandLine, arguments: list[str]
    ) -> None:
        assert cli.run("alert", *arguments).code == 2
