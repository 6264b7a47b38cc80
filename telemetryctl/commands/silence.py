"""Silences: messages that nobody gets for a while."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from telemetryctl import times
from telemetryctl.client.errors import ServerProblem
from telemetryctl.completion import complete_silences
from telemetryctl.failures import UsageFailure
from telemetryctl.options import command, noun
from telemetryctl.output.render import Column
from telemetryctl.paging import Page, print_page
from telemetryctl.session import Session

app = noun("Messages that nobody gets for a while.")

MATCHERS = {
    "device": "device_id",
    "metric": "metric_name",
    "rule": "rule_name",
    **{name: name for name in ("device_id", "metric_name", "rule_name", "rule_id", "level")},
    "group": "group",
}
COLUMNS = (
    Column("silence_id", title="SILENCE", is_fixed=True),
    Column("state", is_fixed=True),
    Column("matchers"),
    Column("starts_at", title="FROM", is_time=True),
    Column("ends_at", title="UNTIL", is_time=True),
    Column("comment"),
    Column("created_by", title="BY"),
)

SilenceId = Annotated[
    str, typer.Argument(metavar="SILENCE", help="Its id.", autocompletion=complete_silences)
]
Duration = Annotated[str | None, typer.Option("--for", help="For so long from now: 2h.")]
End = Annotated[str | None, typer.Option("--until", help="Until this time.")]


@command(app, example="telemetryctl silence ls")
def ls(
    session: Session,
    *,
    is_expired: Annotated[bool, typer.Option("--expired", help="Also those that are over.")] = (
        False
    ),
    page: Page,
) -> None:
    """List silences, those that end last first."""
    filters = {"expired": "true" if is_expired else None}
    document = page.read(session.client.list_silences, filters=filters, key="silences")
    print_page(session, page, document=document, key="silences", columns=COLUMNS)


@command(app, example="telemetryctl silence get sil_01kcq2v8m3000000000000000a")
def get(session: Session, *, silence_id: SilenceId) -> None:
    """Show one silence."""
    session.renderer.item(session.client.get_silence(silence_id), columns=COLUMNS)


@command(
    app,
    example="""telemetryctl silence add device=boiler_1 --for 2h -m 'new burner'
    telemetryctl silence add 'rule=disk*' level=info,warning --until 2026-11-22T07:00 -m migration
    telemetryctl silence add group=north --for 30m -m 'power cut'""",
)
def add(
    session: Session,
    *,
    matchers: Annotated[
        list[str],
        typer.Argument(
            metavar="MATCHER",
            help="device=, metric=, rule=, rule_id=, level= or group=; a,b for several values, with"
            " * and ?. All have to fit.",
        ),
    ],
    for_: Duration = None,
    until: End = None,
    starts: Annotated[str | None, typer.Option("--from", help="From this time on. [now]")] = None,
    comment: Annotated[str, typer.Option("-m", "--comment", help="Why.")] = "",
) -> None:
    """Keep messages about what fits from being sent; alerts are recorded all the same."""
    body: dict[str, Any] = {
        "matchers": parse_matchers(matchers),
        "ends_at": _end(session, for_, until),
        "comment": comment,
    }
    if starts is not None:
        body["starts_at"] = _time(session, starts)
    try:
        document = session.client.create_silence(body)
    except ServerProblem as problem:
        raise problem.during("the silence was not made") from problem
    session.renderer.item(document, columns=COLUMNS)


@command(app, example="telemetryctl silence edit sil_01kcq2v8m3000000000000000a --for 4h")
def edit(
    session: Session,
    *,
    silence_id: SilenceId,
    for_: Duration = None,
    until: End = None,
    comment: Annotated[str | None, typer.Option("-m", "--comment", help="Why.")] = None,
) -> None:
    """Let a silence end earlier or later."""
    changes: dict[str, Any] = {} if comment is None else {"comment": comment}
    if for_ is not None or until is not None:
        changes["ends_at"] = _end(session, for_, until)
    if not changes:
        raise UsageFailure("there is nothing to change", hint="telemetryctl silence edit -h")
    try:
        document = session.client.patch_silence(silence_id, changes=changes)
    except ServerProblem as problem:
        raise problem.during(f"{silence_id} was not changed") from problem
    session.renderer.item(document, columns=COLUMNS)


@command(app, example="telemetryctl silence expire sil_01kcq2v8m3000000000000000a")
def expire(
    session: Session,
    *,
    silence_ids: Annotated[
        list[str],
        typer.Argument(metavar="SILENCE", help="Ids.", autocompletion=complete_silences),
    ],
) -> None:
    """End silences now; what they held back and still holds is told in a digest."""
    for done, silence_id in enumerate(silence_ids):
        try:
            session.client.expire_silence(silence_id)
        except ServerProblem as problem:
            told = f"{done:,} of {len(silence_ids):,} done, then {silence_id}"
            raise problem.during(told) from problem
    session.console.note(f"{len(silence_ids):,} silences are over")


def parse_matchers(texts: Sequence[str]) -> dict[str, Any]:
    """Return the matchers of `device=a,b level=error`. Raises UsageFailure."""
    found: dict[str, Any] = {}
    for text in texts:
        name, is_pair, value = text.partition("=")
        values = [part for part in value.split(",") if part]
        if not is_pair or name not in MATCHERS or not values:
            raise UsageFailure(
                f'"{text}" is no matcher', hint="device=, metric=, rule=, rule_id=, level=, group="
            )
        if MATCHERS[name] in found:
            raise UsageFailure(f"{name} is given twice", hint=f"{name}=a,b")
        found[MATCHERS[name]] = values[0] if len(values) == 1 else values
    return found


def _end(session: Session, for_: str | None, until: str | None) -> str:
    if (for_ is None) == (until is None):
        raise UsageFailure("say how long", hint="--for 2h, or --until TIME")
    if for_ is not None:
        return times.format_rfc3339(times.now() + times.parse_duration(for_))
    return _time(session, until or "")


def _time(session: Session, text: str) -> str:
    return times.format_rfc3339(times.parse_time(text, at=times.now(), zone=session.zone))
