"""Accounts: people who log in with a password."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands.access_patterns import Patterns
from telemetryctl.failures import UsageFailure
from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.paging import Page, print_page
from telemetryctl.passwords import PasswordStdin, given_password
from telemetryctl.session import Session

app = noun("People who log in with a password.")

LIST_COLUMNS = (
    Column("username", title="ACCOUNT", is_fixed=True),
    Column("scopes"),
    Column("tier"),
    Column("disabled"),
    Column("last_login_at", title="LAST LOGIN", is_time=True),
)
ITEM_COLUMNS = (
    *LIST_COLUMNS,
    Column("account_id"),
    Column("devices"),
    Column("groups"),
    Column("metrics"),
    Column("created_at", is_time=True),
)

Username = Annotated[str, typer.Argument(metavar="NAME", help="The name to log in with.")]


@dataclass(frozen=True, slots=True)
class Rights:
    """What an account may do."""

    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="read (default), ingest, export, metrics:write, devices:write, alerts:write, "
            "keys, admin.",
        ),
    ] = None
    tier: Annotated[str, typer.Option(help="free, pro or enterprise.")] = "pro"

    def body(self) -> dict[str, Any]:
        """Return the members for the server."""
        return {
            "scopes": [part for text in self.scopes or ["read"] for part in text.split(",")],
            "tier": self.tier,
        }


@command(app, example="telemetryctl account ls")
def ls(session: Session, *, page: Page) -> None:
    """List accounts."""
    document = page.read(session.client.list_accounts, filters={}, key="accounts")
    print_page(session, page, document=document, key="accounts", columns=LIST_COLUMNS)


@command(
    app,
    example="""telemetryctl account create ann --scope read,export --password-stdin < password.txt
    telemetryctl account create ann --scope admin""",
)
def create(
    session: Session,
    *,
    name: Username,
    rights: Rights,
    patterns: Patterns,
    is_stdin: PasswordStdin = False,
) -> None:
    """Make an account; its password is typed unseen, or comes from stdin."""
    password = given_password(session, is_stdin=is_stdin, is_new=True)
    body = {"username": name, "password": password} | rights.body() | patterns.members()
    try:
        document = session.client.create_account(body)
    except ServerProblem as problem:
        raise problem.during(f'account "{name}" was not created') from problem
    session.renderer.item(document, columns=ITEM_COLUMNS)
    session.console.note(f"telemetryctl login {session.settings.server} --username {name}")


@command(
    app,
    example="""telemetryctl account edit ann --disable
    telemetryctl account edit ann --password-stdin < password.txt""",
)
def edit(
    session: Session,
    *,
    name: Username,
    is_disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Close it, or open it again.")
    ] = None,
    is_password: Annotated[
        bool, typer.Option("--password", help="Ask for another password.")
    ] = False,
    is_stdin: PasswordStdin = False,
) -> None:
    """Close or open an account, or give it another password; its sessions end."""
    changes: dict[str, Any] = {}
    if is_password or is_stdin:
        changes["password"] = given_password(session, is_stdin=is_stdin, is_new=True)
    if is_disabled is not None:
        changes["disabled"] = is_disabled
    if not changes:
        raise UsageFailure("there is nothing to change", hint="--disable, --enable or --password")
    document = session.client.change_account(name, changes=changes)
    session.renderer.item(document, columns=ITEM_COLUMNS)


@command(app, example="telemetryctl account delete ann --yes")
def delete(
    session: Session,
    *,
    name: Username,
    is_yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Remove an account and end its sessions. Keys that it made stay: `key ls`."""
    session.confirm(f'delete the account "{name}"?', is_yes=is_yes)
    answer = session.client.delete_account(name)
    session.console.note(str(answer.get("message") or f"{name} is deleted"))
