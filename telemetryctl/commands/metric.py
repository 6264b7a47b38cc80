"""Metric definitions: what values mean, which are allowed and how long they are kept."""

import json
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.client.errors import ServerProblem
from telemetryctl.completion import complete_metrics
from telemetryctl.failures import UsageFailure
from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.paging import Page, print_page
from telemetryctl.session import Session

app = noun("What values mean, which are allowed and how long they are kept.")

LIST_COLUMNS = (
    Column("name", is_fixed=True),
    Column("data_type", title="DATA"),
    Column("metric_type", title="TYPE"),
    Column("unit"),
    Column("min_value", title="MIN", is_right=True),
    Column("max_value", title="MAX", is_right=True),
    Column("retention_days", title="KEPT D", is_right=True),
    Column("description"),
)
ITEM_COLUMNS = (
    Column("metric_id", is_fixed=True),
    *LIST_COLUMNS,
    Column("allowed_values"),
    Column("aggregation_interval"),
    Column("tags"),
    Column("metadata"),
    Column("created_at", is_time=True),
    Column("updated_at", is_time=True),
    Column("created_by"),
)
CLEARABLE = frozenset(
    {"description", "unit", "min_value", "max_value", "allowed_values", "aggregation_interval"}
)

Name = Annotated[str, typer.Argument(help="Name of the metric.", autocompletion=complete_metrics)]


@dataclass(frozen=True, slots=True)
class Definition:
    """What a definition says; None for what the command line left out."""

    data_type: Annotated[
        str | None,
        typer.Option("--data-type", help="numeric, string, boolean, json, geolocation or binary."),
    ] = None
    metric_type: Annotated[
        str | None, typer.Option("--type", help="gauge, counter or histogram.")
    ] = None
    unit: Annotated[str | None, typer.Option(help="Unit of the values.")] = None
    min_value: Annotated[float | None, typer.Option("--min", help="Smallest value.")] = None
    max_value: Annotated[float | None, typer.Option("--max", help="Largest value.")] = None
    allowed_values: Annotated[
        str | None, typer.Option("--allowed", help="Allowed values: a,b,c or a JSON list.")
    ] = None
    retention_days: Annotated[
        str | None, typer.Option("--retention", help="How long values are kept: 90d.")
    ] = None
    aggregation_interval: Annotated[
        str | None, typer.Option("--interval", help="Usual bucket of its charts: 5m.")
    ] = None
    description: Annotated[str | None, typer.Option(help="What it measures.")] = None
    tags: Annotated[list[str] | None, typer.Option("--tag", help="A tag; repeat it.")] = None
    metadata: Annotated[str | None, typer.Option(help="A JSON object.")] = None

    def body(self) -> dict[str, Any]:
        """Return the members for the server. Raises UsageFailure."""
        given = {name: value for name, value in asdict(self).items() if value not in (None, [])}
        readers = {
            "allowed_values": parse_allowed,
            "retention_days": parse_days,
            "aggregation_interval": parse_seconds,
            "metadata": parse_object,
        }
        return {
            name: readers[name](value) if name in readers else value
            for name, value in given.items()
        }


@command(app, example="telemetryctl metric ls\ntelemetryctl metric ls --type gauge --like temp")
def ls(
    session: Session,
    *,
    metric_type: Annotated[str | None, typer.Option("--type", help="Of this type.")] = None,
    data_type: Annotated[str | None, typer.Option(help="Of this data type.")] = None,
    like: Annotated[str | None, typer.Option(help="Names that contain this.")] = None,
    page: Page,
) -> None:
    """List definitions."""
    filters = {"metric_type": metric_type, "data_type": data_type, "q": like}
    document = page.read(session.client.list_metrics, filters=filters, key="metrics")
    print_page(session, page, document=document, key="metrics", columns=LIST_COLUMNS)


@command(app, example="telemetryctl metric get temperature")
def get(session: Session, *, name: Name) -> None:
    """Show one definition."""
    session.renderer.item(session.client.get_metric(name), columns=ITEM_COLUMNS)


@command(
    app,
    example="""telemetryctl metric create temperature --unit celsius --min -40 --max 85
    telemetryctl metric create door --data-type string --allowed open,closed --retention 30d""",
)
def create(session: Session, *, name: Name, definition: Definition) -> None:
    """Define a metric; numbers of type gauge, kept 90 days, unless told otherwise."""
    body = {"name": name, "data_type": "numeric"} | definition.body()
    try:
        document = session.client.create_metric(body)
    except ServerProblem as problem:
        raise problem.during(f'metric "{name}" was not created') from problem
    if note := document.get("retention_note"):
        session.console.note(f"note: {note}")
    session.renderer.item(document, columns=ITEM_COLUMNS)


@command(
    app,
    example="""telemetryctl metric edit temperature --max 90
    telemetryctl metric edit temperature --clear min_value""",
)
def edit(
    session: Session,
    *,
    name: Name,
    definition: Definition,
    clear: Annotated[
        list[str] | None, typer.Option("--clear", help="Make this field empty; repeat it.")
    ] = None,
) -> None:
    """Change a definition; what is not named stays."""
    if unknown := set(clear or ()) - CLEARABLE:
        raise UsageFailure(
            f'"{min(unknown)}" can\'t be cleared', hint=f"--clear {'|'.join(sorted(CLEARABLE))}"
        )
    changes = definition.body() | dict.fromkeys(clear or ())
    if not changes:
        raise UsageFailure("there is nothing to change", hint="telemetryctl metric edit -h")
    try:
        document = session.client.patch_metric(name, changes=changes)
    except ServerProblem as problem:
        raise problem.during(f'metric "{name}" was not changed') from problem
    session.renderer.item(document, columns=ITEM_COLUMNS)


@command(app, example="telemetryctl metric delete temperature --yes")
def delete(
    session: Session,
    *,
    name: Name,
    is_yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete a definition. Its points stay, and so does their retention."""
    session.client.get_metric(name)
    session.confirm(f'delete the definition of "{name}"? (its points stay)', is_yes=is_yes)
    answer = session.client.delete_metric(name)
    session.console.note(str(answer.get("message") or f'metric "{name}" deleted'))


def parse_allowed(text: str) -> list[Any]:
    """Return the values of `a,b,c` or of a JSON list. Raises UsageFailure."""
    if not text.startswith("["):
        return [part.strip() for part in text.split(",")]
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UsageFailure(f"--allowed is not a JSON list: {error}") from error
    return list(values)


def parse_days(text: str) -> int:
    """Return whole days of `90d`, `4w` or `90`. Raises UsageFailure."""
    if text.isdigit():
        return int(text)
    days, rest = divmod(times.parse_duration(text).total_seconds(), 86_400)
    if rest:
        raise UsageFailure("--retention is in whole days", hint="such as 90d")
    return int(days)


def parse_seconds(text: str) -> int:
    """Return whole seconds of `5m` or `300`. Raises UsageFailure."""
    if text.isdigit():
        return int(text)
    return int(times.parse_duration(text).total_seconds())


def parse_object(text: str) -> dict[str, Any]:
    """Return a JSON object. Raises UsageFailure."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageFailure(f"not a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise UsageFailure("not a JSON object", hint="""such as '{"sensor": "A7"}'""")
    return value
