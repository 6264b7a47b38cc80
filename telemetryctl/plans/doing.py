"""Doing a plan: one object after the other, going on where one is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from telemetryctl.failures import Failure, TryLater
from telemetryctl.plans.objects import Fields
from telemetryctl.plans.plan import Action, Change, Plan

if TYPE_CHECKING:
    from telemetryctl.client.http import Client

_DONE = {Action.CREATE: "created", Action.CHANGE: "changed", Action.DELETE: "deleted"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change; `secret` is one that the server made and shows only once."""

    change: Change
    failure: Failure | None = None
    closed_alerts: int = 0
    secret: str | None = None

    def shown(self) -> dict[str, Any]:
        """For programs, and a line for eyes."""
        what = "failed" if self.failure is not None else _DONE[self.change.action]
        detail = "" if self.failure is None else self.failure.what
        if self.closed_alerts:
            detail = f"{self.closed_alerts} open alerts ended"
        found = {
            "action": what, "kind": self.change.kind.word, "name": self.change.name,
            "detail": detail,
        }  # fmt: skip
        return found | ({} if self.secret is None else {"secret": self.secret})


def carry_out(client: Client, plan: Plan, *, is_forced: bool) -> Iterator[Outcome]:
    """Do the changes in order; after one for which nobody answers the rest is not tried.

    Raises UsageFailure for a secret that is not to be had, before anything is done.
    """
    own = {
        change.title: change.kind.creation(change.document, change.fields)
        for change in plan.changes
        if change.action is Action.CREATE and change.document is not None
    }
    away: Failure | None = None
    for change in plan.changes:
        if away is not None:
            yield Outcome(change, TryLater("not tried, as the server is away"))
            continue
        try:
            yield _done(client, plan, change, own.get(change.title) or {}, is_forced=is_forced)
        except Failure as failure:
            away = failure if isinstance(failure, TryLater) else None
            yield Outcome(change, failure)


def _done(client: Client, plan: Plan, change: Change, own: Fields, *, is_forced: bool) -> Outcome:
    kind = change.kind
    body = kind.wire(change.fields, plan.names)
    match change.action:
        case Action.CREATE:
            made = kind.create(client, body | own, is_forced=is_forced)
            if kind.word == "group":
                plan.names.by_id[str(made["group_id"])] = change.name
            return Outcome(change, secret=made.get("secret"))
        case Action.CHANGE:
            assert change.live is not None
            answer = kind.change(client, change.live, body, is_forced=is_forced)
            if kind.word == "group":
                plan.names.by_id[change.live.object_id] = change.name
            return Outcome(change, closed_alerts=int(answer.get("closed_alerts") or 0))
        case Action.DELETE:
            assert change.live is not None
            kind.delete(client, change.live)
            return Outcome(change)
