"""Plans on the command line: which documents, and how a plan is shown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from telemetryctl.failures import UsageFailure
from telemetryctl.files.documents import read_documents
from telemetryctl.output.console import printable
from telemetryctl.output.render import Column
from telemetryctl.plans.effects import Effect, effect_of
from telemetryctl.plans.marks import check_set
from telemetryctl.plans.plan import Action, Change, Plan, make_plan
from telemetryctl.session import Session
from telemetryctl.waiting import wait_for_job

COLUMNS = (
    Column("action", is_fixed=True),
    Column("kind", is_fixed=True),
    Column("name"),
    Column("fields"),
)
SHOWN_MAX = 60
"""Longer values are cut for eyes; programs get them whole."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be, and which of the rest may go."""

    files: Annotated[
        list[Path],
        typer.Option("-f", "--file", metavar="FILE|DIR|-", help="Documents; repeat it."),
    ]
    is_recursive: Annotated[
        bool, typer.Option("-R", "--recursive", help="Folders in folders, too.")
    ] = False
    is_pruned: Annotated[
        bool, typer.Option("--prune", help="Delete what is of the set and in no document.")
    ] = False
    set_name: Annotated[
        str | None, typer.Option("--set", metavar="NAME", help="Mark the objects as of this set.")
    ] = None
    has_effect: Annotated[
        bool, typer.Option("--effect/--no-effect", help="Ask what it does to alerts. [yes]")
    ] = True

    def plan(self, session: Session) -> Plan:
        """Compare the documents with the server's objects. Raises UsageFailure, NothingThere."""
        if self.is_pruned and self.set_name is None:
            raise UsageFailure("only a set can be pruned", hint="--prune --set NAME")
        set_name = None if self.set_name is None else check_set(self.set_name)
        paths = [str(path) for path in self.files]
        documents = read_documents(paths, is_recursive=self.is_recursive)
        plan = make_plan(session.client, documents, set_name=set_name, is_pruned=self.is_pruned)
        for note in plan.notes:
            session.console.note(note)
        return plan

    def effect(self, session: Session, plan: Plan) -> Effect | None:
        """What the plan does to alerts; None: to none, or nobody asked."""
        if not self.has_effect:
            return None

        def result(job_id: str) -> dict[str, Any]:
            return dict(wait_for_job(session.client, job_id, console=session.console)["result"])

        return effect_of(session.client, plan, result=result)


def print_plan(session: Session, plan: Plan, effect: Effect | None) -> None:
    """Write it to stdout; in the end how much is as it should be, on stderr."""
    renderer = session.renderer
    rows = [change.shown() for change in plan.changes]
    match renderer.format:
        case "json" | "yaml":
            shown = None if effect is None else effect.shown()
            document = {"changes": rows, "unchanged": plan.unchanged, "effect": shown}
            renderer.item(document, columns=COLUMNS)
        case "table":
            session.console.write(
                "".join(f"{printable(line)}\n" for line in lines_of(plan.changes))
            )
        case _:
            renderer.rows(rows, columns=COLUMNS)
    if effect is not None:
        session.console.note(f"  {effect.told()}")
    session.console.note(f"{len(rows):,} to change, {plan.unchanged:,} as they should be")


def lines_of(changes: Sequence[Change]) -> list[str]:
    """What a plan does, for eyes."""
    return [_line(change) for change in changes]


def _line(change: Change) -> str:
    match change.action:
        case Action.CREATE:
            return f"+ {change.title} (new)"
        case Action.DELETE:
            return f"- {change.title} (in no document)"
        case Action.CHANGE:
            said = ", ".join(
                f"{name}: {_short(change.before.get(name))} -> {_short(value)}"
                for name, value in change.fields.items()
            )
            return f"~ {change.title}  {said}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 1]}…"
