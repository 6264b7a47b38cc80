"""Versions: of this program, and of the server it talks to. The internet is never asked."""

from typing import Annotated

import typer

from telemetryctl import __version__
from telemetryctl.options import command, single
from telemetryctl.output.render import Column
from telemetryctl.session import Session

app = single()

COLUMNS = (Column("client"), Column("server"), Column("server_url", is_fixed=True))


@command(app, example="telemetryctl version\ntelemetryctl version --check")
def version(
    session: Session,
    *,
    check: Annotated[bool, typer.Option("--check", help="Also ask the server.")] = False,
) -> None:
    """Show the version, and with --check the server's beside it."""
    document: dict[str, str | None] = {"client": __version__}
    columns: tuple[Column, ...] = COLUMNS[:1]
    if check:
        server = session.client.health().get("version")
        document |= {"server": server, "server_url": session.settings.server}
        columns = COLUMNS
        warn_about_skew(session, server_version=server)
    session.renderer.item(document, columns=columns)


def warn_about_skew(session: Session, *, server_version: object) -> None:
    """Say it on stderr when client and server differ in their minor version."""
    ours = __version__.split(".")[:2]
    if isinstance(server_version, str) and server_version.split(".")[:2] != ours:
        session.console.note(
            f"note: this is telemetryctl {__version__}, the server is {server_version}"
        )
