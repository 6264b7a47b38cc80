"""Alert rules: what is watched, when it fires and who is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands import explanations, rule_trials
from telemetryctl.commands.rule_words import (
    RuleName,
    find_rule,
    parse_interval,
    parse_minutes,
    parse_quiet,
    parse_seconds,
    parse_state,
    parse_when,
)
from telemetryctl.completion import (
    complete_devices,
    complete_groups,
    complete_metrics,
    complete_rules,
)
from telemetryctl.failures import Refused, UsageFailure
from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.paging import Page, print_page
from telemetryctl.session import Session

app = noun("What is watched, and when it fires.")

LIST_COLUMNS = (
    Column("rule_id", title="RULE", is_fixed=True),
    Column("name"),
    Column("enabled", title="ON"),
    Column("level"),
    Column("metric_name", title="METRIC"),
    Column("condition", title="IS"),
    Column("threshold_value", title="THAN", is_right=True),
    Column("kind"),
    Column("total_triggers", title="FIRED", is_right=True),
    Column("last_triggered", title="LAST", is_time=True),
)
ITEM_COLUMNS = (
    *LIST_COLUMNS,
    *(
        Column(name)
        for name in (
            "description", "device_ids", "device_groups", "evaluation_window", "trigger_count",
            "for", "resolve_threshold", "no_data", "from", "to", "expected_interval",
            "grace_factor", "notification_channels", "cooldown_minutes", "auto_resolve",
            "auto_resolve_timeout", "quiet_hours", "shadow", "tags", "revision",
        )
    ),
    Column("created_at", is_time=True),
    Column("updated_at", is_time=True),
    Column("created_by"),
)  # fmt: skip
FINDING_COLUMNS = (
    Column("severity", is_fixed=True),
    Column("code", is_fixed=True),
    Column("detail"),
)
CLEARABLE = frozenset(
    {
        "description", "device_ids", "device_groups", "resolve_threshold", "from", "to",
        "expected_interval", "notification_channels", "quiet_hours", "tags",
    }
)  # fmt: skip
_LISTS = frozenset({"device_ids", "device_groups", "notification_channels", "tags"})

Force = Annotated[bool, typer.Option("--force", help="Although lint finds an error in it.")]


@dataclass(frozen=True, slots=True)
class Definition:
    """What a rule says; None for what the command line left out."""

    metric_name: Annotated[
        str | None,
        typer.Option("-m", "--metric", help="What to watch.", autocompletion=complete_metrics),
    ] = None
    when: Annotated[str | None, typer.Option(metavar="'> 30'", help="Condition and threshold.")] = (
        None
    )
    kind: Annotated[
        str | None, typer.Option(help="threshold, absence or transition. [threshold]")
    ] = None
    level: Annotated[
        str | None, typer.Option(help="info, warning, error, critical or emergency. [warning]")
    ] = None
    device_ids: Annotated[
        list[str] | None,
        typer.Option(
            "-d", "--device", help="Only this; repeat it.", autocompletion=complete_devices
        ),
    ] = None
    device_groups: Annotated[
        list[str] | None,
        typer.Option(
            "-g", "--group", help="Only these; repeat it.", autocompletion=complete_groups
        ),
    ] = None
    evaluation_window: Annotated[
        str | None, typer.Option("--window", help="Count breaches in the last 5m.")
    ] = None
    trigger_count: Annotated[
        int | None, typer.Option("--count", help="Fire at so many breaches. [1]", min=1)
    ] = None
    for_: Annotated[str | None, typer.Option("--for", help="Only when it has held for 2m.")] = None
    resolve_threshold: Annotated[
        float | None, typer.Option("--resolve-at", help="While open, breach up to this value.")
    ] = None
    no_data: Annotated[
        str | None, typer.Option(help="Silence is ok, keeps it open, or alert. [ok]")
    ] = None
    from_: Annotated[str | None, typer.Option("--from", help="Transition from this state.")] = None
    to: Annotated[str | None, typer.Option("--to", help="Transition to this state.")] = None
    expected_interval: Annotated[
        str | None, typer.Option("--every", help="Absence: samples come every 1m. [auto]")
    ] = None
    grace_factor: Annotated[
        float | None, typer.Option("--grace", help="Absence: so many intervals late. [3]")
    ] = None
    notification_channels: Annotated[
        list[str] | None, typer.Option("--channel", help="Tell this channel; repeat it.")
    ] = None
    cooldown_minutes: Annotated[
        str | None, typer.Option("--cooldown", help="Not again for so long. [15m]")
    ] = None
    auto_resolve: Annotated[
        bool | None,
        typer.Option("--auto-resolve/--no-auto-resolve", help="Ends by itself. [yes]"),
    ] = None
    auto_resolve_timeout: Annotated[
        str | None, typer.Option("--resolve-after", help="After the last breach. [5m]")
    ] = None
    quiet_hours: Annotated[
        str | None,
        typer.Option(
            "--quiet-hours",
            metavar="22-7[,mon][@ZONE]",
            help="Tell nobody: 22:30-7,sat,sun@Asia/Hong_Kong.",
        ),
    ] = None
    shadow: Annotated[
        bool | None, typer.Option("--shadow/--no-shadow", help="Record, and tell nobody.")
    ] = None
    tags: Annotated[list[str] | None, typer.Option("--tag", help="A tag; repeat it.")] = None
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None

    def body(self) -> dict[str, Any]:
        """Return the members for the server. Raises UsageFailure."""
        given = {name: getattr(self, name) for name in self.__slots__}
        given = {name: value for name, value in given.items() if value not in (None, [])}
        body: dict[str, Any] = {}
        if when := given.pop("when", None):
            body["condition"], body["threshold_value"] = parse_when(when)
        readers = {
            "evaluation_window": parse_seconds, "for_": parse_seconds, "from_": parse_state,
            "to": parse_state, "expected_interval": parse_interval,
            "cooldown_minutes": parse_minutes, "auto_resolve_timeout": parse_seconds,
            "quiet_hours": parse_quiet,
        }  # fmt: skip
        for name, value in given.items():
            body[name.rstrip("_")] = readers[name](value) if name in readers else value
        return body


@command(app, example="telemetryctl rule ls\ntelemetryctl rule ls --level critical --enabled --ids")
def ls(
    session: Session,
    *,
    is_enabled: Annotated[
        bool | None, typer.Option("--enabled/--disabled", help="Only these.")
    ] = None,
    level: Annotated[str | None, typer.Option(help="Of this level.")] = None,
    metric: Annotated[
        str | None,
        typer.Option("-m", "--metric", help="On this metric.", autocompletion=complete_metrics),
    ] = None,
    page: Page,
) -> None:
    """List rules."""
    enabled = None if is_enabled is None else str(is_enabled).lower()
    filters = {"enabled": enabled, "level": level, "metric_name": metric}
    document = page.read(session.client.list_rules, filters=filters, key="rules")
    print_page(session, page, document=document, key="rules", columns=LIST_COLUMNS)


@command(app, example="telemetryctl rule get hot")
def get(session: Session, *, rule: RuleName) -> None:
    """Show one rule."""
    session.renderer.item(session.client.get_rule(find_rule(session, rule)), columns=ITEM_COLUMNS)


@command(
    app,
    example="""telemetryctl rule create hot -m temperature --when '> 30' --level critical
    telemetryctl rule create busy -m cpu --when '>= 90' --window 5m --count 3 --resolve-at 80
    telemetryctl rule create silent -m heartbeat --kind absence --every 1m
    telemetryctl rule create free -m status --kind transition --from occupied --to free""",
)
def create(
    session: Session,
    *,
    name: Annotated[str, typer.Argument(help="Its name.")],
    definition: Definition,
    is_disabled: Annotated[bool, typer.Option("--disabled", help="Don't evaluate it yet.")] = False,
    is_forced: Force = False,
) -> None:
    """Make a rule; one that can't work as it stands is refused."""
    body = {"name": name} | definition.body() | ({"enabled": False} if is_disabled else {})
    if "metric_name" not in body:
        raise UsageFailure("a rule watches a metric", hint="-m METRIC")
    try:
        document = session.client.create_rule(body, is_strict=not is_forced)
    except ServerProblem as problem:
        raise _with_findings(problem.during(f'rule "{name}" was not created')) from problem
    _note_findings(session, document)
    session.renderer.item(document, columns=ITEM_COLUMNS)


@command(
    app,
    example="""telemetryctl rule edit hot --when '> 32' --level error
    telemetryctl rule edit hot --clear quiet_hours --channel ops""",
)
def edit(
    session: Session,
    *,
    rule: RuleName,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    definition: Definition,
    clear: Annotated[
        list[str] | None, typer.Option("--clear", help="Make this field empty; repeat it.")
    ] = None,
    is_forced: Force = False,
) -> None:
    """Change a rule; open alerts stay, unless it decides otherwise than before."""
    if unknown := set(clear or ()) - CLEARABLE:
        raise UsageFailure(
            f'"{min(unknown)}" can\'t be cleared', hint=f"--clear {'|'.join(sorted(CLEARABLE))}"
        )
    changes = definition.body() | ({"name": name} if name is not None else {})
    changes |= {field: [] if field in _LISTS else None for field in clear or ()}
    if not changes:
        raise UsageFailure("there is nothing to change", hint="telemetryctl rule edit -h")
    rule_id = find_rule(session, rule)
    try:
        document = session.client.patch_rule(rule_id, changes=changes, is_strict=not is_forced)
    except ServerProblem as problem:
        raise _with_findings(problem.during(f'rule "{rule}" was not changed')) from problem
    _note_findings(session, document)
    _note_closed(session, document)
    session.renderer.item(document, columns=ITEM_COLUMNS)


@command(app, example="telemetryctl rule enable hot")
def enable(session: Session, *, rule: RuleName) -> None:
    """Evaluate a rule from now on."""
    _set_enabled(session, rule, is_enabled=True)


@command(app, example="telemetryctl rule disable hot")
def disable(session: Session, *, rule: RuleName) -> None:
    """Evaluate a rule no more; its open alerts end."""
    _set_enabled(session, rule, is_enabled=False)


def _set_enabled(session: Session, rule: str, *, is_enabled: bool) -> None:
    document = session.client.enable_rule(find_rule(session, rule), is_enabled=is_enabled)
    session.console.note(str(document.get("message")))
    _note_closed(session, document)


@command(app, example="telemetryctl rule delete hot --yes")
def delete(
    session: Session,
    *,
    rule: RuleName,
    is_yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete a rule. Its alerts stay readable; those that are open end."""
    found = session.client.get_rule(find_rule(session, rule))
    session.confirm(f'delete rule "{found["name"]}"? (its open alerts end)', is_yes=is_yes)
    answer = session.client.delete_rule(found["rule_id"])
    session.console.note(str(answer.get("message") or f'rule "{rule}" deleted'))
    _note_closed(session, answer)


@command(
    app,
    example="""telemetryctl rule lint hot
    telemetryctl rule lint hot --when '> 32'
    telemetryctl rule lint -m temperature --when '> 300'""",
)
def lint(
    session: Session,
    *,
    rule: Annotated[
        str | None,
        typer.Argument(
            metavar="[RULE]",
            help="A stored one, with the changes given; without it a new one.",
            autocompletion=complete_rules,
        ),
    ] = None,
    definition: Definition,
) -> None:
    """Look for what can't work; exit 5 when there is an error."""
    body = definition.body()
    if rule is not None:
        body["rule_id"] = find_rule(session, rule)
    elif "metric_name" in body:
        body["name"] = "lint"
    else:
        raise UsageFailure("which rule?", hint="telemetryctl rule lint RULE, or -m METRIC …")
    document = session.client.lint_rule(body)
    session.renderer.listing(document, key="findings", columns=FINDING_COLUMNS)
    errors = [f for f in document["findings"] if f["severity"] == "error"]
    if errors:
        raise Refused(f"{len(errors)} of {document['count']} findings are errors")


def _note_findings(session: Session, document: Mapping[str, Any]) -> None:
    for finding in document.get("findings") or ():
        session.console.note(_told(finding))


def _note_closed(session: Session, document: Mapping[str, Any]) -> None:
    if count := document.get("closed_alerts"):
        session.console.note(f"{count:,} open alerts ended with it")


def _with_findings(problem: ServerProblem) -> ServerProblem:
    """Say all that lint found, and how to do it all the same."""
    findings = problem.problem.get("findings")
    if findings:
        problem.why = "\n".join(_told(finding) for finding in findings)
        problem.hint = "--force, if that is meant"
    return problem


def _told(finding: Mapping[str, Any]) -> str:
    return f"{finding['severity']}: {finding['detail']} ({finding['code']})"


command(app, example=rule_trials.BACKTEST_EXAMPLE)(rule_trials.backtest)
command(app, example=rule_trials.PROMOTE_EXAMPLE)(rule_trials.promote)
command(app, example=rule_trials.HISTORY_EXAMPLE)(rule_trials.history)
command(app, example=explanations.RULE_EXAMPLE, name="explain")(explanations.explain_rule)
