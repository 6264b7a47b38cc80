"""The command tree, imported piece by piece, and the one place where errors become exit codes."""

import difflib
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from telemetryctl.failures import ConfigurationFailure, Failure, MissingExtra
from telemetryctl.output.console import prepare_streams, print_failure, print_to_stderr
from telemetryctl.output.exit_codes import ExitCode

PROGRAM = "telemetryctl"
COMPLETE_VARIABLE = "_TELEMETRYCTL_COMPLETE"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives: a module with an `app`. `is_group` says that it has verbs."""

    module: str
    help: str
    is_group: bool = False
    aliases: tuple[str, ...] = ()


def _entry(
    module: str, help_text: str, *, is_group: bool = False, aliases: tuple[str, ...] = ()
) -> Entry:
    return Entry(f"telemetryctl.commands.{module}", help_text, is_group, aliases)


COMMANDS: dict[str, Entry] = {
    "login": _entry("login", "Store a server and its key as a context."),
    "logout": _entry("logout", "Forget the key of a context."),
    "whoami": _entry("whoami", "Show who the key is and what it may do."),
    "context": _entry("context", "Servers by name.", is_group=True, aliases=("contexts",)),
    "status": _entry("status", "Show health, rates and lag on one screen."),
    "write": _entry("write", "Send points."),
    "import": _entry("import_", "Load files of history."),
    "latest": _entry("latest", "Show the newest values of devices."),
    "query": _entry("query", "Read a window of history."),
    "export": _entry("export", "Write history to files.", is_group=True),
    "device": _entry("device", "Who sends.", is_group=True, aliases=("devices",)),
    "metric": _entry("metric", "What values mean.", is_group=True, aliases=("metrics",)),
    "key": _entry("key", "API keys.", is_group=True, aliases=("keys",)),
    "simulate": _entry("simulate", "Send plausible data of made-up devices."),
    "completion": _entry("completion", "Print the completion script of a shell."),
    "version": _entry("version", "Show versions."),
    "help": _entry("help", "Explain a topic or a command."),
}
ALIASES = {alias: name for name, entry in COMMANDS.items() for alias in entry.aliases}


class LazyGroup(TyperGroup):
    """The root: it knows all names, and imports a command's module when that command runs."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return the command; None if there is none of this name."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in self.commands:
            if name not in COMMANDS:
                return None
            self.commands[name] = load_command(name)
        return self.commands[name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, or fail with the names that come close."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            close = difflib.get_close_matches(args[0], [*COMMANDS, *ALIASES])
            meant = f" Did you mean {', '.join(map(repr, close))}?" if close else ""
            if not ctx.resilient_parsing:
                ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands from the table, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Offer names and options without importing any command."""
        from typer._click.shell_completion import CompletionItem

        names = [CompletionItem(name) for name in COMMANDS if name.startswith(incomplete)]
        return [*names, *super(TyperGroup, self).shell_complete(ctx, incomplete)]


def load_command(name: str) -> Any:
    """Import the command's module and return it as typer's object."""
    entry = COMMANDS[name]
    app = import_module(entry.module).app
    loaded = typer.main.get_group(app) if entry.is_group else typer.main.get_command(app)
    loaded.name = name
    return loaded


app = typer.Typer(
    cls=LazyGroup,
    name=PROGRAM,
    help="Send, read and export telemetry.",
    epilog="\b\nTopics: telemetryctl help exit-codes|environment|formats|time|cron|systemd|auth",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from telemetryctl import __version__

        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


VERSION_OPTION = typer.Option(
    False, "--version", callback=_show_version, is_eager=True, help="Show the version."
)


@app.callback()
def _root(is_version_wanted: bool = VERSION_OPTION) -> None:
    """Send, read and export telemetry."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error of every command ends here."""
    if COMPLETE_VARIABLE in os.environ:
        return _complete()
    try:
        prepare_streams()
        code = _invoke(arguments)
        sys.stdout.flush()
        return code
    except Failure as failure:
        return _report(failure)
    except KeyboardInterrupt:
        _silence_stdout()
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _die_of_closed_pipe()
    except OSError as error:
        return _report(Failure(f"writing failed: {error.strerror or error}", why=_path_of(error)))
    except Exception as error:
        return _report_unexpected(error, arguments)


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
            return _report_usage(error)
        raise
    return ExitCode.DONE


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
