"""Who the key in use is, and what it may do."""

from telemetryctl.options import command, single
from telemetryctl.output.render import Column
from telemetryctl.session import Session

app = single()

COLUMNS = (
    Column("principal", is_fixed=True),
    Column("key_id", is_fixed=True),
    Column("name"),
    Column("scopes"),
    Column("tier"),
    Column("devices"),
    Column("groups"),
    Column("metrics"),
    Column("expires_at", is_time=True),
    Column("limits.query.remaining", "QUERIES LEFT"),
    Column("limits.control.remaining", "CHANGES LEFT"),
    Column("limits.ingest.remaining", "POINTS LEFT"),
    Column("limits.stream.remaining", "STREAMS LEFT"),
)


@command(app, example="telemetryctl whoami\ntelemetryctl whoami -o json")
def whoami(session: Session) -> None:
    """Show the principal, the scopes, when the key expires, and what is left of its limits."""
    session.renderer.item(session.client.whoami(), columns=COLUMNS)
