"""Logging in: check a key or a password against a server, then keep what it gave as a context."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from telemetryctl import config, logins, times
from telemetryctl.api import contexts
from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands.version import warn_about_skew
from telemetryctl.failures import UsageFailure
from telemetryctl.options import command, single
from telemetryctl.passwords import PasswordStdin, given_password
from telemetryctl.session import Session

app = single()


@command(
    app,
    example="""telemetryctl login https://telemetry.example.org --token-stdin < key.txt
    telemetryctl login 127.0.0.1:8218 --token-file key.txt --name local
    telemetryctl login 127.0.0.1:8218 --token-file key.txt --signing-key-file sign.pem
    telemetryctl login https://telemetry.example.org --username ann""",
)
def login(
    session: Session,
    *,
    url: Annotated[str | None, typer.Argument(help="URL of the server.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the context.")] = None,
    username: Annotated[
        str | None, typer.Option("--username", help="Log in to this account, with a password.")
    ] = None,
    is_stdin: PasswordStdin = False,
    signing_key_file: Annotated[
        Path | None,
        typer.Option("--signing-key-file", help="Sign requests with this private key (PEM)."),
    ] = None,
) -> None:
    """Store a server and its key, or a login, as the default context, after asking who it is."""
    # The old context may be broken, which is a reason to log in, so it is not resolved here.
    given = url or session.flags.server
    server = config.normal_server(given) if given else config.resolve(session.flags).server
    context = name or session.flags.context or _default_name(server)
    if not contexts.is_context_name(context):
        raise UsageFailure(f'"{context}" is not a context name', hint="--name NAME")
    if username is None:
        token, kept = _given_token(session), None
    else:
        token, kept = _by_password(session, server, username=username, is_stdin=is_stdin)
    signing_key = _signing_key(signing_key_file) if token.key_id else None
    client = session.client_for(server, token=token, signing_key_file=signing_key)
    try:
        principal = client.whoami()
    except ServerProblem as problem:
        raise problem.during(f"not logged in to {server}") from problem
    warn_about_skew(session, server_version=client.health().get("version"))
    contexts.write_context(
        context,
        server=server,
        token=token.value,
        config_home=contexts.config_home(),
        make_current=True,
        login=kept,
        signing_key_file=None if signing_key is None else str(signing_key),
    )
    session.console.note(describe_login(server, principal=principal))
    session.console.note(f'context "{context}" is now the default')


def _by_password(
    session: Session, server: str, *, username: str, is_stdin: bool
) -> tuple[config.Token, contexts.Table]:
    """The token of a new login, and what renews it. Raises ServerProblem, UsageFailure."""
    password = given_password(session, is_stdin=is_stdin)
    try:
        answer = session.client_for(server, token=None).login(username=username, password=password)
    except ServerProblem as problem:
        raise problem.during(f"not logged in to {server}") from problem
    return config.Token(str(answer["access_token"]), origin="login"), logins.entry_of(answer)


def _signing_key(given: Path | None) -> Path | None:
    """The file that the context is to remember: it is found from any folder."""
    named = given or _environ().get("TELEMETRYCTL_SIGNING_KEY_FILE")
    return Path(named).expanduser().absolute() if named else None


def _default_name(server: str) -> str:
    host = server.partition("://")[2].partition("/")[0]
    return host.strip("[]").replace("]", "")


def _given_token(session: Session) -> config.Token:
    """Return the key from a file, stdin, the environment, or a person who types it unseen."""
    flags = session.flags
    if not flags.token_file and not flags.token_stdin:
        found = config.find_token(config.Flags(), environ=_environ(), folder=Path(), context=None)
        if found:
            return found
        return config.Token(_ask_for_token(session), origin="typed")
    token = config.find_token(flags, environ={}, folder=Path(), context=None)
    assert token is not None
    return token


def _environ() -> dict[str, str]:
    import os

    return dict(os.environ)


def _ask_for_token(session: Session) -> str:
    if not session.may_ask or not session.console.is_stdin_tty:
        raise UsageFailure(
            "there is no key to log in with", hint="telemetryctl login URL --token-stdin < FILE"
        )
    import getpass

    return config.checked_token(getpass.getpass("key: "), origin="what was typed")


def describe_login(server: str, *, principal: dict[str, Any]) -> str:
    """Return the line that tells who logged in where, with what rights, until when."""
    host = server.partition("://")[2]
    scopes = ", ".join(principal.get("scopes") or [])
    # An account has no end of its own: its session goes on by itself for as long as it may.
    expiry = "never expires" if principal.get("key_id") else "renewed when it is used"
    if principal.get("key_id") and (text := principal.get("expires_at")):
        left = datetime.fromisoformat(str(text)) - times.now()
        expiry = f"expires in {times.format_duration(left)}"
    who = principal.get("key_id") or principal.get("principal")
    label = f' "{principal["name"]}"' if principal.get("name") else ""
    return f"logged in to {host} as {who}{label}  (scopes: {scopes}; {expiry})"
