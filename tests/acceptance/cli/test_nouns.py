"""Metrics, devices, keys and the session of a user, with a real daemon."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from daemons import DaemonProcess

from telemetryctl.yaml_text import load_all


def document(cli: CommandLine, *arguments: str) -> dict[str, Any]:
    result = cli.run(*arguments, "-o", "json")
    assert result.code == 0, result.err
    read: dict[str, Any] = json.loads(result.out)
    return read


@pytest.mark.parametrize(
    "line", ["whoami", "status", "device ls", "key ls", "metric ls", "rule ls", "channel ls"]
)
def test_yaml_is_what_json_is(cli: CommandLine, line: str) -> None:
    shown = cli.run(*line.split(), "-o", "yaml")
    [found] = load_all(shown.out)

    assert (shown.code, set(found)) == (0, set(document(cli, *line.split())))


class TestMetric:
    def test_a_definition_is_made_changed_and_deleted(self, cli: CommandLine) -> None:
        made = document(
            cli, "metric", "create", "speed", "--unit", "mph", "--min", "0", "--retention", "4w"
        )
        changed = document(cli, "metric", "edit", "speed", "--max", "90", "--clear", "unit")
        gone = cli.run("metric", "delete", "speed", "--yes")

        assert (made["unit"], made["min_value"], made["retention_days"]) == ("mph", 0, 28)
        assert (changed["unit"], changed["min_value"], changed["max_value"]) == (None, 0, 90)
        assert (gone.code, gone.out) == (0, "")
        assert cli.run("metric", "get", "speed").code == 3

    def test_a_name_that_is_taken_is_refused_with_three_lines(self, cli: CommandLine) -> None:
        cli.run("metric", "create", "taken")

        result = cli.run("metric", "create", "taken")

        assert result.code == 5
        assert result.err.splitlines()[0].startswith('error: metric "taken" was not created: ')
        assert "409 name_taken (request " in result.err.splitlines()[1]

    def test_lists_are_filtered_and_paged(self, cli: CommandLine) -> None:
        for number in range(5):
            cli.run("metric", "create", f"paged_{number}", "--type", "counter")

        listed = document(cli, "metric", "ls", "--like", "paged_", "--type", "counter")
        page = cli.run("metric", "ls", "--like", "paged_", "--limit", "2", "--offset", "1", "--ids")

        assert [m["name"] for m in listed["metrics"]] == [f"paged_{n}" for n in range(5)]
        assert page.out == "paged_1\npaged_2\n"
        assert page.err == "2 of 5; --all shows all\n"

    @pytest.mark.parametrize(
        "arguments",
        [
            ["create", "x", "--retention", "1mo"],
            ["create", "x", "--retention", "90m"],
            ["create", "x", "--metadata", "[1]"],
            ["edit", "x"],
            ["edit", "x", "--clear", "name"],
        ],
    )
    def test_what_makes_no_sense_is_a_usage_error(
        self, cli: CommandLine, arguments: list[str]
    ) -> None:
        assert cli.run("metric", *arguments).code == 2


class TestGroup:
    def test_groups_are_made_filled_moved_and_deleted(self, cli: CommandLine) -> None:
        for device_id in ("bike-1", "bike-2", "bike-3"):
            cli.run("write", device_id, "status=free")
        top = document(cli, "group", "create", "hong kong", "--kind", "region")
        made = document(
            cli, "group", "create", "central", "--in", "hong kong", "--kind", "branch",
            "--location", "22.28,114.16", "--metadata", '{"floor": 3}', "-d", "bike-1",
        )  # fmt: skip

        added = cli.run("group", "add", "central", "bike-2", "bike-3")
        removed = cli.run("group", "remove", made["group_id"], "bike-3")
        refused = cli.run("group", "delete", "hong kong", "--yes")
        listed = document(cli, "group", "ls", "--kind", "branch", "--rollup", "status:free")
        inside = cli.run("group", "ls", "--in", "hong kong", "--ids")
        edited = document(
            cli, "group", "edit", "central", "--name", "Central", "--clear", "parent",
            "--clear", "location",
        )  # fmt: skip
        gone = cli.run("group", "delete", "hong kong", "--yes")

        assert (made["parent_id"], made["metadata"]) == (top["group_id"], {"floor": 3})
        assert (added.code, added.err) == (0, '2 devices are in "central"\n')
        assert removed.code == 0
        assert (refused.code, "has_children" in refused.err) == (5, True)
        assert listed["groups"][0]["rollup"] == {"free": 2, "total": 2}
        assert inside.out == f"{made['group_id']}\n"
        assert (edited["name"], edited["parent_id"], edited["location"]) == ("Central", None, None)
        assert edited["device_count"] == 2
        assert (gone.code, gone.out) == (0, "")
        assert cli.run("group", "get", "hong kong").code == 3

    def test_reads_take_a_group_by_name(self, cli: CommandLine) -> None:
        cli.run("write", "in-1", "level=1")
        cli.run("write", "out-1", "level=2")
        cli.run("group", "create", "inside", "-d", "in-1")

        members = cli.run("group", "devices", "inside", "--metric", "level", "--ids")
        listed = cli.run("device", "ls", "--group", "inside", "--ids")
        newest = document(cli, "latest", "--group", "inside")
        queried = document(cli, "query", "level", "--group", "inside")
        exported = cli.run("export", "csv", "--since", "1h", "--group", "inside")
        unknown = cli.run("query", "level", "--group", "nowhere")

        assert members.out == listed.out == "in-1\n"
        assert list(newest["latest"]) == ["in-1"]
        assert [point["device_id"] for point in queried["data_points"]] == ["in-1"]
        assert [row.split(",")[1] for row in exported.out.splitlines()[1:]] == ["in-1"]
        assert (unknown.code, "unknown_group" in unknown.err) == (5, True)

    def test_members_show_their_status(self, cli: CommandLine) -> None:
        cli.run("write", "mill-1", "status=busy")
        cli.run("group", "create", "mills", "-d", "mill-1")

        shown = document(cli, "group", "devices", "mills", "--state", "busy")
        table = cli.run("group", "devices", "mills", "--fields", "device_id,status")

        assert shown["devices"][0]["status"] == "busy"
        assert shown["devices"][0]["watchable"]["eligible"] is False
        assert "busy" in table.out

    def test_a_failure_in_the_middle_says_how_far_it_came(self, cli: CommandLine) -> None:
        cli.run("write", "known-1", "x=1")
        cli.run("group", "create", "partly")

        result = cli.run("group", "add", "partly", "known-1", "never-seen")

        assert result.code == 3
        assert result.err.startswith("error: 1 of 2 done, then never-seen: ")
        assert document(cli, "group", "get", "partly")["device_count"] == 1

    @pytest.mark.parametrize(
        "arguments",
        [["edit", "x"], ["edit", "x", "--clear", "kind"], ["create", "x", "--location", "north"]],
    )
    def test_what_makes_no_sense_is_a_usage_error(
        self, cli: CommandLine, arguments: list[str]
    ) -> None:
        assert cli.run("group", *arguments).code == 2


class TestDevice:
    def test_a_device_is_labelled_found_and_deleted(self, cli: CommandLine) -> None:
        cli.run("write", "bus-7", "speed=1")

        cli.run("device", "label", "bus-7", "depot=north", "line=7", "--type", "bus")
        cli.run("device", "label", "bus-7", "line=", "--location", "22.3,114.2")

        device = document(cli, "device", "get", "bus-7")
        assert device["tags"] == {"depot": "north"}
        assert device["type"] == "bus"
        assert device["location"] == {"lat": 22.3, "lon": 114.2}
        assert cli.run("device", "ls", "--tag", "depot=north", "--ids").out == "bus-7\n"
        assert document(cli, "device", "stats", "bus-7")["data_points_count"] == 1
        assert cli.run("device", "delete", "bus-7", "--yes").code == 0
        assert cli.run("device", "get", "bus-7").code == 3

    def test_a_device_is_not_deleted_unless_somebody_agrees(self, cli: CommandLine) -> None:
        cli.run("write", "kept", "speed=1", "doors=open")

        piped = cli.run("device", "delete", "kept")
        refused = cli.run_on_terminal("device", "delete", "kept", answers={"[y/N] ": "n"})

        assert piped.code == refused.code == 2
        assert piped.err.splitlines()[-1] == "hint: telemetryctl device delete kept --yes"
        assert '"kept" and its 2 points of 2 metrics?' in refused.out
        assert cli.run("device", "get", "kept").code == 0

    def test_a_device_is_deleted_when_somebody_agrees(self, cli: CommandLine) -> None:
        cli.run("write", "unloved", "speed=1")

        result = cli.run_on_terminal("device", "delete", "unloved", answers={"[y/N] ": "y"})

        assert result.code == 0
        assert cli.run("device", "get", "unloved").code == 3

    def test_nobody_is_asked_in_ci(self, cli: CommandLine) -> None:
        cli.run("write", "ci", "speed=1")

        flagged = cli.run_on_terminal("device", "delete", "ci", "--no-input")
        in_ci = cli.run_on_terminal("device", "delete", "ci", CI="true")

        assert flagged.code == in_ci.code == 2

    def test_a_strange_id_is_shown_and_sent_as_it_is(self, cli: CommandLine) -> None:
        device_id = "plant/line:3/../x"
        cli.run("write", device_id, "speed=1")

        assert document(cli, "device", "get", device_id)["device_id"] == device_id

    @pytest.mark.parametrize(
        "arguments",
        [["label", "x"], ["label", "x", "tag"], ["label", "x", "--location", "1"]],
    )
    def test_what_makes_no_sense_is_a_usage_error(
        self, cli: CommandLine, arguments: list[str]
    ) -> None:
        assert cli.run("device", *arguments).code == 2


class TestKey:
    def test_only_the_key_is_on_stdout(self, cli: CommandLine) -> None:
        result = cli.run("key", "create", "only", "--scope", "read", "--expires", "90d")

        assert result.out.startswith("tlm_")
        assert result.out.count("\n") == 1
        assert result.out.strip() not in result.err
        assert '"only"' in result.err

    def test_a_key_is_found_by_name_prefix_and_id(self, cli: CommandLine) -> None:
        made = document(cli, "key", "create", "findable", "--scope", "read")

        for text in (made["key_id"], made["key_id"][:-2], "findable"):
            assert document(cli, "key", "show", text)["name"] == "findable"
        assert cli.run("key", "show", "key_0").code in (2, 3)

    def test_an_ambiguous_name_lists_the_candidates(self, cli: CommandLine) -> None:
        ids = [document(cli, "key", "create", "double", "--scope", "read")["key_id"] for _ in "ab"]

        result = cli.run("key", "revoke", "double", "--yes")

        assert result.code == 2
        assert all(key_id in result.err for key_id in ids)

    def test_a_rotated_key_works_and_a_revoked_one_does_not(
        self, cli: CommandLine, tmp_path: Path
    ) -> None:
        old, new = tmp_path / "old", tmp_path / "new"
        old.write_text(cli.run("key", "create", "turning", "--scope", "read").out)

        new.write_text(cli.run("key", "rotate", "turning", "--overlap", "1h").out)

        for path in (old, new):
            assert cli.run("whoami", "--token-file", str(path)).code == 0
        cli.run("key", "revoke", "turning", "--yes")
        assert cli.run("whoami", "--token-file", str(new)).code == 4

    def test_a_key_without_the_scope_is_4(self, cli: CommandLine, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.write_text(cli.run("key", "create", "reader", "--scope", "read").out)

        result = cli.run("metric", "create", "forbidden", "--token-file", str(path))

        assert result.code == 4
        assert "metrics:write" in result.err


class TestSession:
    def test_a_login_checks_the_key_and_keeps_it_to_the_user(
        self, cli: CommandLine, daemon: DaemonProcess, tmp_path: Path
    ) -> None:
        key = cli.run("key", "create", "laptop", "--scope", "read,ingest").out
        other = CommandLine(tmp_path)

        result = other.run("login", daemon.url, "--token-stdin", stdin=key)

        assert (result.code, result.out) == (0, "")
        assert '"laptop"  (scopes: ' in result.err
        assert "is now the default" in result.err
        mode = stat.S_IMODE((other.config_folder / "credentials.toml").stat().st_mode)
        assert mode == 0o600
        assert other.run("whoami", "--fields", "name", "--no-headers").out == "laptop\n"
        assert other.run("logout").code == 0
        assert other.run("whoami").code == 4

    def test_a_wrong_key_is_not_kept(
        self, cli: CommandLine, daemon: DaemonProcess, tmp_path: Path
    ) -> None:
        other = CommandLine(tmp_path)

        result = other.run("login", daemon.url, "--token-stdin", stdin="tlm_wrong\n")

        assert result.code == 4
        assert "tlm_wrong" not in result.err
        assert not other.config_folder.exists()

    def test_a_person_types_the_key_unseen(
        self, cli: CommandLine, daemon: DaemonProcess, tmp_path: Path
    ) -> None:
        other = CommandLine(tmp_path)

        result = other.run_on_terminal("login", daemon.url, answers={"key: ": daemon.key})

        assert result.code == 0
        assert daemon.key not in result.out

    def test_no_secret_is_in_the_log_of_requests(
        self, cli: CommandLine, daemon: DaemonProcess
    ) -> None:
        result = cli.run("whoami", "-vv")

        assert "authorization: …" in result.err.lower()
        assert daemon.key not in result.err

    def test_the_status_is_one_screen_of_a_healthy_daemon(
        self, cli: CommandLine, daemon: DaemonProcess
    ) -> None:
        screen = cli.run_on_terminal("status", NO_COLOR="1")
        piped = cli.run("status")

        assert screen.code == piped.code == 0
        assert screen.out.splitlines()[0].startswith(f"{daemon.url}   v")
        assert len(screen.out.splitlines()) < 25
        assert all(len(line) <= 80 for line in screen.out.splitlines())
        assert piped.out.startswith("part\tstatus\tdetail\nserver\thealthy\t")

    def test_the_status_needs_no_key(self, daemon: DaemonProcess, tmp_path: Path) -> None:
        result = CommandLine(tmp_path).run("status", "--server", daemon.url, "-o", "json")

        assert result.code == 0
        assert json.loads(result.out)["health"]["status"] == "healthy"

    def test_versions_are_compared_with_our_server_only(
        self, cli: CommandLine, daemon: DaemonProcess
    ) -> None:
        versions = document(cli, "version", "--check")

        assert versions["client"] == versions["server"]
        assert versions["server_url"] == daemon.url
        assert document(cli, "context", "test")["status"] == "healthy"

    def test_names_of_devices_are_completed(self, cli: CommandLine) -> None:
        cli.run("write", "completed-1", "speed=1")
        words = {"COMP_WORDS": "telemetryctl latest compl", "COMP_CWORD": "2"}

        # On a busy machine the server may be too slow for somebody who types.
        for _ in range(20):
            result = cli.run(_TELEMETRYCTL_COMPLETE="complete_bash", **words)
            if result.out:
                break

        assert result.out == "completed-1\n"
