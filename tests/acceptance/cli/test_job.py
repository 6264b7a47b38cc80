"""Jobs of a user, and the backtests that are jobs, with a real daemon that does them."""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine

from telemetryctl import times

# Some days ago: what is older than its retention is not taken.
DAY = times.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(20)
FIRST, SECOND, END = (f"{DAY + timedelta(days):%Y-%m-%d}" for days in range(3))
WINDOW = ("--since", f"{FIRST}T00:00Z", "--until", f"{END}T00:00Z")
RULE_YAML = """\
kind: rule
name: heat
spec:
  metric_name: kiln
  condition: ">"
  threshold_value: 90
  cooldown_minutes: 0
  enabled: false
"""


def document(cli: CommandLine, *arguments: str) -> dict[str, Any]:
    result = cli.run(*arguments, "-o", "json")
    assert result.code == 0, result.err
    read: dict[str, Any] = json.loads(result.out)
    return read


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of one kiln: 95 at noon for ten minutes, 88 in the evening of the first day."""
    lines = ["timestamp,device_id,metric_name,value"]
    for minute in range(2 * 24 * 60):
        hour = minute / 60 % 24
        is_evening = minute < 24 * 60 and 20 <= hour < 20.1
        value = 95 if 12 <= hour < 12.16 else 88 if is_evening else 20
        stamp = (DAY + timedelta(minutes=minute)).isoformat()
        lines.append(f"{stamp},kiln-1,kiln,{value}")
    path = tmp_path_factory.mktemp("history") / "kiln.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def trained(cli: CommandLine, history: Path) -> CommandLine:
    """A user with that history and the rule `hot`; again is the same."""
    if cli.run("rule", "get", "hot").code:
        assert cli.run("import", str(history)).code == 0
        made = cli.run("rule", "create", "hot", "-m", "kiln", "--when", "> 90", "--cooldown", "0")
        assert made.code == 0, made.err
    return cli


class TestBacktest:
    def test_a_stored_rule_is_tested_over_history(self, trained: CommandLine) -> None:
        result = document(trained, "rule", "backtest", "hot", *WINDOW)
        rows = trained.run("rule", "backtest", "hot", *WINDOW, "--alerts", "-o", "jsonl")

        assert result["summary"]["alerts"] == 2
        assert result["summary"]["alerts_per_day"] == 1.0
        assert [alert["event_time"] for alert in result["alerts"]] == [
            f"{FIRST}T12:00:00Z", f"{SECOND}T12:00:00Z",
        ]  # fmt: skip
        assert [json.loads(line) for line in rows.out.splitlines()] == result["alerts"]
        assert f"window {FIRST}T00:00:00Z .. {END}T00:00:00Z" in rows.err

    def test_candidates_are_compared(self, trained: CommandLine) -> None:
        tried = trained.run(
            "rule", "backtest", "hot", *WINDOW, "--set", "threshold_value=85..95:5",
            "--set", "trigger_count=1,2", "--set", "evaluation_window=5m", "-o", "jsonl",
        )  # fmt: skip
        candidates = [json.loads(line) for line in tried.out.splitlines()]
        piped = trained.run("rule", "backtest", "hot", *WINDOW, "--set", "threshold_value=85,95")

        assert [one["summary"]["alerts"] for one in candidates] == [3, 3, 2, 2, 0, 0]
        assert candidates[0]["set"] == {
            "evaluation_window": 300, "threshold_value": 85, "trigger_count": 1,
        }  # fmt: skip
        assert [line.split("\t")[:2] for line in piped.out.splitlines()] == [
            ["set", "alerts"], ["threshold_value=85", "3"], ["threshold_value=95", "0"],
        ]  # fmt: skip

    def test_a_table_has_the_alerts_below(self, trained: CommandLine) -> None:
        shown = trained.run("rule", "backtest", "hot", *WINDOW, "-o", "table")

        assert "A DAY" in shown.out
        assert shown.out.count("kiln-1") == 2

    @pytest.mark.parametrize("name", ["rule.yaml", "rule.json", "rule.toml", "-"])
    def test_a_rule_in_a_file_is_tested(
        self, trained: CommandLine, tmp_path: Path, name: str
    ) -> None:
        spec = {"metric_name": "kiln", "condition": ">", "threshold_value": 90}
        texts = {
            ".json": json.dumps({"kind": "rule", "name": "heat", "spec": spec}),
            ".toml": 'kind = "rule"\nname = "heat"\n[spec]\nmetric_name = "kiln"\n'
            'condition = ">"\nthreshold_value = 90\n',
        }
        text = texts.get(Path(name).suffix, RULE_YAML)
        path = "-" if name == "-" else str(tmp_path / name)
        if name != "-":
            Path(path).write_text(text)

        result = trained.run("rule", "backtest", path, *WINDOW, "-o", "json", stdin=text)

        assert json.loads(result.out)["summary"]["alerts"] == 2, result.err

    def test_as_arrived_judges_what_came_late(self, trained: CommandLine) -> None:
        asked = ("--since", "1h", "--as-arrived", "--no-wait")
        queued = document(trained, "rule", "backtest", "hot", *asked)
        job = document(trained, "job", "wait", queued["job_id"])

        assert job["result"]["as_arrived"] is True
        assert job["status"] == "done"

    @pytest.mark.parametrize(
        ("condition", "code"),
        [("alerts_per_day > 0.5", 1), ("alerts>2", 0), ("alerts >= 2 and flaps > 0", 0)],
    )
    def test_a_limit_decides_the_exit_code(
        self, trained: CommandLine, condition: str, code: int
    ) -> None:
        tested = trained.run("rule", "backtest", "hot", *WINDOW, "--fail-if", condition)

        assert tested.code == code
        assert tested.out.startswith("set\talerts\t")
        assert ("--fail-if came true" in tested.err) == bool(code)

    @pytest.mark.parametrize(
        "arguments",
        [
            ["hot", "--set", "threshold_value"],
            ["hot", "--set", "threshold_value=9..1"],
            ["hot", "--set", "threshold_value=0..1e9:1"],
            ["hot", "--fail-if", "alerts"],
            ["hot", "--fail-if", "__import__('os') > 1"],
            ["hot", "--fail-if", "threshold_value > 1"],
            ["hot", "--fail-if", "alerts > 1", "--no-wait"],
            ["nothing.yaml"],
        ],
    )
    def test_what_makes_no_sense_is_a_usage_error(
        self, cli: CommandLine, arguments: list[str]
    ) -> None:
        assert cli.run("rule", "backtest", *arguments).code == 2

    def test_what_the_server_refuses_is_exit_5(self, trained: CommandLine) -> None:
        refused = trained.run("rule", "backtest", "hot", "--set", "threshold_value=warm", *WINDOW)

        assert refused.code == 5
        assert "hot can't be tested" in refused.err


class TestJob:
    def test_a_job_is_listed_shown_and_over(self, trained: CommandLine) -> None:
        queued = document(trained, "rule", "backtest", "hot", *WINDOW, "--no-wait")
        waited = document(trained, "job", "wait", queued["job_id"], "--for", "100s")
        listed = document(trained, "job", "ls", "--type", "backtest", "-n", "1")
        ids = trained.run("job", "ls", "--status", "done", "--ids")
        cancelled = trained.run("job", "cancel", queued["job_id"])

        assert waited["result"]["summary"]["alerts"] == 2
        assert [job["job_id"] for job in listed["jobs"]] == [queued["job_id"]]
        assert ids.out.splitlines()[0] == queued["job_id"]
        assert (cancelled.code, "job_over" in cancelled.err) == (5, True)
        assert trained.run("job", "get", "job_unknown").code == 3

    def test_a_terminal_sees_how_far_a_job_is(self, trained: CommandLine) -> None:
        queued = document(trained, "rule", "backtest", "hot", *WINDOW, "--no-wait")
        shown = trained.run_on_terminal("job", "wait", queued["job_id"])

        assert shown.code == 0
        assert queued["job_id"] in shown.out


class TestHistory:
    def test_a_rule_leaves_the_shadow_after_showing_what_it_recorded(
        self, cli: CommandLine
    ) -> None:
        cli.run("write", "saw-1", "noise=1")
        cli.run("rule", "create", "loud", "-m", "noise", "--when", "> 80", "--shadow")
        cli.run("write", "saw-1", "noise=81")
        alerts: list[Any] = []
        for _ in range(200):
            alerts = document(cli, "rule", "history", "loud")["alerts"]
            if alerts:
                break

        unasked = cli.run("rule", "promote", "loud")
        promoted = cli.run("rule", "promote", "loud", "--yes", "-o", "jsonl")
        again = cli.run("rule", "promote", "loud", "--yes")

        assert [alert["shadow"] for alert in alerts] == [True]
        assert unasked.code == 2
        assert [json.loads(line)["device_id"] for line in promoted.out.splitlines()] == ["saw-1"]
        assert "1 alerts would have been told to nobody" in promoted.err
        assert (again.code, again.err) == (0, "rule loud tells already\n")
        assert document(cli, "rule", "get", "loud")["shadow"] is False
