"""The command tree: which module holds which command. It is imported piece by piece."""

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

PROGRAM = "telemetryctl"


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
    "tail": _entry("tail", "Show points as they come."),
    "top": _entry("top", "Show who sends how much."),
    "export": _entry("export", "Write history to files.", is_group=True),
    "device": _entry("device", "Who sends.", is_group=True, aliases=("devices",)),
    "group": _entry("group", "Sets of devices.", is_group=True, aliases=("groups",)),
    "metric": _entry("metric", "What values mean.", is_group=True, aliases=("metrics",)),
    "rule": _entry(
        "rule", "What is watched, and when it fires.", is_group=True, aliases=("rules",)
    ),
    "alert": _entry("alert", "What fired.", is_group=True, aliases=("alerts",)),
    "silence": _entry(
        "silence", "Messages that nobody gets for a while.", is_group=True, aliases=("silences",)
    ),
    "watch": _entry(
        "watch", "Be told once when one device changes.", is_group=True, aliases=("watches",)
    ),
    "channel": _entry(
        "channel", "Where messages about alerts go.", is_group=True, aliases=("channels",)
    ),
    "job": _entry("job", "Long work that the server does.", is_group=True, aliases=("jobs",)),
    "event": _entry("event", "What happened.", is_group=True, aliases=("events",)),
    "apply": _entry("apply", "Make objects what documents say."),
    "diff": _entry("diff", "Show what apply would change."),
    "dump": _entry("dump", "Write objects as documents."),
    "key": _entry("key", "API keys.", is_group=True, aliases=("keys",)),
    "account": _entry(
        "account", "People who log in with a password.", is_group=True, aliases=("accounts",)
    ),
    "check": _entry("check", "Answer a monitoring system.", is_group=True),
    "doctor": _entry("doctor", "Look for what is wrong."),
    "admin": _entry("admin", "Look after the whole installation.", is_group=True),
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
    epilog="\b\nTopics, with telemetryctl help: exit-codes environment formats time cron systemd"
    " streams auth",
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
