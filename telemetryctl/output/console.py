"""The two streams: data on stdout, everything else on stderr."""

import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from telemetryctl.failures import Failure, UsageFailure

COLOR_MODES = ("auto", "always", "never")


def prepare_streams() -> None:
    """Make both streams survive text that their encoding lacks. Raises Failure without a stdout.

    Python sets a stream to None when its descriptor is closed, and print() then drops data
    without a word.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - lives to the end
    if sys.stdout is None:
        raise Failure("stdout is closed, so there is no place for the data")


@dataclass(frozen=True, slots=True)
class Console:
    """Where a command writes; made once for each command."""

    is_quiet: bool = False
    verbosity: int = 0
    color: str = "auto"

    @property
    def is_stdout_tty(self) -> bool:
        """Whether a person looks at stdout."""
        return sys.stdout.isatty()

    @property
    def is_stderr_tty(self) -> bool:
        """Whether a person looks at stderr, so that progress may be drawn."""
        return sys.stderr.isatty()

    @property
    def is_stdin_tty(self) -> bool:
        """Whether somebody could answer a question."""
        return sys.stdin is not None and sys.stdin.isatty()

    def write(self, text: str) -> None:
        """Write data to stdout as it is."""
        sys.stdout.write(text)

    def flush(self) -> None:
        """Hand the data on, so that a reader of a pipe sees it now."""
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell something on stderr; `-q` silences it."""
        if not self.is_quiet:
            print_to_stderr(text)

    def detail(self, text: str, *, level: int = 1) -> None:
        """Tell something on stderr that only `-v` (or `-vv`: level 2) asks for."""
        if self.verbosity >= level:
            print_to_stderr(text)

    def may_color(self, stream: TextIO) -> bool:
        """Whether escapes for colour may go to the stream: --color, then NO_COLOR, then a tty."""
        return may_color(self.color, is_tty=stream.isatty(), environ=os.environ)


def may_color(mode: str, *, is_tty: bool, environ: Mapping[str, str]) -> bool:
    """Decide on colour by the flag, https://no-color.org and https://bixense.com/clicolors."""
    match mode:
        case "always":
            return True
        case "never":
            return False
    if environ.get("NO_COLOR"):
        return False
    return is_tty and environ.get("TERM") != "dumb" and environ.get("CLICOLOR") != "0"


def check_color(mode: str) -> str:
    """Return the mode. Raises UsageFailure if there is no such mode."""
    if mode not in COLOR_MODES:
        raise UsageFailure(f'"{mode}" is not a colour mode', hint=", ".join(COLOR_MODES))
    return mode


def print_to_stderr(text: str) -> None:
    """Write one line to stderr; a closed or full stderr must not fail the command."""
    try:
        sys.stderr.write(printable(text, keep="\n\t") + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def print_failure(failure: Failure) -> None:
    """Write what, why and what to type next to stderr; empty parts are left out."""
    lines = [f"error: {failure.what}"]
    if failure.why:
        lines += [f"  {line}" for line in failure.why.splitlines()]
    if failure.hint:
        lines.append(f"hint: {failure.hint}")
    print_to_stderr("\n".join(lines))


def printable(text: str, *, keep: str = "") -> str:
    """Return the text with control characters written out, since data must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep or not _is_control(c) else f"\\x{ord(c):02x}"
        for c in text
    )


def _is_control(character: str) -> bool:
    # C0, DEL, C1 and the marks that turn the direction of writing (Unicode UAX 9).
    code = ord(character)
    return (
        code < 0x20 or 0x7F <= code < 0xA0 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    )
