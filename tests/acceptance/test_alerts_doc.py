"""docs/alerts.md: its commands run in order, and do what the text says."""

from __future__ import annotations

import json

import pytest
from daemons import DaemonProcess
from documents import blocks, run_shell, text_of

DOC = "docs/alerts.md"
# All of its commands, one after the other.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def told(daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Everything that the commands print, in one shell that stops at the first failure."""
    script = "exec 2>&1\n" + "\n".join(blocks(DOC, "sh"))
    return run_shell(script, daemon=daemon, folder=tmp_path_factory.mktemp("alerts"))


@pytest.mark.parametrize(
    "said",
    [
        "exit 1: they differ", "nothing to change", "create\trule\toven hot",
        "created\trule\toven hot", "effect now: 1 would start firing, 0 would resolve",
        "exit 5: it can't fire", "threshold_value=240\t1\t", "threshold_value=280\t0\t",
        "exit 1: too loud", " messages to each of pager",
        "rule oven hot tells from now on",
        "door was open", "closed it", "defrosting", "rule fridge warm is disabled",
        "deleted\trule\toven hot", "deleted\tmetric\toven_celsius",
    ],
)  # fmt: skip
def test_the_commands_do_what_the_text_says(told: str, said: str) -> None:
    assert said in told, told


def test_the_rule_of_the_file_fires_over_the_history_that_was_written(told: str) -> None:
    lines = [line for line in told.splitlines() if line.startswith("{") and "oven_1" in line]
    alerts = [found for found in map(json.loads, lines) if "event_time" in found]

    assert [alert["value"] for alert in alerts] == [270]


def test_every_verb_of_a_rule_stands_in_the_page() -> None:
    from telemetryctl.commands import job, rule

    # Those that the text does without change fields one at a time.
    left_out = {"ls", "get", "edit", "enable", "create", "cancel"}
    for name, app in (("rule", rule.app), ("job", job.app)):
        verbs = {
            one.name or getattr(one.callback, "__name__", "") for one in app.registered_commands
        }
        missing = {verb for verb in verbs - left_out if f"{name} {verb}" not in text_of(DOC)}

        assert missing == set()
