"""What the exit codes of `telemetryctl` mean; the codes themselves belong to failures."""

from telemetryctl.failures import ExitCode

__all__ = ["MEANINGS", "ExitCode"]

MEANINGS: dict[ExitCode, tuple[str, str]] = {
    ExitCode.DONE: ("done", ""),
    ExitCode.INTERNAL: (
        "internal error; for diff: differences; backtest: --fail-if; key test: no",
        "page somebody",
    ),
    ExitCode.USAGE: ("usage error", "fix the script"),
    ExitCode.NOTHING: ("nothing there, or nothing new", "ignore"),
    ExitCode.NOT_ALLOWED: ("not logged in or not allowed", "log in, rotate the key"),
    ExitCode.REFUSED: ("refused by the server", "fix the data"),
    ExitCode.PARTLY: ("partly done; what was refused is told, rows in --errors-file", "look"),
    ExitCode.GAP: ("data was lost or dropped, and --strict was given", "fetch again"),
    ExitCode.TRY_LATER: ("unreachable, timeout, busy, or locked", "try later"),
    ExitCode.CONFIGURATION: ("the configuration can't be used", "fix it"),
    ExitCode.INTERRUPTED: ("Ctrl-C", ""),
    ExitCode.PIPE_CLOSED: ("the reader closed the pipe", ""),
}
"""For each code: what it means, and how a cron job usually reacts."""
