"""docs/cli.md: every command of both programs, in the order of their help."""

from __future__ import annotations

from collections.abc import Sequence

from man.command_tree import Command, Option
from telemetryctl.commands.help import exit_codes_text

_OPENING = """\
# Commands

Written by `make manual` from the programs themselves; `man telemetryctl`,
`man telemetryctl-query` and `--help` say the same. `telemetryctl completion bash|zsh|fish`
prints what your shell needs to complete names, devices and metrics.
"""


def reference(client: Command, daemon: Command, *, common: Sequence[Option]) -> str:
    """The whole page."""
    parts = [_OPENING, _index([client, daemon])]
    parts += ["## Options of every `telemetryctl` command\n", _table(common)]
    parts += ["## Exit codes of `telemetryctl`\n", f"```text\n{exit_codes_text()}```\n"]
    for one in [*client.verbs, daemon]:
        parts.append(f"## {one.name}\n")
        if one.verbs:
            parts.append(_escaped(" ".join(filter(None, [one.summary, one.text]))) + "\n")
        parts += [_command(leaf, is_single=leaf is one) for leaf in one.leaves]
    return "\n".join(parts)


def _index(programs: Sequence[Command]) -> str:
    rows = ["| command | |", "| --- | --- |"]
    for program in programs:
        for one in program.verbs:
            anchor = one.name if program is programs[0] else program.name
            link = anchor.replace(" ", "-")
            rows.append(f"| [{one.name}](#{link}) | {_escaped(one.summary)} |")
    return "\n".join(rows) + "\n"


def _command(leaf: Command, *, is_single: bool) -> str:
    parts = [] if is_single else [f"### {leaf.name}\n"]
    parts.append(f"```text\n{leaf.usage}\n```\n")
    parts += [_escaped(text) + "\n" for text in (leaf.summary, leaf.text) if text]
    if rows := [*leaf.arguments, *leaf.options]:
        parts.append(_table(rows))
    if leaf.examples:
        parts.append("```sh\n" + "\n".join(leaf.examples) + "\n```\n")
    return "\n".join(parts)


def _table(options: Sequence[Option]) -> str:
    rows = [f"| `{_piped(one.typed)}` | {_escaped(one.help)} |" for one in options]
    return "\n".join(["| | |", "| --- | --- |", *rows]) + "\n"


def _piped(text: str) -> str:
    return text.replace("|", "\\|")


def _escaped(text: str) -> str:
    for mark in ("\\", "|", "<", "*", "_"):
        text = text.replace(mark, f"\\{mark}")
    return text
