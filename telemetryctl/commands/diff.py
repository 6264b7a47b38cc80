"""What `apply` would change, and nothing done."""

import typer

from telemetryctl.commands.plan_words import Wanted, print_plan
from telemetryctl.options import command, single
from telemetryctl.output.exit_codes import ExitCode
from telemetryctl.session import Session

app = single()


@command(
    app,
    example="""telemetryctl diff -f rules/ -R
    telemetryctl diff -f rules/ --prune --set kitchen -o json""",
)
def diff(session: Session, *, wanted: Wanted) -> None:
    """Show what apply would change; exit 0 when nothing, 1 when something."""
    plan = wanted.plan(session)
    print_plan(session, plan, wanted.effect(session, plan))
    if plan.changes:
        raise typer.Exit(ExitCode.INTERNAL)
