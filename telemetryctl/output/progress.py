"""One line on stderr that tells how far a long command is; only for eyes, and after a second."""

from __future__ import annotations

import shutil
import sys
import time

from telemetryctl.output.console import Console, printable

QUIET_S = 1.0
REDRAW_S = 0.1
BAR_CELLS = 24


class Progress:
    """Draws over one line. Does nothing when stderr is no terminal or `-q` was given."""

    def __init__(self, console: Console) -> None:
        self._is_on = console.is_stderr_tty and not console.is_quiet
        self._began_s = time.monotonic()
        self._drawn_s = 0.0
        self._is_drawn = False

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def update(self, text: str, *, fraction: float | None = None) -> None:
        """Show the text, after a bar when the fraction (0 to 1) is known."""
        now_s = time.monotonic()
        if not self._is_on or now_s - self._began_s < QUIET_S or now_s - self._drawn_s < REDRAW_S:
            return
        self._drawn_s = now_s
        self._is_drawn = True
        line = printable(f"{bar(fraction)} {text}" if fraction is not None else text)
        width = shutil.get_terminal_size().columns - 1
        self._write(f"\r\x1b[K{line[:width]}")

    def clear(self) -> None:
        """Take the line away, so that what is said next stands alone."""
        if self._is_drawn:
            self._is_drawn = False
            self._write("\r\x1b[K")

    @staticmethod
    def _write(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            return


def bar(fraction: float) -> str:
    """`[#########...............]  37 %`; ASCII, as it also goes over odd serial lines."""
    share = min(max(fraction, 0.0), 1.0)
    full = round(share * BAR_CELLS)
    return f"[{'#' * full}{'.' * (BAR_CELLS - full)}] {share * 100:3.0f} %"
