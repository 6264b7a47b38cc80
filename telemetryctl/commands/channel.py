"""Channels: where messages about alerts go, and what became of them."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from telemetryctl.client.errors import ServerProblem
from telemetryctl.completion import complete_alerts, complete_channels
from telemetryctl.failures import PartlyDone, UsageFailure
from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.paging import Page, print_page
from telemetryctl.session import Session

app = noun("Where messages about alerts go.")

CLEARABLE = ("fallback", "port", "tls", "username", "password")
LIST_COLUMNS = (
    Column("name", title="CHANNEL", is_fixed=True),
    Column("kind", is_fixed=True),
    Column("fallback"),
    Column("failures", is_right=True),
    Column("last_sent_at", title="LAST SENT", is_time=True),
    Column("last_failed_at", title="LAST FAILED", is_time=True),
    Column("last_error"),
)
ITEM_COLUMNS = (
    *LIST_COLUMNS,
    *(Column(name) for name in ("url", "host", "port", "tls", "from", "to", "username", "secrets")),
    Column("resting_until", is_time=True),
    Column("channel_id"),
    Column("created_at", is_time=True),
    Column("created_by"),
)
LOG_COLUMNS = (
    Column("notification_id", title="MESSAGE", is_fixed=True),
    Column("created_at", title="DECIDED", is_time=True),
    Column("channel"),
    Column("kind"),
    Column("status", is_fixed=True),
    Column("verdict", is_fixed=True),
    Column("attempts", is_right=True),
    Column("level"),
    Column("device_id", title="DEVICE"),
    Column("last_error"),
    Column("alert_id", title="ALERT"),
)
TEST_COLUMNS = (
    Column("channel", is_fixed=True),
    Column("success"),
    Column("status_code", is_right=True),
    Column("latency_ms", is_right=True),
    Column("detail"),
    Column("notification_id", title="MESSAGE"),
)

Name = Annotated[
    str, typer.Argument(metavar="CHANNEL", help="Its name.", autocompletion=complete_channels)
]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is said of a channel; None for what the command line left out. Secrets come from files,
    so that neither the shell's history nor `ps` sees them."""

    url: Annotated[
        str | None, typer.Option(help="Of a webhook or an Alertmanager: https://...")
    ] = None
    url_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="A file with the URL, - is stdin: of slack and apprise, a secret."
        ),
    ] = None
    secret_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A file with whsec_...; without it one is made."),
    ] = None
    host: Annotated[str | None, typer.Option(help="The mail server.")] = None
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Its port. [587]")] = None
    tls: Annotated[str | None, typer.Option(help="auto, starttls, tls or none.")] = None
    from_: Annotated[str | None, typer.Option("--from", help="Who mail comes from.")] = None
    to: Annotated[list[str] | None, typer.Option("--to", help="Who mail goes to; repeat it.")] = (
        None
    )
    username: Annotated[str | None, typer.Option(help="Of the mail server, or Alertmanager.")] = (
        None
    )
    password_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="A file with the password; - is stdin.")
    ] = None
    fallback: Annotated[
        str | None,
        typer.Option(help="The channel that takes over.", autocompletion=complete_channels),
    ] = None

    def body(self) -> dict[str, Any]:
        """Return the members for the server. Raises UsageFailure."""
        plain = {
            "url": self.url, "host": self.host, "port": self.port, "tls": self.tls,
            "from": self.from_, "to": self.to, "username": self.username,
            "fallback": self.fallback,
        }  # fmt: skip
        files = {"url": self.url_file, "secret": self.secret_file, "password": self.password_file}
        given = {name: value for name, value in plain.items() if value not in (None, [])}
        return given | {name: read_secret(path) for name, path in files.items() if path}


def read_secret(path: str) -> str:
    """Return the first line of a file; `-` is stdin. Raises UsageFailure."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageFailure(f"{path} can't be read") from error
    lines = text.strip().splitlines()
    if len(lines) != 1:
        raise UsageFailure(f"{path} is to hold one line")
    return lines[0].strip()


@command(app, example="telemetryctl channel ls")
def ls(
    session: Session,
    *,
    kind: Annotated[
        str | None, typer.Option(help="stream, webhook, slack, email, alertmanager, apprise.")
    ] = None,
    page: Page,
) -> None:
    """List channels, without their secrets."""
    document = page.read(session.client.list_channels, filters={"kind": kind}, key="channels")
    print_page(session, page, document=document, key="channels", columns=LIST_COLUMNS)


@command(app, example="telemetryctl channel get ops")
def get(session: Session, *, name: Name) -> None:
    """Show one channel, without its secrets."""
    session.renderer.item(session.client.get_channel(name), columns=ITEM_COLUMNS)


@command(
    app,
    example="""telemetryctl channel create ops --kind webhook --url https://ops.example.com/hook
    telemetryctl channel create chat --kind slack --url-file slack.url
    telemetryctl channel create mail --kind email --host mx.b.org --from a@b.org --to c@b.org
    telemetryctl channel create am --kind alertmanager --url https://am.b.org --fallback mail""",
)
def create(
    session: Session,
    *,
    name: Annotated[str, typer.Argument(help="Its name, which rules give.")],
    kind: Annotated[
        str, typer.Option(help="stream, webhook, slack, email, alertmanager or apprise.")
    ],
    settings: Settings,
) -> None:
    """Make a channel. A webhook's secret, when it is made, is printed once."""
    try:
        document = session.client.create_channel({"name": name, "kind": kind} | settings.body())
    except ServerProblem as problem:
        raise problem.during(f'channel "{name}" was not created') from problem
    columns = (Column("secret"), *ITEM_COLUMNS) if "secret" in document else ITEM_COLUMNS
    session.renderer.item(document, columns=columns)
    if "secret" in document:
        session.console.note("the secret is shown this once; receivers check signatures with it")
    session.console.note(f"try it: telemetryctl channel test {name}")


@command(
    app,
    example="""telemetryctl channel edit ops --url https://new.example.com/hook
    telemetryctl channel edit mail --clear fallback --password-file mail.password""",
)
def edit(
    session: Session,
    *,
    name: Name,
    settings: Settings,
    clear: Annotated[
        list[str] | None, typer.Option("--clear", help=f"{', '.join(CLEARABLE)}; repeat it.")
    ] = None,
) -> None:
    """Change a channel; what is not named stays, and what waits for it is tried at once."""
    if unknown := set(clear or ()) - set(CLEARABLE):
        hint = f"--clear {'|'.join(CLEARABLE)}"
        raise UsageFailure(f'"{min(unknown)}" can\'t be cleared', hint=hint)
    changes = settings.body() | dict.fromkeys(clear or ())
    if not changes:
        raise UsageFailure("there is nothing to change", hint="telemetryctl channel edit -h")
    try:
        document = session.client.patch_channel(name, changes=changes)
    except ServerProblem as problem:
        raise problem.during(f'channel "{name}" was not changed') from problem
    session.renderer.item(document, columns=ITEM_COLUMNS)


@command(app, example="telemetryctl channel delete ops --yes")
def delete(
    session: Session,
    *,
    name: Name,
    is_yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete a channel; who was told of alerts through it does not hear of their end."""
    found = session.client.get_channel(name)
    session.confirm(f'delete channel "{name}" of kind {found["kind"]}?', is_yes=is_yes)
    answer = session.client.delete_channel(name)
    session.console.note(str(answer["message"]))
    if answer["rules"]:
        session.console.note(f"rules that still name it: {', '.join(answer['rules'])}")


@command(app, example="telemetryctl channel test ops")
def test(session: Session, *, name: Name) -> None:
    """Send a message now; exit 6 when it does not arrive."""
    answer = session.client.test_channel(name)
    session.renderer.item(answer, columns=TEST_COLUMNS)
    if not answer["success"]:
        raise PartlyDone(str(answer["message"]), hint=f"telemetryctl channel get {name}")


@command(
    app,
    example="""telemetryctl channel log
    telemetryctl channel log ops --status dead --ids | xargs telemetryctl channel retry
    telemetryctl channel log --alert alr_01kcq2v8m3000000000000000a -o json""",
)
def log(
    session: Session,
    *,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="CHANNEL", help="Only of this one.", autocompletion=complete_channels
        ),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(help="pending, deferred, sent, dead, dropped; or a verdict: silenced."),
    ] = None,
    alert: Annotated[
        str | None, typer.Option(help="About this alert.", autocompletion=complete_alerts)
    ] = None,
    page: Page,
) -> None:
    """List messages, the newest first: who was told what, who was not, and why."""
    filters = {"channel": name, "status": status, "alert_id": alert}
    document = page.read(session.client.list_notifications, filters=filters, key="notifications")
    print_page(session, page, document=document, key="notifications", columns=LOG_COLUMNS)


@command(app, example="telemetryctl channel retry ntf_01kcq2v8m3000000000000000a")
def retry(
    session: Session,
    *,
    messages: Annotated[list[str], typer.Argument(metavar="MESSAGE", help="Ids of messages.")],
) -> None:
    """Send messages again that were given up; those that wait, at once."""
    for done, message in enumerate(messages):
        try:
            session.client.retry_notification(message)
        except ServerProblem as problem:
            told = f"{done:,} of {len(messages):,} done, then {message}"
            raise problem.during(told) from problem
    session.console.note(f"{len(messages):,} messages are sent again")
