"""Groups: named sets of devices that may lie in one another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands.device import parse_location, parse_pairs
from telemetryctl.commands.metric import parse_object
from telemetryctl.completion import complete_devices, complete_groups
from telemetryctl.failures import NothingThere, UsageFailure
from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.paging import Page, print_page
from telemetryctl.session import Session

app = noun("Sets of devices: branches, fleets, floors.")

KIND_DEFAULT = "group"
ID_PREFIX = "grp_"
CLEARABLE = frozenset({"parent", "location"})
LIST_COLUMNS = (
    Column("group_id", title="GROUP", is_fixed=True),
    Column("name"),
    Column("kind"),
    Column("device_count", title="DEVICES", is_right=True),
    Column("parent_id", title="IN"),
)
ROLLUP_COLUMN = Column("rollup")
ITEM_COLUMNS = (
    *LIST_COLUMNS,
    Column("location"),
    Column("metadata"),
    Column("created_at", is_time=True),
    Column("updated_at", is_time=True),
    Column("created_by"),
)
DEVICE_COLUMNS = (
    Column("device_id", title="DEVICE", is_fixed=True),
    Column("type"),
    Column("status"),
    Column("changed_at", title="SINCE", is_time=True),
    Column("watchable.eligible", title="WATCHABLE"),
    Column("tags"),
)

GroupName = Annotated[
    str, typer.Argument(metavar="GROUP", help="Name or id.", autocompletion=complete_groups)
]
DeviceIds = Annotated[
    list[str],
    typer.Argument(metavar="DEVICE", help="Devices.", autocompletion=complete_devices),
]


@command(
    app,
    example="""telemetryctl group ls
    telemetryctl group ls --kind branch --rollup status:free --by category""",
)
def ls(
    session: Session,
    *,
    kind: Annotated[str | None, typer.Option(help="Of this kind.")] = None,
    parent: Annotated[
        str | None, typer.Option("--in", help="In this group.", autocompletion=complete_groups)
    ] = None,
    rollup: Annotated[
        str | None, typer.Option(metavar="METRIC:STATE", help="Count the devices in a state.")
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="TAG", help="Count them by a tag.")] = None,
    page: Page,
) -> None:
    """List groups."""
    parent_id = None if parent is None else find_group(session, parent)
    tag = None if by is None else f"tag.{by.removeprefix('tag.')}"
    filters = {"kind": kind, "parent_id": parent_id, "rollup": rollup, "by": tag}
    document = page.read(session.client.list_groups, filters=filters, key="groups")
    columns = (*LIST_COLUMNS, ROLLUP_COLUMN) if rollup else LIST_COLUMNS
    print_page(session, page, document=document, key="groups", columns=columns)


@command(app, example="telemetryctl group get hk-central")
def get(session: Session, *, group: GroupName) -> None:
    """Show one group."""
    found = session.client.get_group(find_group(session, group))
    session.renderer.item(found, columns=ITEM_COLUMNS)


@dataclass(frozen=True, slots=True)
class Description:
    """What is said of a group; None for what the command line left out."""

    kind: Annotated[str | None, typer.Option(help="What sort of group: branch, fleet.")] = None
    parent: Annotated[
        str | None, typer.Option("--in", help="Inside this group.", autocompletion=complete_groups)
    ] = None
    location: Annotated[str | None, typer.Option(metavar="LAT,LON", help="Its place.")] = None
    metadata: Annotated[str | None, typer.Option(help="A JSON object.")] = None

    def body(self, session: Session) -> dict[str, Any]:
        """Return the members for the server. Raises UsageFailure, NothingThere."""
        body: dict[str, Any] = {}
        if self.kind is not None:
            body["kind"] = self.kind
        if self.parent is not None:
            body["parent_id"] = find_group(session, self.parent)
        if self.location is not None:
            body["location"] = parse_location(self.location)
        if self.metadata is not None:
            body["metadata"] = parse_object(self.metadata)
        return body


@command(
    app,
    example="""telemetryctl group create hk-central --kind branch --location 22.28,114.16
    telemetryctl group create north -d bus-1 -d bus-2""",
)
def create(
    session: Session,
    *,
    name: Annotated[str, typer.Argument(help="Its name.")],
    description: Description,
    devices: Annotated[
        list[str] | None,
        typer.Option(
            "-d", "--device", help="A device in it; repeat it.", autocompletion=complete_devices
        ),
    ] = None,
) -> None:
    """Make a group; its devices have to have sent something before."""
    body = {"name": name, "kind": KIND_DEFAULT} | description.body(session)
    if devices:
        body["device_ids"] = devices
    try:
        document = session.client.create_group(body)
    except ServerProblem as problem:
        raise problem.during(f'group "{name}" was not created') from problem
    session.renderer.item(document, columns=ITEM_COLUMNS)


@command(
    app,
    example="""telemetryctl group edit north --name north-depot
    telemetryctl group edit hk-central --in hong-kong --clear location""",
)
def edit(
    session: Session,
    *,
    group: GroupName,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    description: Description,
    clear: Annotated[
        list[str] | None, typer.Option("--clear", help="parent or location; repeat it.")
    ] = None,
) -> None:
    """Change a group; what is not named stays."""
    if unknown := set(clear or ()) - CLEARABLE:
        raise UsageFailure(
            f'"{min(unknown)}" can\'t be cleared', hint=f"--clear {'|'.join(sorted(CLEARABLE))}"
        )
    changes = description.body(session) | ({"name": name} if name is not None else {})
    changes |= {"parent_id" if field == "parent" else field: None for field in clear or ()}
    if not changes:
        raise UsageFailure("there is nothing to change", hint="telemetryctl group edit -h")
    try:
        document = session.client.patch_group(find_group(session, group), changes=changes)
    except ServerProblem as problem:
        raise problem.during(f'group "{group}" was not changed') from problem
    session.renderer.item(document, columns=ITEM_COLUMNS)


@command(app, example="telemetryctl group delete north --yes")
def delete(
    session: Session,
    *,
    group: GroupName,
    is_yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete a group. Its devices stay; one that has groups in it is refused."""
    found = session.client.get_group(find_group(session, group))
    session.confirm(
        f'delete group "{found["name"]}" of {found["device_count"]} devices? (they stay)',
        is_yes=is_yes,
    )
    try:
        answer = session.client.delete_group(found["group_id"])
    except ServerProblem as problem:
        raise problem.during(f'group "{group}" was not deleted') from problem
    session.console.note(str(answer.get("message") or f'group "{group}" deleted'))


@command(app, example="telemetryctl group add north bus-1 bus-2")
def add(session: Session, *, group: GroupName, devices: DeviceIds) -> None:
    """Put devices into a group; those that are in it already stay."""
    count = _each(session, group, devices, change=session.client.add_group_device)
    session.console.note(f'{count:,} devices are in "{group}"')


@command(app, example="telemetryctl group remove north bus-1 bus-2")
def remove(session: Session, *, group: GroupName, devices: DeviceIds) -> None:
    """Take devices out of a group; in the groups below it, they stay."""
    count = _each(session, group, devices, change=session.client.remove_group_device)
    session.console.note(f'{count:,} devices are out of "{group}"')


@command(
    app,
    example="""telemetryctl group devices hk-central
    telemetryctl group devices hk-central --tag category=bike --state free
    telemetryctl group devices north --metric doors --ids""",
)
def devices(
    session: Session,
    *,
    group: GroupName,
    metric: Annotated[str, typer.Option(help="The metric that says the status.")] = "status",
    state: Annotated[
        str | None, typer.Option(help="Watchable for this: those that are not in it.")
    ] = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="K=V", help="With this tag; repeat it.")
    ] = None,
    page: Page,
) -> None:
    """List the devices of a group and of those below it, with their status."""
    group_id = find_group(session, group)
    chosen = {f"tag.{key}": value for key, value in parse_pairs(tags or ()).items()}
    filters = {"include": "status,changed_at,watchable", "metric": metric, "state": state} | chosen

    def fetch(**asked: Any) -> dict[str, Any]:
        return session.client.group_devices(group_id, **asked)

    document = page.read(fetch, filters=filters, key="devices")
    print_page(session, page, document=document, key="devices", columns=DEVICE_COLUMNS)


def _each(
    session: Session, group: str, device_ids: list[str], *, change: Callable[[str, str], Any]
) -> int:
    """Change one device after the other; the failure says how many were done before it."""
    group_id = find_group(session, group)
    for done, device_id in enumerate(device_ids):
        try:
            change(group_id, device_id)
        except ServerProblem as problem:
            told = f"{done:,} of {len(device_ids):,} done, then {device_id}"
            raise problem.during(told) from problem
    return len(device_ids)


def find_group(session: Session, text: str) -> str:
    """Return the id of a group by its id or name. Raises NothingThere."""
    if text.startswith(ID_PREFIX):
        return text
    found = session.client.list_groups(name=text)["groups"]
    if not found:
        raise NothingThere(f'there is no group "{text}"', hint="telemetryctl group ls")
    return str(found[0]["group_id"])
