"""Exit codes of `telemetryctl`: what a script may rely on."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The one table; `telemetryctl help exit-codes` prints it."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    NOTHING = 3
    NOT_ALLOWED = 4
    REFUSED = 5
    PARTLY = 6
    GAP = 7
    TRY_LATER = 75
    CONFIGURATION = 78
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS: dict[ExitCode, tuple[str, str]] = {
    ExitCode.DONE: ("done", ""),
    ExitCode.INTERNAL: ("internal error; for diff: differences found", "page somebody"),
    ExitCode.USAGE: ("usage error", "fix the script"),
    ExitCode.NOTHING: ("nothing there, or nothing new", "ignore"),
    ExitCode.NOT_ALLOWED: ("not logged in or not allowed", "log in, rotate the key"),
    ExitCode.REFUSED: ("refused by the server", "fix the data"),
    ExitCode.PARTLY: ("partly done; refused rows are in --errors-file", "look"),
    ExitCode.GAP: ("data was lost or dropped, and --strict was given", "fetch again"),
    ExitCode.TRY_LATER: ("unreachable, timeout, busy, or locked", "try later"),
    ExitCode.CONFIGURATION: ("the configuration can't be used", "fix it"),
    ExitCode.INTERRUPTED: ("Ctrl-C", ""),
    ExitCode.PIPE_CLOSED: ("the reader closed the pipe", ""),
}
"""For each code: what it means, and how a cron job usually reacts."""
