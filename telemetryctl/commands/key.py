"""API keys: who may do what, and for how long."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.client.errors import ServerProblem
from telemetryctl.client.signing import read_public_key
from telemetryctl.commands import key_access
from telemetryctl.commands.access_patterns import Patterns
from telemetryctl.commands.key_words import KeyId, find_key
from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.paging import Page, print_page
from telemetryctl.session import Session

app = noun("API keys: who may do what, and for how long.")

LIST_COLUMNS = (
    Column("key_id", title="KEY", is_fixed=True),
    Column("name"),
    Column("scopes"),
    Column("tier"),
    Column("expires_at", title="EXPIRES", is_time=True),
    Column("last_used_at", title="LAST USED", is_time=True),
)
ITEM_COLUMNS = (
    *LIST_COLUMNS,
    Column("devices"),
    Column("groups"),
    Column("metrics"),
    Column("created_at", is_time=True),
    Column("last_used_from"),
    Column("former_valid_until", is_time=True),
    Column("former_callers"),
    Column("networks"),
)

NETWORK_COLUMNS = (
    Column("network", is_fixed=True),
    Column("first_used_at", title="FIRST USED", is_time=True),
    Column("last_used_at", title="LAST USED", is_time=True),
)

FORMER_COLUMNS = (
    Column("address", title="STILL WITH THE OLD SECRET", is_fixed=True),
    Column("agent"),
    Column("last_used_at", title="LAST USED", is_time=True),
)

SigningKey = Annotated[
    Path | None,
    typer.Option(
        "--signing-key",
        help="Requests are to be signed: a public Ed25519 key (PEM); the private one stays here.",
    ),
]


@dataclass(frozen=True, slots=True)
class Rights:
    """What a new key may do."""

    scopes: Annotated[
        list[str],
        typer.Option(
            "--scope",
            help="ingest, read, export, metrics:write, devices:write, alerts:write, keys, admin.",
        ),
    ]
    tier: Annotated[str, typer.Option(help="free, pro or enterprise.")] = "free"
    expires: Annotated[str | None, typer.Option(help="Valid for so long: 90d.")] = None

    def body(self, name: str) -> dict[str, Any]:
        """Return the members for the server. Raises UsageFailure."""
        scopes = [part for text in self.scopes for part in text.split(",")]
        expires = times.parse_duration(self.expires).total_seconds() if self.expires else None
        return {
            "name": name,
            "scopes": scopes,
            "tier": self.tier,
            **({"expires_in": int(expires)} if expires is not None else {}),
        }


@command(app, example="telemetryctl key ls")
def ls(session: Session, *, page: Page) -> None:
    """List keys, without their secrets."""
    document = page.read(session.client.list_keys, filters={}, key="keys")
    print_page(session, page, document=document, key="keys", columns=LIST_COLUMNS)


@command(
    app,
    example="""telemetryctl key create grafana --scope read --expires 90d > grafana.key
    telemetryctl key create bus-line-7 --scope ingest --device 'bus-7-*'
    telemetryctl key create billing --scope read --signing-key sign.pub > billing.key""",
)
def create(
    session: Session,
    *,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    rights: Rights,
    patterns: Patterns,
    signing_key: SigningKey = None,
) -> None:
    """Make a key and print it, once: only the key is on stdout, so `> file` keeps it."""
    try:
        body = rights.body(name) | patterns.members() | _signing_key(signing_key)
        document = session.client.create_key(body)
    except ServerProblem as problem:
        raise problem.during(f'key "{name}" was not created') from problem
    _print_secret(session, document)


@command(app, example="telemetryctl key show key_01jd9q")
def show(session: Session, *, key_id: KeyId) -> None:
    """Show a key without its secret: from which networks it is used, and, after a rotation, who
    still comes with the old secret."""
    found = find_key(session, key_id)
    document, renderer = session.client.get_key(found), session.renderer
    if renderer.format not in ("table", "plain", "csv"):
        renderer.item(document, columns=ITEM_COLUMNS)
        return
    networks = document.get("networks") or []
    callers = document.get("former_callers") or []
    names = {
        "networks": [row["network"] for row in networks],
        "former_callers": list(dict.fromkeys(row["address"] for row in callers)),
    }
    renderer.item({**document, **names}, columns=ITEM_COLUMNS)
    if renderer.format != "table" or renderer.fields:
        return
    for rows, columns in ((networks, NETWORK_COLUMNS), (callers, FORMER_COLUMNS)):
        if rows:
            session.console.write("\n")
            renderer.rows(rows, columns=columns)


@command(app, example="telemetryctl key rotate key_01jd9q --overlap 24h > new.key")
def rotate(
    session: Session,
    *,
    key_id: KeyId,
    overlap: Annotated[
        str | None, typer.Option(help="The old secret stays valid for so long: 24h.")
    ] = None,
    signing_key: SigningKey = None,
) -> None:
    """Give a key a new secret and print it, once."""
    if overlap is not None:
        times.parse_duration(overlap)
    document = session.client.rotate_key(
        find_key(session, key_id), overlap=overlap, **_signing_key(signing_key)
    )
    _print_secret(session, document)


@command(app, example="telemetryctl key revoke key_01jd9q --yes")
def revoke(
    session: Session,
    *,
    key_id: KeyId,
    is_yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """End a key everywhere, at once."""
    found = find_key(session, key_id)
    key = session.client.get_key(found)
    used = key.get("last_used_at") or "never"
    session.confirm(f'revoke {found} "{key.get("name")}" (last used: {used})?', is_yes=is_yes)
    answer = session.client.revoke_key(found)
    session.console.note(str(answer.get("message") or f"{found} is revoked"))


def _signing_key(file: Path | None) -> dict[str, str]:
    """The member for the server. Raises ConfigurationFailure."""
    return {} if file is None else {"signing_key": read_public_key(file)}


def _print_secret(session: Session, document: dict[str, Any]) -> None:
    """Print the secret alone, unless the user asked for a format; the rest goes to stderr."""
    if session.settings.output not in (None, "table", "plain"):
        session.renderer.item(document, columns=(Column("key"), *ITEM_COLUMNS))
    else:
        session.console.write(f"{document['key']}\n")
    scopes = ", ".join(document.get("scopes") or [])
    expiry = document.get("expires_at") or "never"
    session.console.note(
        f'{document.get("key_id")} "{document.get("name")}"  (scopes: {scopes}; '
        f"expires: {expiry}); it can't be shown again"
    )


command(app, name="test", example=key_access.EXAMPLE)(key_access.may)
