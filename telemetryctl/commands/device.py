"""Devices: who sends, with type, tags and place."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.client.errors import ServerProblem
from telemetryctl.completion import complete_devices, complete_groups
from telemetryctl.failures import UsageFailure
from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.paging import Page, print_page
from telemetryctl.session import Session

app = noun("Who sends: devices appear by themselves with their first point.")

LIST_COLUMNS = (
    Column("device_id", title="DEVICE", is_fixed=True),
    Column("type"),
    Column("status"),
    Column("last_seen_at", title="LAST SEEN", is_time=True),
    Column("tags"),
)
ITEM_COLUMNS = (
    *LIST_COLUMNS,
    Column("name"),
    Column("attributes"),
    Column("location"),
    Column("expected_interval", title="EXPECTED INTERVAL S"),
    Column("created_at", is_time=True),
    Column("updated_at", is_time=True),
)
STATS_COLUMNS = (
    Column("device_id", title="DEVICE", is_fixed=True),
    Column("total_metrics"),
    Column("active_metrics"),
    Column("data_points_count"),
    Column("last_update", is_time=True),
    Column("storage_size", title="STORAGE BYTES"),
    Column("avg_frequency"),
    Column("last_24h_points"),
    Column("last_24h_alerts"),
    Column("metrics_by_type"),
    Column("top_metrics"),
)

DeviceId = Annotated[str, typer.Argument(help="The device.", autocompletion=complete_devices)]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which devices."""

    device_type: Annotated[str | None, typer.Option("--type", help="Of this type.")] = None
    group: Annotated[
        str | None, typer.Option(help="In this group.", autocompletion=complete_groups)
    ] = None
    status: Annotated[str | None, typer.Option(help="active (a day) or inactive.")] = None
    bbox: Annotated[str | None, typer.Option(metavar="W,S,E,N", help="In this box.")] = None
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="K=V", help="With this tag; repeat it.")
    ] = None

    def filters(self) -> dict[str, Any]:
        """Return the parameters of the request. Raises UsageFailure."""
        tags = {f"tag.{key}": value for key, value in parse_pairs(self.tags or ()).items()}
        own = {"type": self.device_type, "group": self.group}
        return own | {"status": self.status, "bbox": self.bbox} | tags


@command(
    app,
    example="""telemetryctl device ls
    telemetryctl device ls --tag room=lab --ids
    telemetryctl device ls --all -o csv""",
)
def ls(session: Session, *, chosen: Chosen, page: Page) -> None:
    """List devices."""
    document = page.read(session.client.list_devices, filters=chosen.filters(), key="devices")
    print_page(session, page, document=document, key="devices", columns=LIST_COLUMNS)


@command(app, example="telemetryctl device get device_001")
def get(session: Session, *, device_id: DeviceId) -> None:
    """Show one device."""
    session.renderer.item(session.client.get_device(device_id), columns=ITEM_COLUMNS)


@command(app, example="telemetryctl device stats device_001")
def stats(session: Session, *, device_id: DeviceId) -> None:
    """Show how much and how often a device sends."""
    session.renderer.item(session.client.device_stats(device_id), columns=STATS_COLUMNS)


@command(app, example="telemetryctl device metrics device_001")
def metrics(session: Session, *, device_id: DeviceId) -> None:
    """List the metrics that a device has sent."""
    document = session.client.device_metrics(device_id)
    if session.renderer.is_document:
        session.renderer.item(document, columns=())
        return
    rows = [{"device_id": device_id, "metric_name": name} for name in document["metrics"]]
    columns = (Column("metric_name", title="METRIC", is_fixed=True),)
    session.renderer.rows(rows, columns=columns)


@dataclass(frozen=True, slots=True)
class Labels:
    """What to say about a device."""

    tags: Annotated[
        list[str] | None, typer.Argument(metavar="K=V", help="Tags; `K=` removes one.")
    ] = None
    device_type: Annotated[str | None, typer.Option("--type", help="Its type.")] = None
    name: Annotated[str | None, typer.Option(help="Its name for people.")] = None
    location: Annotated[str | None, typer.Option(metavar="LAT,LON", help="Its fixed place.")] = None
    expected_interval: Annotated[
        str | None, typer.Option(help="How often it should send: 30s.")
    ] = None
    attributes: Annotated[
        list[str] | None,
        typer.Option("--attribute", metavar="K=V", help="An attribute; `K=` removes one."),
    ] = None


@command(
    app,
    example="""telemetryctl device label device_001 room=lab floor=2
    telemetryctl device label device_001 room= --type sensor --location 22.3,114.2""",
)
def label(session: Session, *, device_id: DeviceId, labels: Labels) -> None:
    """Set tags, type, place and expected interval of a device; what is not named stays."""
    changes = _changes(session, device_id, labels=labels)
    if not changes:
        raise UsageFailure("there is nothing to change", hint="telemetryctl device label -h")
    try:
        document = session.client.patch_device(device_id, changes=changes)
    except ServerProblem as problem:
        raise problem.during(f'device "{device_id}" was not changed') from problem
    session.renderer.item(document, columns=ITEM_COLUMNS)


def _changes(session: Session, device_id: str, *, labels: Labels) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if labels.device_type is not None:
        changes["type"] = labels.device_type or None
    if labels.name is not None:
        changes["name"] = labels.name or None
    if labels.location is not None:
        changes["location"] = parse_location(labels.location)
    if labels.expected_interval is not None:
        interval = labels.expected_interval
        seconds = times.parse_duration(interval).total_seconds() if interval else None
        changes["expected_interval"] = seconds
    pairs = {"tags": labels.tags, "attributes": labels.attributes}
    given = {name: parse_pairs(texts) for name, texts in pairs.items() if texts}
    if given:
        # The server replaces the whole map, so what is there is read first.
        stored = session.client.get_device(device_id)
        for name, values in given.items():
            merged = {**(stored.get(name) or {}), **values}
            changes[name] = {key: value for key, value in merged.items() if value != ""}
    return changes


@command(app, example="telemetryctl device delete device_001 --yes")
def delete(
    session: Session,
    *,
    device_id: DeviceId,
    is_yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete a device and all its points."""
    figures = session.client.device_stats(device_id)
    session.client.get_device(device_id)
    count = figures.get("data_points_count", 0)
    session.confirm(
        f'delete device "{device_id}" and its {count:,} points of '
        f"{figures.get('total_metrics', 0)} metrics?",
        is_yes=is_yes,
    )
    answer = session.client.delete_device(device_id)
    session.console.note(str(answer.get("message") or f'device "{device_id}" deleted'))


def parse_pairs(texts: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Return the pairs of `k=v` texts. Raises UsageFailure."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageFailure(f'"{text}" is not K=V', hint="such as room=lab")
        pairs[key] = value
    return pairs


def parse_location(text: str) -> dict[str, float] | None:
    """Return the place of `LAT,LON` or `LAT,LON,ALT`; None for an empty text."""
    if not text:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3):
        raise UsageFailure(f'"{text}" is not LAT,LON', hint="such as 22.3,114.2")
    return dict(zip(("lat", "lon", "alt"), numbers, strict=False))
