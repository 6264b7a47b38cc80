"""Running one command: the one place where errors become exit codes."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import typer

from telemetryctl.failures import (
    ConfigurationFailure,
    ExitCode,
    Failure,
    MissingExtra,
    UsageFailure,
)
from telemetryctl.interrupts import interrupts
from telemetryctl.output.console import prepare_streams, print_failure, print_to_stderr
from telemetryctl.tree import PROGRAM, app

COMPLETE_VARIABLE = "_TELEMETRYCTL_COMPLETE"


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error of every command ends here."""
    if COMPLETE_VARIABLE in os.environ:
        return _complete()
    try:
        with interrupts.heard():
            prepare_streams()
            code = _invoke(arguments)
            sys.stdout.flush()
            return code
    except Failure as failure:
        return _for_monitor(_report(failure), arguments)
    except KeyboardInterrupt:
        _silence_stdout()
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _die_of_closed_pipe()
    except OSError as error:
        return _report(Failure(f"writing failed: {error.strerror or error}", why=_path_of(error)))
    except Exception as error:
        if interrupts.has_come:
            # Raised where Python makes another error of it, such as a class that is being made.
            _silence_stdout()
            return ExitCode.INTERRUPTED
        return _for_monitor(_report_unexpected(error, arguments), arguments)


def _complete() -> int:
    """Answer the shell that asks what could come next; never with an error into the prompt."""
    from typer._completion_classes import completion_init

    with suppress(Exception):
        completion_init()
        typer.main.get_command(app).main([], prog_name=PROGRAM)
    return ExitCode.DONE


def _invoke(arguments: Sequence[str]) -> int:
    """Run a command without typer's `main()`, which turns a closed pipe into exit 1."""
    command = typer.main.get_command(app)
    try:
        with command.make_context(PROGRAM, list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as exit_request:
        return exit_request.exit_code
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            return _for_monitor(_report_usage(error), arguments)
        raise
    return ExitCode.DONE


CHECK = "check"
UNKNOWN = 3


def _for_monitor(code: int, arguments: Sequence[str]) -> int:
    """Return the code of a failure; `check` has four of its own, and a failure is unknown."""
    return UNKNOWN if arguments and arguments[0] == CHECK else code


def _report_usage(error: Any) -> int:
    """Print a mistake on the command line; asking for nothing shows the help, also as exit 2."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print_to_stderr(message)
        return ExitCode.USAGE
    path = context.command_path if context is not None else PROGRAM
    print_failure(Failure(message.rstrip(), hint=f"{path} --help"))
    return ExitCode.USAGE


def _report(failure: Failure) -> int:
    # What was already printed is data that arrived; it must not be lost with the failure.
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _die_of_closed_pipe()
    except OSError:
        _silence_stdout()
    print_failure(failure)
    return failure.exit_code


def _report_unexpected(error: Exception, arguments: Sequence[str]) -> int:
    if known := _translated(error):
        return _report(known)
    import traceback

    text = "".join(traceback.format_exception(error))
    if "--debug" in arguments:
        print_to_stderr(text)
    return _report(
        Failure(
            "something went wrong inside telemetryctl",
            why=f"{type(error).__name__}: {str(error)[:500]}",
            hint=f"please report it with {_save_report(text)}",
        )
    )


def _save_report(text: str) -> str:
    """Keep the traceback in the state folder and return where, or how else to see it."""
    base = os.environ.get("XDG_STATE_HOME", "")
    home = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    path = home / PROGRAM / "last-error.txt"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError:
        return "what --debug prints"
    return str(path)


def _translated(error: Exception) -> Failure | None:
    """Return the failure that an error of the layers below means."""
    from telemetryctl.api.contexts import ContextFileError

    if isinstance(error, ContextFileError):
        return ConfigurationFailure(str(error))
    if isinstance(error, UnicodeEncodeError):
        return UsageFailure("the command line is not UTF-8 text")
    return _extra_of(error) if isinstance(error, ModuleNotFoundError) else None


_EXTRAS = {"zstandard": "daemon", "lz4": "daemon", "asyncpg": "daemon", "fastapi": "daemon"}


def _extra_of(error: ModuleNotFoundError) -> MissingExtra | None:
    module = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(module)
    return MissingExtra(f"{module} is not installed", extra=extra) if extra else None


def _path_of(error: OSError) -> str:
    return str(error.filename) if error.filename else ""


def _silence_stdout() -> None:
    """Point stdout at nothing, so that Python's own flush at the end can't fail again."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _die_of_closed_pipe() -> NoReturn:
    """End as `cat` does when its reader goes away: silently, by SIGPIPE.

    Setting the default action at the start would be shorter, but then a server that closes a
    connection while we send would kill us too, since CPython sends without MSG_NOSIGNAL.
    """
    _silence_stdout()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    sys.exit(ExitCode.PIPE_CLOSED)
