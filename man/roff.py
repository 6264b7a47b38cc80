"""Man pages: the few macros of man(7) that are needed, and nothing that steers a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from man.command_tree import Command, Option

MANUAL = "telemetryctl manual"
_SPECIAL = {
    "\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq",
}  # fmt: skip


def escaped(text: str) -> str:
    """The text as groff prints it, character by character."""
    line = "".join(_SPECIAL.get(character, character) for character in text)
    return f"\\&{line}" if line.startswith((".", "\\(aq")) else line


def header(name: str, section: int, summary: str) -> list[str]:
    """The first lines of a page. There is no date: it would change without a change."""
    return [
        '.\\" Written by make manual from the programs themselves.',
        f'.TH {name.upper()} {section} "" telemetryctl "{MANUAL}"',
        ".nh", ".ad l",
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(summary.rstrip('.'))}",
    ]  # fmt: skip


def paragraphs(text: str) -> list[str]:
    """Running text."""
    lines: list[str] = []
    for part in filter(None, text.split("\n\n")):
        lines += [".PP", *map(escaped, textwrap.wrap(part, 90))]
    return lines


def verbatim(text: str) -> list[str]:
    """Text whose lines stay as they are."""
    return [".PP", ".nf", *(escaped(line) for line in text.splitlines()), ".fi"]


def listed(options: Iterable[Option]) -> list[str]:
    """Options with what they mean."""
    lines = []
    for option in options:
        lines += [".TP", f"\\fB{escaped(option.typed)}\\fR", escaped(option.help)]
    return lines


def examples(lines: Sequence[str]) -> list[str]:
    """Command lines to copy."""
    return [".PP", "Examples:", ".PP", ".RS 4", ".nf", *map(escaped, lines), ".fi", ".RE"]


def command(one: Command) -> list[str]:
    """What a section says of a command, without its heading."""
    lines = [*paragraphs(one.summary), *paragraphs(one.text), *listed(one.arguments)]
    lines += listed(one.options)
    return lines + (examples(one.examples) if one.examples else [])


def page(lines: Iterable[str]) -> str:
    """The whole page."""
    return "\n".join(lines) + "\n"
