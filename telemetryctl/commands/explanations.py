"""Why: what decided an alert and who was told, and why a rule fires or not."""

from typing import Annotated

import typer

from telemetryctl import times
from telemetryctl.commands.rule_words import RuleName, find_rule
from telemetryctl.completion import complete_alerts, complete_devices
from telemetryctl.output.render import Column
from telemetryctl.session import Session

ALERT_EXAMPLE = "telemetryctl alert explain alr_01kcq2v8m3000000000000000a"
RULE_EXAMPLE = """telemetryctl rule explain hot -d boiler_1
    telemetryctl rule explain hot -d boiler_1 --at 2026-11-21T03:00"""
ALERT_COLUMNS = (
    Column("alert_id", title="ALERT"),
    Column("status", title="STATE"),
    Column("event_time", title="FIRED", is_time=True),
    Column("triggered_at", title="DECIDED", is_time=True),
    Column("summary"),
)
STEP_COLUMNS = (
    Column("at", is_fixed=True, is_time=True),
    Column("to", is_fixed=True),
    Column("reason", title="BECAUSE"),
    Column("by"),
    Column("inputs"),
)
MESSAGE_COLUMNS = (
    Column("channel", is_fixed=True),
    Column("kind", is_fixed=True),
    Column("status", is_fixed=True),
    Column("verdict", title="BECAUSE"),
    Column("sent_at", title="SENT", is_time=True),
    Column("attempts", is_right=True),
    Column("data"),
)
RULE_COLUMNS = (
    Column("rule_name", title="RULE"),
    Column("device_id", title="DEVICE"),
    Column("at", is_time=True),
    Column("fires"),
    Column("summary"),
    Column("newest.timestamp", title="NEWEST", is_time=True),
    Column("newest.arrived_at", title="ARRIVED", is_time=True),
    Column("newest.value", title="VALUE"),
    *(
        Column(name)
        for name in (
            "breaches", "trigger_count", "evaluation_window", "held", "for", "allowed_silence",
            "expected_interval", "is_learned", "previous_value", "alert_id",
        )
    ),
    Column("last_fired", is_time=True),
    Column("cooldown_until", is_time=True),
    Column("late_samples.samples", title="TOO LATE"),
)  # fmt: skip
CAUSE_COLUMNS = (
    Column("code", title="BECAUSE", is_fixed=True),
    Column("detail"),
    Column("until", is_time=True),
)
SUPPRESSED_COLUMNS = (
    Column("kind", title="NOT TOLD BY", is_fixed=True),
    Column("silence_id", title="SILENCE"),
    Column("until", is_time=True),
)


def explain_alert(
    session: Session,
    *,
    alert_id: Annotated[
        str, typer.Argument(metavar="ALERT", help="Its id.", autocompletion=complete_alerts)
    ],
) -> None:
    """Say what decided each change of an alert, and who was told or not, and why."""
    document = session.client.explain_alert(alert_id)
    if session.renderer.format != "table":
        session.renderer.item(document, columns=(Column("summary"),))
        return
    shown = document["alert"] | {"summary": document["summary"]}
    session.renderer.item(shown, columns=ALERT_COLUMNS)
    session.renderer.rows(document["steps"], columns=STEP_COLUMNS)
    told = [
        {"channel": one["channel"], **message}
        for one in document["channels"]
        for message in one["messages"]
    ]
    if told:
        session.renderer.rows(told, columns=MESSAGE_COLUMNS)


def explain_rule(
    session: Session,
    *,
    rule: RuleName,
    device_id: Annotated[
        str,
        typer.Option("-d", "--device", help="On this device.", autocompletion=complete_devices),
    ],
    at: Annotated[str | None, typer.Option(help="At this time. [now]")] = None,
) -> None:
    """Say why a rule fires on a device or not, now or at a time."""
    instant = None
    if at is not None:
        instant = times.format_rfc3339(times.parse_time(at, at=times.now(), zone=session.zone))
    rule_id = find_rule(session, rule)
    document = session.client.explain_rule(rule_id, device_id=device_id, at=instant)
    if session.renderer.format != "table":
        session.renderer.item(document, columns=(Column("fires"), Column("summary")))
        return
    known = [
        column for column in RULE_COLUMNS if document.get(column.key.split(".")[0]) is not None
    ]
    session.renderer.item(document, columns=known)
    for rows, columns in (
        (document["causes"], CAUSE_COLUMNS),
        (document["suppressed_by"], SUPPRESSED_COLUMNS),
    ):
        if rows:
            session.renderer.rows(rows, columns=columns)
