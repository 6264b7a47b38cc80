"""Alerts: what fired, and what people do about it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.api.rules import Level
from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands import explanations
from telemetryctl.commands.event import Until, follow_events
from telemetryctl.commands.rule_words import find_rule
from telemetryctl.completion import (
    complete_alerts,
    complete_devices,
    complete_metrics,
    complete_rules,
)
from telemetryctl.failures import UsageFailure
from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.paging import Page, print_page
from telemetryctl.session import Session

app = noun("What fired, and what people do about it.")

OPEN = "active,acknowledged"
EVENT_TYPES = "alert.triggered,alert.acknowledged,alert.resolved"
LIST_COLUMNS = (
    Column("alert_id", title="ALERT", is_fixed=True),
    Column("level", is_fixed=True),
    Column("rule_name", title="RULE"),
    Column("device_id", title="DEVICE", is_fixed=True),
    Column("value", is_right=True),
    Column("triggered_at", title="SINCE", is_time=True),
    Column("status", title="STATE"),
)
WATCH_COLUMNS = (
    Column("alert_id", title="ALERT", is_fixed=True),
    Column("level", is_fixed=True),
    Column("status", title="STATE", is_fixed=True),
    Column("device_id", title="DEVICE", is_fixed=True),
    Column("message"),
)
ITEM_COLUMNS = (
    *LIST_COLUMNS,
    Column("message"),
    *(
        Column(name)
        for name in (
            "rule_id", "metric_name", "condition", "threshold_value", "scope", "group_id", "shadow",
            "stale",
        )
    ),
    Column("event_time", is_time=True),
    Column("acknowledged_by"),
    Column("acknowledged_at", is_time=True),
    Column("acknowledged_note"),
    Column("resolved_by"),
    Column("resolved_at", is_time=True),
    Column("resolved_note"),
    Column("resolved_reason"),
    Column("resolved_event_time", is_time=True),
)  # fmt: skip

AlertId = Annotated[
    str, typer.Argument(metavar="ALERT", help="Its id.", autocompletion=complete_alerts)
]
AlertIds = Annotated[
    list[str], typer.Argument(metavar="ALERT", help="Ids.", autocompletion=complete_alerts)
]
Note = Annotated[str | None, typer.Option("-m", "--note", help="What to write down with it.")]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which alerts."""

    level: Annotated[
        str | None, typer.Option(help="Of this level, a,b of several, '>=error' from it up.")
    ] = None
    device_id: Annotated[
        str | None,
        typer.Option("-d", "--device", help="Of this device.", autocompletion=complete_devices),
    ] = None
    rule: Annotated[
        str | None, typer.Option(help="Of this rule.", autocompletion=complete_rules)
    ] = None
    metric_name: Annotated[
        str | None, typer.Option("--metric", help="On this.", autocompletion=complete_metrics)
    ] = None

    def filters(self, session: Session) -> dict[str, Any]:
        """Return the parameters of the request. Raises UsageFailure, NothingThere."""
        return {
            "level": parse_levels(self.level),
            "device_id": self.device_id,
            "rule_id": None if self.rule is None else find_rule(session, self.rule),
            "metric_name": self.metric_name,
        }


@command(
    app,
    example="""telemetryctl alert ls
    telemetryctl alert ls --level '>=error' -d boiler_1
    telemetryctl alert ls --status all --since 24h""",
)
def ls(
    session: Session,
    *,
    status: Annotated[
        str, typer.Option(help="open, active, acknowledged, resolved or all.")
    ] = "open",
    chosen: Chosen,
    since: Annotated[str | None, typer.Option(help="That fired since: 24h, or a time.")] = None,
    until: Annotated[str, typer.Option(help="That fired before.")] = "now",
    page: Page,
) -> None:
    """List alerts, the newest first; those that are open unless told otherwise."""
    filters = chosen.filters(session) | {"status": {"open": OPEN, "all": None}.get(status, status)}
    if since is not None:
        window = session.window(since, until=until)
        filters["start_time"] = times.format_rfc3339(window.start)
        filters["end_time"] = times.format_rfc3339(window.end)
    document = page.read(session.client.list_alerts, filters=filters, key="alerts")
    print_page(session, page, document=document, key="alerts", columns=LIST_COLUMNS)
    active, critical = document["active_count"], document["critical_count"]
    session.console.note(f"{document['total']:,}: {active:,} active, {critical:,} critical")


@command(app, example="telemetryctl alert get alr_01kcq2v8m3000000000000000a")
def get(session: Session, *, alert_id: AlertId) -> None:
    """Show one alert."""
    session.renderer.item(session.client.get_alert(alert_id), columns=ITEM_COLUMNS)


@command(
    app,
    example="""telemetryctl alert ack alr_01kcq2v8m3000000000000000a -m 'looking at it'
    telemetryctl alert ls --ids | xargs telemetryctl alert ack""",
)
def ack(session: Session, *, alert_ids: AlertIds, note: Note = None) -> None:
    """Say that you look at alerts."""
    _each(session, alert_ids, act=session.client.acknowledge_alert, note=note)


@command(app, example="telemetryctl alert resolve alr_01kcq2v8m3000000000000000a -m 'fan replaced'")
def resolve(session: Session, *, alert_ids: AlertIds, note: Note = None) -> None:
    """End alerts by hand."""
    _each(session, alert_ids, act=session.client.resolve_alert, note=note)


def _each(
    session: Session, alert_ids: list[str], *, act: Callable[..., Any], note: str | None
) -> None:
    """Do it to one after the other; the failure says how many were done before it."""
    renderer = session.renderer
    if len(alert_ids) > 1 and renderer.is_document:
        raise UsageFailure("several alerts are no document", hint="-o jsonl")
    for done, alert_id in enumerate(alert_ids):
        try:
            document = act(alert_id, note=note)
        except ServerProblem as problem:
            told = f"{done:,} of {len(alert_ids):,} done, then {alert_id}"
            raise problem.during(told) from problem
        if len(alert_ids) == 1:
            renderer.item(document, columns=ITEM_COLUMNS)
        else:
            renderer.rows([document], columns=LIST_COLUMNS)
            renderer = renderer.without_headers()


@command(
    app,
    example="""telemetryctl alert watch
    telemetryctl alert watch --level '>=critical' --new -o jsonl""",
)
def watch(
    session: Session,
    *,
    chosen: Chosen,
    is_new: Annotated[bool, typer.Option("--new", help="Not those that are open now.")] = False,
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help="End after so many lines.")
    ] = None,
    for_: Annotated[str | None, typer.Option("--for", help="End after this long: 30s.")] = None,
) -> None:
    """Show open alerts, then each change of one as it comes."""
    renderer = session.renderer
    if renderer.is_document:
        raise UsageFailure("a watch has no end, so it is no document", hint="-o jsonl")
    filters = chosen.filters(session)
    left = count
    for alert in _alerts(session, filters, is_new=is_new, until=Until(for_=for_)):
        if renderer.format == "table":
            renderer.line(alert, columns=WATCH_COLUMNS)
        else:
            renderer.rows([alert], columns=WATCH_COLUMNS)
            renderer = renderer.without_headers()
        session.console.flush()
        if left is not None and (left := left - 1) == 0:
            return


command(app, example=explanations.ALERT_EXAMPLE, name="explain")(explanations.explain_alert)


def _alerts(
    session: Session, filters: Mapping[str, Any], *, is_new: bool, until: Until
) -> Iterator[dict[str, Any]]:
    """Open alerts, oldest first, then the alerts of events as they come.

    What changes while the open ones are read is shown once: as it was read.
    """
    until = replace(until, after=str(session.client.list_events(limit=1)["cursor"]))
    shown: set[tuple[str, str]] = set()
    if not is_new:
        page = Page(is_all=True)
        asked = dict(filters) | {"status": OPEN}
        alerts = page.read(session.client.list_alerts, filters=asked, key="alerts")["alerts"]
        shown = {(alert["alert_id"], alert["status"]) for alert in alerts}
        yield from reversed(alerts)
    for event in follow_events(session, {"type": EVENT_TYPES}, until=until):
        alert = event["data"]
        if (alert["alert_id"], alert["status"]) not in shown and fits(alert, filters):
            yield alert


def fits(alert: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Whether the server would list this alert under these filters."""
    return all(
        wanted is None or str(alert.get(name)) in str(wanted).split(",")
        for name, wanted in filters.items()
    )


def parse_levels(text: str | None) -> str | None:
    """Return the levels of `error`, `error,critical` or `>=error`. Raises UsageFailure."""
    if text is None:
        return None
    known = [level.value for level in Level]
    is_from = text.startswith(">=")
    names = text.removeprefix(">=").strip().split(",")
    if not set(names) <= set(known) or (is_from and len(names) > 1):
        raise UsageFailure(f'"{text}" is no level', hint=", ".join(known))
    return ",".join(known[known.index(names[0]) :] if is_from else names)
