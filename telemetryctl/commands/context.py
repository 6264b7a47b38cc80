"""Contexts: servers by name, with a key and a few defaults."""

from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from telemetryctl import config
from telemetryctl.api import contexts
from telemetryctl.completion import complete_contexts
from telemetryctl.failures import NothingThere, UsageFailure
from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.session import Session

app = noun("Servers by name.")

LIST_COLUMNS = (
    Column("name", is_fixed=True),
    Column("server", is_fixed=True),
    Column("is_current", title="CURRENT"),
    Column("has_token", title="KEY"),
)
SHOW_COLUMNS = (Column("setting"), Column("value", is_fixed=True))
ORIGIN_COLUMN = Column("origin")

Name = Annotated[str, typer.Argument(help="Name of the context.", autocompletion=complete_contexts)]
Output = Annotated[str | None, typer.Option("--default-output", help="Its default -o.")]
Zone = Annotated[str | None, typer.Option("--default-tz", help="Its default --tz.")]


@command(app, example="telemetryctl context ls")
def ls(session: Session) -> None:
    """List the contexts."""
    config_tables, credentials = _read()
    current = config_tables.get("current")
    rows = [
        {
            "name": name,
            "server": table.get("server"),
            "is_current": name == current,
            "has_token": "token" in credentials.get("contexts", {}).get(name, {}),
        }
        for name, table in config_tables.get("contexts", {}).items()
    ]
    session.renderer.rows(rows, columns=LIST_COLUMNS)


@command(app, example="telemetryctl context use work\ntelemetryctl context use -")
def use(session: Session, *, name: Name) -> None:
    """Make a context the current one; `-` is the one before."""
    folder = contexts.config_home()
    with contexts.locked(folder):
        tables = config.read_config(folder)
        wanted = tables.get("previous") if name == "-" else name
        if not wanted:
            raise NothingThere("there is no context before the current one")
        _known(tables, wanted)
        contexts.set_current(tables, wanted)
        contexts.write_tables(folder / contexts.CONFIG_FILE, tables)
    session.console.note(f'context "{wanted}" is now the default')


@command(app, example="telemetryctl context show --origin")
def show(
    session: Session,
    *,
    origin: Annotated[
        bool, typer.Option("--origin", help="Also say where each value comes from.")
    ] = False,
) -> None:
    """Show the settings that a command would work with; keys are masked."""
    settings = session.settings
    values = {
        "context": settings.context,
        "server": settings.server,
        "output": settings.output,
        "tz": settings.tz,
        "token": settings.token.masked() if settings.token else None,
        "signing_key_file": settings.signing_key_file and str(settings.signing_key_file),
    }
    rows = [
        {"setting": name, "value": value, "origin": settings.origins[name]}
        for name, value in values.items()
    ]
    if not origin:
        rows = [{key: row[key] for key in ("setting", "value")} for row in rows]
    columns = (*SHOW_COLUMNS, ORIGIN_COLUMN) if origin else SHOW_COLUMNS
    session.renderer.rows(rows, columns=columns)


@command(app, example="telemetryctl context add work https://telemetry.example.org")
def add(
    session: Session,
    *,
    name: Name,
    url: Annotated[str, typer.Argument(help="URL of the server.")],
    default_output: Output = None,
    default_tz: Zone = None,
) -> None:
    """Add a context without a key; `login` adds one with it."""
    server = config.normal_server(url)
    if not contexts.is_context_name(name):
        raise UsageFailure(f'"{name}" is not a context name', hint="letters, digits and _ . : -")
    folder = contexts.config_home()
    with contexts.locked(folder):
        tables = config.read_config(folder)
        known = tables.setdefault("contexts", {})
        if name in known:
            raise UsageFailure(
                f'there is a context "{name}" already', hint=f"telemetryctl context edit {name}"
            )
        known[name] = {"server": server} | _defaults(default_output, default_tz)
        if not tables.get("current"):
            contexts.set_current(tables, name)
        contexts.write_tables(folder / contexts.CONFIG_FILE, tables)
    session.console.note(f'context "{name}" added')


@command(app, example="telemetryctl context edit work --default-output json")
def edit(
    session: Session,
    *,
    name: Name,
    url: Annotated[
        str | None, typer.Option("--url", help="New URL; --server is the same here.")
    ] = None,
    default_output: Output = None,
    default_tz: Zone = None,
) -> None:
    """Change a context. Another host drops the key, which belongs to the old one."""
    folder = contexts.config_home()
    with contexts.locked(folder):
        tables = config.read_config(folder)
        table = _known(tables, name)
        if wanted := url or session.flags.server:
            server = config.normal_server(wanted)
            if not _is_same_host(str(table.get("server", "")), server):
                _drop_token(session, name)
            table["server"] = server
        table |= _defaults(default_output, default_tz)
        contexts.write_tables(folder / contexts.CONFIG_FILE, tables)
    session.console.note(f'context "{name}" changed')


@command(app, example="telemetryctl context rm work")
def rm(session: Session, *, name: Name) -> None:
    """Remove a context and its key from this machine; the key itself stays valid."""
    folder = contexts.config_home()
    with contexts.locked(folder):
        tables = config.read_config(folder)
        _known(tables, name)
        _drop_token(session, name)
        del tables["contexts"][name]
        for pointer in ("current", "previous"):
            if tables.get(pointer) == name:
                del tables[pointer]
        contexts.write_tables(folder / contexts.CONFIG_FILE, tables)
    session.console.note(f'context "{name}" removed')


@command(app, example="telemetryctl context test\ntelemetryctl context test -c work")
def test(session: Session) -> None:
    """Ask the server of the context for its health and who the key is."""
    health = session.client.health()
    principal = session.client.whoami()
    document = {
        "server": session.settings.server,
        "status": health.get("status"),
        "version": health.get("version"),
        "principal": principal.get("principal"),
        "scopes": principal.get("scopes"),
    }
    columns = [Column(key) for key in document]
    session.renderer.item(document, columns=columns)


def _read() -> tuple[contexts.Table, contexts.Table]:
    folder = contexts.config_home()
    return contexts.read_config(folder), contexts.read_credentials(folder)


def _known(tables: contexts.Table, name: str) -> dict[str, Any]:
    table: dict[str, Any] | None = tables.get("contexts", {}).get(name)
    if table is None:
        raise NothingThere(f'there is no context "{name}"', hint="telemetryctl context ls")
    return table


def _is_same_host(old: str, new: str) -> bool:
    """Whether the key may go on to the new URL: another port is fine, plain text is not."""
    before, after = urlsplit(old), urlsplit(new)
    is_downgrade = before.scheme == "https" and after.scheme == "http"
    return before.hostname == after.hostname and not is_downgrade


def _drop_token(session: Session, name: str) -> None:
    folder = contexts.config_home()
    credentials = contexts.read_credentials(folder)
    if credentials.get("contexts", {}).pop(name, None) is not None:
        contexts.write_tables(folder / contexts.CREDENTIALS_FILE, credentials)
        session.console.note(f'the key of context "{name}" is forgotten on this machine')


def _defaults(output: str | None, tz: str | None) -> dict[str, str]:
    if output is not None and output not in config.FORMATS:
        raise UsageFailure(f'"{output}" is not an output format', hint=", ".join(config.FORMATS))
    values = {"output": output, "tz": tz}
    return {key: value for key, value in values.items() if value is not None}
