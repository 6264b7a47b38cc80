"""Objects as documents: apply, diff and dump of a user, with a real daemon."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine

FIRES_WITHIN_S = 100.0
KITCHEN = """\
kind: metric
name: grill
spec: {data_type: numeric, unit: celsius, min_value: -40, max_value: 900, tags: [kitchen]}
---
kind: group
name: stoves
spec: {kind: room, parent_id: house, location: {lat: 22.28, lon: 114.16}}
---
kind: group
name: house
spec: {kind: building, metadata: {floor: 3}}
---
kind: rule
name: grill hot
spec:
  metric_name: grill
  condition: ">"
  threshold_value: 300
  level: critical
  device_groups: [stoves]
  quiet_hours: {start: 22, end: "07:30", days: [sat, sun], timezone: Asia/Hong_Kong}
  tags: [grill]
"""


def document(cli: CommandLine, *arguments: str, code: int = 0) -> dict[str, Any]:
    result = cli.run(*arguments, "-o", "json")
    assert result.code == code, result.err
    read: dict[str, Any] = json.loads(result.out)
    return read


def events(cli: CommandLine) -> str:
    """The position of the newest event."""
    return str(document(cli, "event", "ls", "-n", "1")["cursor"])


def write(folder: Path, text: str, name: str = "all.yaml") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return str(folder)


def clear(cli: CommandLine) -> None:
    """Take away what a test before has made."""
    for noun in ("rule", "group", "metric"):
        for _ in range(2):
            for name in names(cli, noun):
                cli.run(noun, "delete", name, "--yes")


def names(cli: CommandLine, noun: str) -> list[str]:
    key = {"rule": "rules", "group": "groups", "metric": "metrics"}[noun]
    return [row["name"] for row in document(cli, noun, "ls", "--all")[key]]


@pytest.fixture
def clean(cli: CommandLine) -> CommandLine:
    """A daemon that holds no definitions, groups or rules."""
    clear(cli)
    return cli


class TestApply:
    def test_documents_become_objects_and_again_nothing_happens(
        self, clean: CommandLine, tmp_path: Path
    ) -> None:
        clean.run("write", "grill-1", "grill=20")
        folder = write(tmp_path / "k", KITCHEN)

        differs = clean.run("diff", "-f", folder)
        first = clean.run("apply", "-f", folder, "--yes", "-o", "jsonl")
        before = events(clean)
        again = clean.run("apply", "-f", folder, "-v")
        same = clean.run("diff", "-f", folder)

        assert differs.code == 1
        assert first.code == 0, first.err
        assert [json.loads(line)["name"] for line in first.out.splitlines()] == [
            "grill", "house", "stoves", "grill hot",
        ]  # fmt: skip
        assert (again.code, again.out) == (0, "")
        requests = [line.split()[0] for line in again.err.splitlines() if "/api/v1" in line]
        assert set(requests) == {"GET"}
        assert events(clean) == before
        assert (same.code, same.out) == (0, "action\tkind\tname\tfields\n")
        stoves = document(clean, "group", "get", "stoves")
        assert stoves["parent_id"] == document(clean, "group", "get", "house")["group_id"]
        rule = document(clean, "rule", "get", "grill hot")
        assert (rule["threshold_value"], rule["level"]) == (300, "critical")
        assert rule["quiet_hours"]["timezone"] == "Asia/Hong_Kong"

    @pytest.mark.parametrize("output", ["yaml", "json", "jsonl", "files"])
    def test_a_dump_applied_changes_nothing(
        self, clean: CommandLine, tmp_path: Path, output: str
    ) -> None:
        for device_id in ("grill-1", "grill-2"):
            clean.run("write", device_id, "grill=20", "lid=on")
        clean.run("apply", "-f", write(tmp_path / "k", KITCHEN), "--yes")
        clean.run("group", "add", "stoves", "grill-1")
        clean.run("group", "add", "house", "grill-2")
        clean.run(
            "rule", "create", "on/off: *", "-m", "lid", "--kind", "transition", "--from", '"on"',
            "--to", '"no"', "--no-data", "alert", "-d", "grill-1",
        )  # fmt: skip
        clean.run("rule", "create", "silent", "-m", "grill", "--kind", "absence", "--every", "auto")
        if output == "files":
            source = str(tmp_path / "dumped")
            assert clean.run("dump", "-O", source).code == 0
        else:
            suffix = "yaml" if output == "jsonl" else output
            source = str(tmp_path / f"dump.{suffix}")
            dumped = clean.run("dump", "-o", output)
            text = dumped.out.replace("\n", "\n---\n") if output == "jsonl" else dumped.out
            Path(source).write_text(text)

        same = document(clean, "diff", "-f", source)
        clear(clean)
        missing = document(clean, "diff", "-f", source, code=1)
        restored = clean.run("apply", "-f", source, "--yes")
        second = clean.run("dump", "-o", "json")

        assert same["changes"] == []
        assert same["unchanged"] == 6
        assert len(missing["changes"]) == 6
        assert restored.code == 0, restored.err
        items = {item["name"]: item["spec"] for item in json.loads(second.out)["items"]}
        assert items["stoves"]["device_ids"] == ["grill-1"]
        assert items["house"]["device_ids"] == ["grill-2"]
        assert (items["on/off: *"]["from"], items["on/off: *"]["to"]) == ("on", "no")

    def test_a_dump_leaves_out_what_is_so_by_itself(self, clean: CommandLine) -> None:
        clean.run("write", "grill-1", "grill=20")
        clean.run("rule", "create", "warm", "-m", "grill", "--when", "> 50")

        dumped = clean.run("dump", "rules")

        assert dumped.out == (
            "---\nkind: rule\nname: warm\nspec:\n  metric_name: grill\n  condition: '>'\n"
            "  threshold_value: 50\n"
        )

    def test_a_difference_is_shown_field_by_field(self, clean: CommandLine, tmp_path: Path) -> None:
        clean.run("write", "grill-1", "grill=20")
        clean.run("rule", "create", "warm", "-m", "grill", "--when", "> 50", "--cooldown", "5m")
        text = (
            'kind: rule\nname: warm\nspec: {metric_name: grill, condition: ">",'
            " threshold_value: 60}\n---\nkind: metric\nname: grill\nspec: {data_type: numeric}\n"
        )
        folder = write(tmp_path / "k", text)

        shown = clean.run("diff", "-f", folder, "-o", "table")
        dry = clean.run("apply", "-f", folder, "--dry-run", "-o", "table")
        refused = clean.run("apply", "-f", folder)

        assert shown.code == 1
        assert shown.out == (
            "+ metric/grill (new)\n"
            "~ rule/warm  threshold_value: 50 -> 60, cooldown_minutes: 5 -> 15\n"
        )
        assert "effect now: 0 would start firing, 0 would resolve" in shown.err
        assert "2 to change, 0 as they should be" in shown.err
        assert (dry.code, dry.out) == (0, shown.out)
        assert refused.code == 2
        assert "--yes" in refused.err
        assert document(clean, "rule", "get", "warm")["threshold_value"] == 50

    def test_the_effect_on_alerts_is_what_then_happens(
        self, clean: CommandLine, tmp_path: Path
    ) -> None:
        for device_id, value in (("e-1", 95), ("e-2", 75), ("e-3", 10)):
            clean.run("write", device_id, "ember=1")
            clean.run("rule", "create", "glow", "-m", "ember", "--when", "> 90", "--cooldown", "0")
            clean.run("write", device_id, f"ember={value}")
        deadline = time.monotonic() + FIRES_WITHIN_S
        while not document(clean, "alert", "ls", "--rule", "glow")["alerts"]:
            assert time.monotonic() < deadline, "it never fired"
            time.sleep(0.1)
        text = (
            'kind: rule\nname: glow\nspec: {metric_name: ember, condition: ">",'
            " threshold_value: 70, cooldown_minutes: 0}\n"
        )
        folder = write(tmp_path / "k", text)

        effect = document(clean, "diff", "-f", folder, code=1)["effect"]
        applied = document(clean, "apply", "-f", folder, "--yes")
        renamed = write(
            tmp_path / "r", text.replace("name: glow", "name: gleam\nwas: glow"), "r.yaml"
        )
        later = document(clean, "diff", "-f", renamed, code=1)
        clean.run("apply", "-f", renamed, "--set", "embers", "--yes")
        clean.run("write", "e-1", "ember=96")
        deadline = time.monotonic() + FIRES_WITHIN_S
        while not (still := document(clean, "alert", "ls", "--rule", "gleam"))["alerts"]:
            assert time.monotonic() < deadline, "it never fired again"
            time.sleep(0.1)
        other = write(tmp_path / "o", "kind: metric\nname: m\nspec: {data_type: json}\n")
        open_then = -1
        while open_then != still["total"]:
            # Another may have fired meanwhile.
            open_then = still["total"]
            pruned = document(clean, "diff", "-f", other, "--prune", "--set", "embers", code=1)
            still = document(clean, "alert", "ls", "--rule", "gleam")

        assert effect == {"would_open": 2, "would_close": 1, "not_known": []}
        assert applied["changes"][0]["detail"] == "1 open alerts ended"
        assert later["effect"] == {"would_open": 0, "would_close": 0, "not_known": []}
        assert list(later["changes"][0]["fields"]) == ["name"]
        assert names(clean, "rule") == ["gleam"]
        assert pruned["effect"]["would_close"] == still["total"]

    def test_pruning_takes_only_what_is_of_the_set(
        self, clean: CommandLine, tmp_path: Path
    ) -> None:
        clean.run("write", "grill-1", "grill=20")
        clean.run("rule", "create", "mine", "-m", "grill", "--when", "> 1", "--tag", "hand-made")
        folder = write(tmp_path / "k", KITCHEN)
        other = write(tmp_path / "o", "kind: group\nname: yard\nspec: {kind: place}\n")
        clean.run("apply", "-f", folder, "--set", "kitchen", "--yes")
        clean.run("apply", "-f", other, "--set", "garden", "--yes")
        less = write(tmp_path / "l", KITCHEN[: KITCHEN.index("---")])

        kept = document(clean, "apply", "-f", folder, "--yes")
        unasked = clean.run("apply", "-f", less, "--prune", "--yes")
        shown = clean.run("diff", "-f", less, "--prune", "--set", "kitchen", "-o", "table")
        pruned = document(clean, "apply", "-f", less, "--prune", "--set", "kitchen", "--yes")

        assert kept == {"changes": [], "unchanged": 4}
        assert unasked.code == 2
        assert shown.out.splitlines() == [
            "- rule/grill hot (in no document)",
            "- group/stoves (in no document)",
            "- group/house (in no document)",
        ]
        assert [(row["action"], row["name"]) for row in pruned["changes"]] == [
            ("deleted", "grill hot"), ("deleted", "stoves"), ("deleted", "house"),
        ]  # fmt: skip
        assert names(clean, "rule") == ["mine"]
        assert names(clean, "group") == ["yard"]

    def test_what_fails_is_named_and_the_rest_is_done(
        self, clean: CommandLine, tmp_path: Path
    ) -> None:
        text = KITCHEN + (
            '---\nkind: rule\nname: typo\nspec: {metric_name: girll, condition: ">",'
            " threshold_value: 1}\n---\nkind: group\nname: lost\n"
            "spec: {kind: room, device_ids: [never-seen]}\n"
        )
        folder = write(tmp_path / "k", text)
        clean.run("write", "grill-1", "grill=20")

        partly = clean.run("apply", "-f", folder, "--yes", "-o", "jsonl")
        none = clean.run("apply", "-f", folder, "--yes")
        clean.run("write", "never-seen", "girll=0")
        mended = clean.run("apply", "-f", folder, "--yes")

        assert partly.code == 6
        rows = {row["name"]: row["action"] for row in map(json.loads, partly.out.splitlines())}
        assert rows == {
            "grill": "created", "house": "created", "stoves": "created", "lost": "failed",
            "grill hot": "created", "typo": "failed",
        }  # fmt: skip
        assert "2 of 6 changes failed" in partly.err
        assert "rule/typo: no metric girll is defined" in partly.err
        assert "group/lost: " in partly.err
        assert (none.code, "2 of 2 changes failed" in none.err) == (5, True)
        assert mended.code == 0, mended.err

    def test_somebody_at_a_terminal_is_asked(self, clean: CommandLine, tmp_path: Path) -> None:
        folder = write(tmp_path / "k", "kind: metric\nname: m\nspec: {data_type: string}\n")

        no = clean.run_on_terminal("apply", "-f", folder, answers={"[y/N]": "n"})
        yes = clean.run_on_terminal("apply", "-f", folder, answers={"[y/N]": "y"})

        assert no.code == 2
        assert "+ metric/m (new)" in no.out
        assert (yes.code, names(clean, "metric")) == (0, ["m"])


class TestDocuments:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.json", '{"items":[{"kind": "Metric", "name": "a", "spec": {"data_type":"json"}}]}'),
            ("a.json", '[{"kind": "metrics", "name": "a", "spec": {"data_type": "json"}}]'),
            ("a.toml", '[[items]]\nkind = "metric"\nname = "a"\nspec.data_type = "json"\n'),
            ("a.yml", "kind: metric\nname: a\nspec:\n  data_type: json\n"),
        ],
    )  # fmt: skip
    def test_a_document_comes_in_any_form(
        self, clean: CommandLine, tmp_path: Path, name: str, text: str
    ) -> None:
        applied = clean.run("apply", "-f", write(tmp_path / "k", text, name), "--yes")

        assert applied.code == 0, applied.err
        assert names(clean, "metric") == ["a"]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("kind: rule\nname: x\nspec: {metric_name: y, treshold: 1}", "treshold: Extra"),
            ("kind: rule\nname: x\nspec: {level: bad, metric_name: y}", "level: Input should be"),
            ("kind: rule\nname: x\nmetric_name: y", 'a document has no "metric_name"'),
            ("kind: pod\nname: x\nspec: {}", 'there is no kind "pod"'),
            ("kind: metric\nname: 5\nspec: {}", "name is a text"),
            ("kind: metric\nname: x\nname: y\n", '"name" stands twice'),
            ("kind: metric\nname: x\n---\nkind: metric\nname: x\n", "document 1) and in"),
            ("kind: metric\nname: x\nwas: y\nspec: {data_type: json}", "keeps its name"),
            ("just text", "is no document"),
            ("a: [", "can't be read"),
        ],
    )
    def test_what_is_no_document_changes_nothing(
        self, clean: CommandLine, tmp_path: Path, text: str, said: str
    ) -> None:
        folder = write(tmp_path / "k", text)

        applied = clean.run("apply", "-f", folder, "--yes")

        assert applied.code == 2
        assert said in applied.err

    def test_folders_in_folders_are_read_when_that_is_said(
        self, clean: CommandLine, tmp_path: Path
    ) -> None:
        folder = tmp_path / "k"
        write(folder / "deep", "kind: metric\nname: a\nspec: {data_type: json}\n")

        shallow = clean.run("apply", "-f", str(folder), "--yes")
        deep = clean.run("apply", "-f", str(folder), "-R", "--yes")

        assert (shallow.code, deep.code) == (3, 0)


TOLD = """\
kind: channel
name: pager
spec: {kind: webhook, url: "https://hooks.example.org/on-call", fallback: mail}
---
kind: channel
name: mail
spec:
  kind: email
  host: mail.example.org
  from: alerts@example.org
  to: ops@example.org
  username: alerts
  password: {env: MAIL_PASSWORD}
---
kind: channel
name: chat
spec: {kind: slack, url: {file: SECRETS}}
---
kind: silence
name: new burner
spec:
  matchers: {device_id: ["boiler_1", "boiler_2"], level: warning}
  ends_at: 2096-11-21T18:00:00+01:00
---
kind: silence
name: long past
spec: {matchers: {device_id: boiler_1}, ends_at: 2020-11-21T18:00:00Z}
"""


class TestWhoIsTold:
    def test_channels_and_silences_are_objects_too(
        self, clean: CommandLine, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").write_text("https://hooks.example.org/services/T0/B0/xyzzy\n")
        folder = write(tmp_path / "k", TOLD.replace("SECRETS", str(tmp_path / "secret")))

        lacking = clean.run("apply", "-f", folder, "--yes")
        made = clean.run("apply", "-f", folder, "--yes", "-o", "json", MAIL_PASSWORD="plugh")
        before = events(clean)
        again = clean.run("apply", "-f", folder, "--prune", "--set", "all", "-v")
        dumped = clean.run("dump", "channels", "silence")
        (tmp_path / "dump.yaml").write_text(dumped.out)
        same = document(clean, "diff", "-f", str(tmp_path / "dump.yaml"))
        moved = write(
            tmp_path / "m", dumped.out.replace("mail.example.org", "mx.example.org"), "m.yaml"
        )
        changed = document(clean, "apply", "-f", moved, "--yes")

        assert (lacking.code, lacking.out) == (2, "")
        assert "channel/mail: the environment has no MAIL_PASSWORD" in lacking.err
        assert made.code == 0, made.err
        assert [row["name"] for row in json.loads(made.out)["changes"]] == [
            "mail", "chat", "pager", "new burner",
        ]  # fmt: skip
        assert (again.code, again.out) == (0, "")
        assert "channels can't carry the mark of a set" in again.err
        requests = [line.split()[0] for line in again.err.splitlines() if "/api/v1" in line]
        assert set(requests) == {"GET"}
        assert events(clean) == before
        assert not {"plugh", "xyzzy", "whsec_", "long past"} & set(dumped.out.split())
        assert "xyzzy" not in dumped.out + made.out + made.err
        assert (same["changes"], same["unchanged"]) == ([], 4)
        assert [(row["action"], row["name"]) for row in changed["changes"]] == [("changed", "mail")]
        assert document(clean, "channel", "get", "mail")["host"] == "mx.example.org"
