"""Make the server's objects what documents say."""

from collections.abc import Sequence
from typing import Annotated

import typer

from telemetryctl.client.errors import ServerProblem
from telemetryctl.commands.plan_words import Wanted, lines_of, print_plan
from telemetryctl.failures import Failure, PartlyDone, Refused
from telemetryctl.options import command, single
from telemetryctl.output.render import Column
from telemetryctl.plans.doing import Outcome, carry_out
from telemetryctl.plans.effects import Effect
from telemetryctl.plans.plan import Action, Plan
from telemetryctl.session import Session

app = single()

COLUMNS = (
    Column("action", is_fixed=True),
    Column("kind", is_fixed=True),
    Column("name"),
    Column("detail"),
    Column("secret"),
)
FAILURES_TOLD = 10


@command(
    app,
    example="""telemetryctl apply -f rules/ -R
    telemetryctl apply -f kitchen/ --prune --set kitchen --yes
    telemetryctl dump rule -o json | telemetryctl apply -f - --dry-run""",
)
def apply(
    session: Session,
    *,
    wanted: Wanted,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", "--plan", help="Show what would change, and stop.")
    ] = False,
    is_yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    is_forced: Annotated[
        bool, typer.Option("--force", help="Although lint finds errors in rules.")
    ] = False,
) -> None:
    """Make, change and (with --prune) delete objects until they are what documents say."""
    plan = wanted.plan(session)
    effect = wanted.effect(session, plan)
    if is_dry_run:
        print_plan(session, plan, effect)
        return
    _confirm(session, plan, effect, is_yes=is_yes)
    outcomes = list(carry_out(session.client, plan, is_forced=is_forced))
    rows = [outcome.shown() for outcome in outcomes]
    is_bare = session.renderer.format == "table" and not any("secret" in row for row in rows)
    if session.renderer.is_document:
        document = {"changes": rows, "unchanged": plan.unchanged}
        session.renderer.item(document, columns=COLUMNS)
    elif rows:
        session.renderer.rows(rows, columns=COLUMNS[:-1] if is_bare else COLUMNS)
    session.console.note(f"{plan.unchanged:,} as they should be")
    _check(outcomes)


def _confirm(session: Session, plan: Plan, effect: Effect | None, *, is_yes: bool) -> None:
    """Tell what is to be done, on stderr; nothing to do needs no answer."""
    if not plan.changes:
        return
    for line in lines_of(plan.changes):
        session.console.note(line)
    if effect is not None:
        session.console.note(f"  {effect.told()}")
    deletions = sum(change.action is Action.DELETE for change in plan.changes)
    gone = f", {deletions:,} of them deletions" if deletions else ""
    session.confirm(f"apply {len(plan.changes):,} changes{gone}?", is_yes=is_yes)


def _check(outcomes: Sequence[Outcome]) -> None:
    """Raises PartlyDone, or when nothing at all was done why."""
    failed = [(o.change.title, o.failure) for o in outcomes if o.failure is not None]
    if not failed:
        return
    told = [_told(title, failure) for title, failure in failed[:FAILURES_TOLD]]
    if len(failed) > FAILURES_TOLD:
        told.append(f"and {len(failed) - FAILURES_TOLD:,} more")
    what, why = f"{len(failed):,} of {len(outcomes):,} changes failed", "\n".join(told)
    hint = "mend them and apply again: what is done stays, and is not done twice"
    if len(failed) < len(outcomes):
        raise PartlyDone(what, why=why, hint=hint)
    failure = Refused(what, why=why, hint=hint)
    failure.exit_code = failed[0][1].exit_code
    raise failure


def _told(title: str, failure: Failure) -> str:
    code = failure.code if isinstance(failure, ServerProblem) else ""
    return f"{title}: {failure.what}" + (f" ({code})" if code else "")
