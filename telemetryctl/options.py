"""How a function becomes a command: the options that every command has, and option groups."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup

from telemetryctl.completion import complete_contexts
from telemetryctl.session import open_session

Command = Callable[..., None]
_COMMON = "Common options"


@dataclasses.dataclass(frozen=True, slots=True)
class CommonOptions:
    """Options of every command. typer refuses a callback's options after the subcommand."""

    context: Annotated[
        str | None,
        typer.Option("-c", "--context", help="Use this context.", autocompletion=complete_contexts),
    ] = None
    server: Annotated[str | None, typer.Option("--server", help="URL of the server.")] = None
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="table, plain, json, jsonl, csv or yaml."),
    ] = None
    fields: Annotated[
        str | None, typer.Option("--fields", help="Only these fields: a,b,tags.room.")
    ] = None
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Leave out the header line.")] = (
        False
    )
    wide: Annotated[bool, typer.Option("--wide", help="Cut nothing in tables.")] = False
    null: Annotated[
        bool, typer.Option("-0", "--null", help="End records with NUL, for xargs -0.")
    ] = False
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors on stderr.")] = False
    verbose: Annotated[
        int,
        typer.Option(
            "-v", "--verbose", count=True, show_default=False, help="Show requests; -vv headers."
        ),
    ] = 0
    color: Annotated[
        str, typer.Option("--color", metavar="WHEN", help="auto, always or never.")
    ] = "auto"
    tz: Annotated[str | None, typer.Option("--tz", help="utc, local or Area/City, for times.")] = (
        None
    )
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Give up after this long; 0 never. [30s]")
    ] = None
    no_input: Annotated[bool, typer.Option("--no-input", help="Never ask.")] = False
    token_file: Annotated[
        str | None, typer.Option("--token-file", help="Read the key from this file.")
    ] = None
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="Read the key from stdin.")] = (
        False
    )
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.", hidden=True)] = False


def noun(help_text: str) -> typer.Typer:
    """Return the app of a noun with verbs; `list`, `show` and `rm` are hidden aliases."""
    app = typer.Typer(cls=VerbGroup, help=help_text, rich_markup_mode=None, add_completion=False)
    app.callback()(_nothing)
    return app


def single(help_text: str = "") -> typer.Typer:
    """Return the app of a command without verbs."""
    return typer.Typer(help=help_text or None, rich_markup_mode=None, add_completion=False)


def _nothing() -> None:
    """Keep a noun with one verb a group; typer would take the verb's name away."""


VERB_ALIASES: dict[str, tuple[str, ...]] = {
    "list": ("ls",),
    "show": ("get",),
    "get": ("show",),
    "rm": ("delete", "revoke"),
    "remove": ("delete", "rm", "revoke"),
    "delete": ("rm", "revoke"),
    "add": ("create",),
    "new": ("create", "add"),
    "create": ("add",),
}


class VerbGroup(TyperGroup):
    """A group that also takes the verbs of other tools."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of this name or of what it is an alias of."""
        names = (cmd_name, *VERB_ALIASES.get(cmd_name, ()))
        return next((self.commands[name] for name in names if name in self.commands), None)


def command(
    app: typer.Typer, *, name: str | None = None, example: str, is_hidden: bool = False
) -> Callable[[Command], Command]:
    """Register a function as a command of the app, with the common options.

    Its first parameter is the Session. A parameter whose type is a dataclass stands for that
    dataclass's fields, each an option or argument. Every command has an example for its help.
    """

    def register(function: Command) -> Command:
        app.command(
            name=name,
            epilog=f"\b\nExamples:\n{_indented(example)}",
            hidden=is_hidden,
        )(_with_options(function))
        return function

    return register


def _indented(example: str) -> str:
    return "\n".join(f"  {line.strip()}" for line in example.strip().splitlines())


def _with_options(function: Command) -> Command:
    """Return a function of flat parameters that typer can read, and that calls this one."""
    hints = get_type_hints(function, include_extras=True)
    own = list(inspect.signature(function).parameters.values())[1:]
    groups = {p.name: hints[p.name] for p in own if dataclasses.is_dataclass(hints[p.name])}
    flat = [
        parameter
        for p in own
        for parameter in (
            _fields_of(groups[p.name])
            if p.name in groups
            else [p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY)]
        )
    ]

    taken = [parameter.name for parameter in flat]

    def run(**values: Any) -> None:
        # A command's own option stands for the common one of its name, which is then not given.
        session_values = values | dict.fromkeys(taken)
        session = open_session(session_values)
        values = {name: values[name] for name in taken}
        for name, group in groups.items():
            fields = {field.name: values.pop(field.name) for field in dataclasses.fields(group)}
            values[name] = group(**fields)
        function(session, **values)

    flat += [parameter for parameter in _fields_of(CommonOptions) if parameter.name not in taken]
    run.__name__ = function.__name__
    run.__doc__ = function.__doc__
    run.__annotations__ = {}
    run.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    return run


def _fields_of(group: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[field.name],
            default=inspect.Parameter.empty if default is dataclasses.MISSING else default,
        )
