"""Commands as plain data, read from typer's tree. How they are written is left to pages."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import typer


@dataclass(frozen=True, slots=True)
class Option:
    """An option or an argument: how it is typed, and what it means."""

    typed: str
    help: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `verbs` are the commands below it; then it does nothing by itself."""

    name: str
    usage: str
    summary: str
    text: str
    arguments: tuple[Option, ...] = ()
    options: tuple[Option, ...] = ()
    examples: tuple[str, ...] = ()
    verbs: tuple[Command, ...] = field(default=())

    @property
    def leaves(self) -> Iterator[Command]:
        """What can be run: the verbs, or the command itself."""
        if not self.verbs:
            yield self
        for verb in self.verbs:
            yield from verb.leaves


def read(app: typer.Typer, *, program: str, common: tuple[Option, ...] = ()) -> Command:
    """The program's tree; options in `common` are left out, as they are told once."""
    root: Any = typer.main.get_command(app)
    context = root.make_context(program, [], resilient_parsing=True)
    return _command(root, context, program, common=common)


def _command(command: Any, context: Any, name: str, *, common: tuple[Option, ...]) -> Command:
    shown = [param for param in command.get_params(context) if not getattr(param, "hidden", False)]
    options = [_option(param, context) for param in shown if _is_option(param)]
    paragraphs = _paragraphs(command.help or "")
    return Command(
        name=name,
        usage=" ".join([name, *_usage(command, shown)]),
        summary=paragraphs[0] if paragraphs else "",
        text="\n\n".join(paragraphs[1:]),
        arguments=tuple(_argument(param, context) for param in shown if not _is_option(param)),
        options=tuple(one for one in options if one not in common and "--help" not in one.typed),
        examples=_examples(command.epilog or ""),
        verbs=tuple(_verbs(command, context, name, common=common)),
    )


def _verbs(group: Any, context: Any, name: str, *, common: tuple[Option, ...]) -> Iterator[Command]:
    names = group.list_commands(context) if hasattr(group, "list_commands") else ()
    for word in names:
        command = group.get_command(context, word)
        if command is None or command.hidden:
            continue
        inner = command.make_context(word, [], parent=context, resilient_parsing=True)
        yield _command(command, inner, f"{name} {word}", common=common)


def options_of(group: type) -> tuple[Option, ...]:
    """The options that a dataclass of options declares, as commands show them."""
    from telemetryctl.options import command as register

    app = typer.Typer(add_completion=False)

    def one(session: Any) -> None:
        """Do nothing."""

    register(app, name="one", example="one")(one)
    root: Any = typer.main.get_command(app)
    context = root.make_context("one", [], resilient_parsing=True)
    names = getattr(group, "__dataclass_fields__", {})
    return tuple(
        _option(param, context)
        for param in root.get_params(context)
        if param.name in names and not getattr(param, "hidden", False)
    )


def _is_option(param: Any) -> bool:
    return any(name.startswith("-") for name in param.opts)


def _option(param: Any, context: Any) -> Option:
    names = ", ".join([*param.opts, *param.secondary_opts])
    typed = names if param.is_flag or param.count else f"{names} {_value_of(param, context)}"
    return Option(typed, _help_of(param, context))


def _argument(param: Any, context: Any) -> Option:
    return Option(_name_of(param), _help_of(param, context))


def _name_of(param: Any) -> str:
    return str(param.metavar or param.name.upper()).strip("[].…")


def _usage(command: Any, shown: list[Any]) -> Iterator[str]:
    """What stands behind the command's name; optional arguments in brackets."""
    yield "[OPTIONS]"
    for param in shown:
        if not _is_option(param):
            name = _name_of(param) if param.required else f"[{_name_of(param)}]"
            yield f"{name}..." if param.nargs == -1 else name
    if hasattr(command, "commands"):
        yield "COMMAND [ARGS]..."


def _value_of(param: Any, context: Any) -> str:
    """What stands behind the option, in capitals: a number, a path, or the option's own name."""
    if param.metavar:
        return str(param.metavar)
    kind = param.get_help_record(context)[0].rpartition(" <")[2]
    if "int" in kind or "float" in kind:
        return "N"
    if "path" in kind:
        return "PATH"
    return str(param.opts[-1]).lstrip("-").upper().replace("-", "_")


def _help_of(param: Any, context: Any) -> str:
    record = param.get_help_record(context)
    return " ".join((record[1] if record else param.help or "").split())


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in textwrap.dedent(text).strip().split("\n\n") if part]


def _examples(epilog: str) -> tuple[str, ...]:
    _, found, examples = epilog.partition("Examples:\n")
    return tuple(line[2:] for line in examples.splitlines()) if found else ()
