"""A view that is drawn again and again: in place on a terminal, one after the other in a pipe."""

import io
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta
from typing import Any

from telemetryctl.failures import ExitCode, Failure, TryLater
from telemetryctl.interrupts import interrupts
from telemetryctl.output.console import Console

_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


class _Screen(io.StringIO):
    """What is drawn before it is shown, so that the picture changes at once."""

    encoding: Any = "utf-8"

    def isatty(self) -> bool:
        return True


def watch(
    console: Console, draw: Callable[[], None], *, every: timedelta, count: int | None = None
) -> None:
    """Call `draw` every so often until Ctrl-C, or `count` times; an outage is shown and survived.

    Raises Failure at once for what waiting doesn't heal, such as a refused key.
    """
    is_first = True
    while count is None or count > 0:
        if not is_first:
            time.sleep(every.total_seconds())
        interrupts.check()
        if console.is_stdout_tty:
            _show(_picture(draw), is_first=is_first)
        else:
            _draw_or_tell(console, draw)
            console.flush()
        is_first = False
        count = None if count is None else count - 1


def _draw_or_tell(console: Console, draw: Callable[[], None]) -> None:
    try:
        draw()
    except Failure as failure:
        _raise_unless_passing(failure)
        console.note(f"-- {failure.what}; trying again --")


def _picture(draw: Callable[[], None]) -> str:
    screen = _Screen()
    with redirect_stdout(screen):
        try:
            draw()
        except Failure as failure:
            _raise_unless_passing(failure)
            screen.write(f"-- {failure.what}; trying again --\n")
    return screen.getvalue()


def _raise_unless_passing(failure: Failure) -> None:
    is_passing = isinstance(failure, TryLater) or failure.exit_code == ExitCode.TRY_LATER
    if not is_passing:
        raise failure


def _show(picture: str, *, is_first: bool) -> None:
    # Each line clears its own rest, since clearing the screen first would flicker.
    lines = picture.replace("\n", f"{_CLEAR_LINE}\n")
    start = f"\x1b[2J{_HOME}" if is_first else _HOME
    sys.stdout.write(f"{start}{lines}{_CLEAR_BELOW}")
    sys.stdout.flush()
