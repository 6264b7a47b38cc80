"""What a rule did and would have done: backtests, its history, and its way out of the shadow."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands.rule_numbers import Limit, parse_limit, parse_settings
from telemetryctl.commands.rule_words import RuleName, find_rule
from telemetryctl.completion import complete_rules
from telemetryctl.failures import Failure, UsageFailure
from telemetryctl.interrupts import interrupts
from telemetryctl.output.exit_codes import ExitCode
from telemetryctl.output.render import Column
from telemetryctl.paging import Page, print_page
from telemetryctl.session import Session
from telemetryctl.waiting import wait_for_job

SHOWN_ALERTS = 20
"""So many alerts stand below the table of candidates."""
CANDIDATE_COLUMNS = (
    Column("set"),
    Column("alerts", is_right=True),
    Column("alerts_per_day", title="A DAY", is_right=True),
    Column("minutes_firing", title="MINUTES", is_right=True),
    Column("flaps", is_right=True),
    Column("devices", is_right=True),
    Column("open_at_end", title="OPEN", is_right=True),
    Column("noisiest_hour", title="NOISIEST HOUR", is_time=True),
    Column("noisiest_hour_alerts", title="ALERTS IN IT", is_right=True),
)
BACKTEST_ALERT_COLUMNS = (
    Column("event_time", title="FIRED", is_fixed=True, is_time=True),
    Column("resolved_at", title="RESOLVED", is_fixed=True, is_time=True),
    Column("device_id", title="DEVICE"),
    Column("value", is_right=True),
    Column("resolved_reason", title="BECAUSE"),
)
HISTORY_COLUMNS = (
    Column("alert_id", title="ALERT", is_fixed=True),
    Column("status", is_fixed=True),
    Column("device_id", title="DEVICE"),
    Column("value", is_right=True),
    Column("event_time", title="FIRED", is_time=True),
    Column("resolved_event_time", title="RESOLVED", is_time=True),
    Column("resolved_reason", title="BECAUSE"),
    Column("shadow"),
    Column("message"),
)
BACKTEST_EXAMPLE = """telemetryctl rule backtest hot --since 30d
    telemetryctl rule backtest hot --since 7d --set threshold_value=85..95:1
    telemetryctl rule backtest rule.yaml --since 30d --fail-if 'alerts_per_day > 5'"""
PROMOTE_EXAMPLE = "telemetryctl rule promote hot\ntelemetryctl rule promote hot --since 30d --yes"
HISTORY_EXAMPLE = "telemetryctl rule history hot\ntelemetryctl rule history hot --since 30d --ids"


class LimitPassed(Failure):
    """What `--fail-if` names came true: like a `diff` that differs, this is exit 1."""

    exit_code = ExitCode.INTERNAL


@dataclass(frozen=True, slots=True)
class Trial:
    """Over what, and what is tried."""

    since: Annotated[str, typer.Option(help="From then: 30d, or a time.")] = "7d"
    until: Annotated[str, typer.Option(help="Up to then.")] = "now"
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=85..95:1", help="Try these, or FIELD=A,B,C; repeat it."
        ),
    ] = None
    is_as_arrived: Annotated[
        bool, typer.Option("--as-arrived", help="Judge points as late as they came.")
    ] = False

    def body(self, session: Session) -> dict[str, Any]:
        """Return the members for the server. Raises UsageFailure."""
        settings = parse_settings(self.settings or [])
        window = session.window(self.since, until=self.until)
        return {
            "start_time": times.format_rfc3339(window.start),
            "end_time": times.format_rfc3339(window.end),
            "set": settings,
            "as_arrived": self.is_as_arrived,
        }


def backtest(
    session: Session,
    *,
    rule: Annotated[
        str,
        typer.Argument(
            metavar="RULE|FILE",
            help="Name or id, or a file (- is stdin) as apply takes it.",
            autocompletion=complete_rules,
        ),
    ],
    trial: Trial,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if", metavar="'alerts_per_day > 5'", help="Exit 1 when that is so; repeat it."
        ),
    ] = None,
    is_alerts: Annotated[
        bool, typer.Option("--alerts", help="All alerts (of the first candidate), no table.")
    ] = False,
    is_waiting: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Without waiting, print the job.")
    ] = True,
) -> None:
    """Show what a rule would have done over stored history; nobody is told anything."""
    limits = [parse_limit(text) for text in fail_if or ()]
    if limits and not is_waiting:
        raise UsageFailure("--fail-if needs the result", hint="leave out --no-wait")
    asked = _rule_of(session, rule) | trial.body(session)
    try:
        queued = session.client.backtest_rule(asked)
    except ServerProblem as problem:
        raise problem.during(f"{rule} can't be tested") from problem
    if not is_waiting:
        session.renderer.item(queued, columns=(Column("job_id", title="JOB", is_fixed=True),))
        return
    result = _result(session, str(queued["job_id"]))
    _print(session, result, is_alerts=is_alerts)
    _check(result, limits)


def _rule_of(session: Session, text: str) -> dict[str, Any]:
    """The member that says which rule: a document's fields, or the id of a stored one."""
    if text != "-" and not Path(text).is_file():
        if Path(text).suffix in (".yaml", ".yml", ".json", ".toml"):
            raise UsageFailure(f"there is no file {text}")
        return {"rule_id": find_rule(session, text)}
    from telemetryctl.files.documents import read_documents

    documents = [found for found in read_documents([text]) if found.kind == "rule"]
    if len(documents) != 1:
        raise UsageFailure(f"{text} holds {len(documents)} rules; a backtest is of one")
    # They say where a rule stands, and nothing of what it decides.
    spec = {
        name: value
        for name, value in documents[0].spec.items()
        if name not in ("enabled", "notification_channels", "shadow")
    }
    return {"rule": {"name": documents[0].name} | spec}


def _result(session: Session, job_id: str) -> dict[str, Any]:
    """The result of the job; who stops waiting for it ends it, too."""
    try:
        job = wait_for_job(session.client, job_id, console=session.console)
    except KeyboardInterrupt:
        interrupts.answered()
        with suppress(Failure):
            session.client.cancel_job(job_id)
        raise
    return {"job_id": job_id} | dict(job["result"])


def _print(session: Session, result: Mapping[str, Any], *, is_alerts: bool) -> None:
    renderer, alerts = session.renderer, result["alerts"]
    if result["truncated"]:
        session.console.note(f"there are more alerts than the first {len(alerts):,}")
    if renderer.is_document:
        renderer.item(result, columns=())
    elif is_alerts:
        renderer.rows(alerts, columns=BACKTEST_ALERT_COLUMNS)
    else:
        is_api = renderer.format == "jsonl"
        candidates = result["candidates"] if is_api else _flat(result)
        renderer.rows(candidates, columns=CANDIDATE_COLUMNS)
        if renderer.format == "table" and alerts:
            session.console.write("\n")
            renderer.rows(alerts[:SHOWN_ALERTS], columns=BACKTEST_ALERT_COLUMNS)
            if len(alerts) > SHOWN_ALERTS:
                session.console.note(f"{SHOWN_ALERTS} of {len(alerts):,}; --alerts shows all")


def _flat(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"set": _said(one["set"])} | one["summary"] for one in result["candidates"]]


def _said(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(settings.items()))


def _check(result: Mapping[str, Any], limits: list[Limit]) -> None:
    passed = [
        f"{_said(one['set']) or 'the rule'}: {limit}"
        for one in result["candidates"]
        for limit in limits
        if limit.holds(one["summary"])
    ]
    if passed:
        raise LimitPassed("--fail-if came true", why="\n".join(passed))


def promote(
    session: Session,
    *,
    rule: RuleName,
    since: Annotated[str, typer.Option(help="Show what it recorded since then.")] = "7d",
    is_yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Take a rule out of the shadow, after showing what it would have told whom."""
    found = session.client.get_rule(find_rule(session, rule))
    if not found["shadow"]:
        session.console.note(f"rule {found['name']} tells already")
        return
    window = session.window(since)
    filters = {
        "rule_id": found["rule_id"],
        "shadow": "true",
        "start_time": times.format_rfc3339(window.start),
        "end_time": times.format_rfc3339(window.end),
    }
    page = session.client.list_alerts(**filters, limit=SHOWN_ALERTS)
    session.renderer.listing(page, key="alerts", columns=HISTORY_COLUMNS)
    over = session.client.list_alerts(**filters, status="resolved", limit=1)
    session.console.note(_messages(found, fired=page["total"], over=over["total"]))
    state = "" if found["enabled"] else " (it is disabled, and stays so)"
    session.confirm(f'let rule "{found["name"]}" tell from now on?{state}', is_yes=is_yes)
    try:
        session.client.patch_rule(found["rule_id"], changes={"shadow": False})
    except ServerProblem as problem:
        raise problem.during(f'rule "{rule}" stays in the shadow') from problem
    session.console.note(f"rule {found['name']} tells from now on")


def _messages(rule: Mapping[str, Any], *, fired: int, over: int) -> str:
    """How much the rule would have sent: of each alert that it fires, and that it is over."""
    channels = rule["notification_channels"]
    to = "told to nobody"
    if channels:
        to = f"{fired + over:,} messages to each of {', '.join(channels)}"
        to += ", those in quiet hours in one digest" if rule["quiet_hours"] else ""
    return f"{fired:,} alerts would have been {to}"


def history(
    session: Session,
    *,
    rule: RuleName,
    since: Annotated[str | None, typer.Option(help="That fired since: 30d, or a time.")] = None,
    until: Annotated[str, typer.Option(help="That fired before.")] = "now",
    page: Page,
) -> None:
    """List the alerts of a rule, the newest first; those that it recorded in the shadow, too."""
    filters: dict[str, Any] = {"rule_id": find_rule(session, rule)}
    if since is not None:
        window = session.window(since, until=until)
        filters["start_time"] = times.format_rfc3339(window.start)
        filters["end_time"] = times.format_rfc3339(window.end)
    document = page.read(session.client.list_alerts, filters=filters, key="alerts")
    print_page(session, page, document=document, key="alerts", columns=HISTORY_COLUMNS)
