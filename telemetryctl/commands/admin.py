"""What an administrator asks of the whole installation."""

import typer

from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.session import Session

app = noun("Look after the whole installation; needs a key with the scope admin.")
partitions = noun("The hours of the journal.")
retention = noun("What is older than it is kept.")
app.add_typer(partitions, name="partitions")
app.add_typer(retention, name="retention")

PARTITION_COLUMNS = (
    Column("name", is_fixed=True),
    Column("start_time", is_time=True),
    Column("state"),
    Column("bytes"),
)


@command(
    partitions,
    name="ls",
    example="telemetryctl admin partitions ls\ntelemetryctl admin partitions ls -o json",
)
def list_partitions(session: Session) -> None:
    """List the partitions of the journal, oldest first, with their size."""
    session.renderer.listing(
        session.client.list_partitions(), key="partitions", columns=PARTITION_COLUMNS
    )


@command(retention, name="run", example="telemetryctl admin retention run --yes")
def run_retention(
    session: Session,
    *,
    yes: bool = typer.Option(False, "--yes", help="Don't ask."),
) -> None:
    """Remove what is older than its retention now, rather than within a minute."""
    session.confirm("Remove everything that is older than its retention?", is_yes=yes)
    session.client.run_retention()
    session.console.note("housekeeping was asked to work now; its log tells what it removed")
