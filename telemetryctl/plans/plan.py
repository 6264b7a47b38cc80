"""A plan: what has to change so that the server has what the documents say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from telemetryctl import times
from telemetryctl.client.errors import ServerProblem
from telemetryctl.failures import UsageFailure
from telemetryctl.files.documents import Document
from telemetryctl.plans.kinds import KINDS, kind_of
from telemetryctl.plans.marks import mark_of, with_mark
from telemetryctl.plans.objects import Fields, Kind, Live, Names, same

if TYPE_CHECKING:
    from telemetryctl.client.http import Client


class Action(StrEnum):
    """What is to be done with an object."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One object that is not as it should be.

    fields  what changes; at a creation all that is not so by itself, at a deletion nothing
    before  what these fields have now
    """

    action: Action
    kind: Kind
    name: str
    fields: Fields
    before: Fields = field(default_factory=dict)
    document: Document | None = None
    live: Live | None = None

    @property
    def title(self) -> str:
        """How it is called: rule/hot."""
        return f"{self.kind.word}/{self.name}"

    def shown(self) -> dict[str, Any]:
        """For programs."""
        fields = {
            name: {"before": self.before.get(name), "after": value}
            for name, value in self.fields.items()
        }
        return {
            "action": self.action.value, "kind": self.kind.word, "name": self.name,
            "fields": fields,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in the order in which they work: what others need is made first and deleted last."""

    changes: Sequence[Change]
    unchanged: int
    names: Names
    notes: Sequence[str] = ()


def make_plan(
    client: Client, documents: Iterable[Document], *, set_name: str | None, is_pruned: bool
) -> Plan:
    """Compare documents with what the server has; nothing is changed. Raises UsageFailure."""
    by_kind: dict[str, list[Document]] = {}
    for document in documents:
        by_kind.setdefault(kind_of(document.kind).word, []).append(document)
    names = Names()
    found = _live(client, _asked(by_kind, is_pruned=is_pruned), by_kind, names)
    changes: list[Change] = []
    deletions: list[Change] = []
    unchanged = 0
    for word, live in found.items():
        kind = KINDS[word]
        by_name: dict[str, list[Live]] = {}
        for one in live.values():
            by_name.setdefault(one.name, []).append(one)
        kept: set[str] = set()
        for document in _ordered(kind, by_kind.get(word, ())):
            own = _match(kind, document, by_name)
            kept |= {own.object_id} if own is not None else set()
            change = _compared(client, kind, document, own, names, set_name)
            if change is None:
                unchanged += 1
            else:
                changes.append(change)
        if is_pruned:
            deletions += _pruned(kind, live, kept, set_name)
    notes = _unmarked(by_kind) if is_pruned else ()
    return Plan([*changes, *reversed(deletions)], unchanged, names, notes)


def _asked(by_kind: Mapping[str, Any], *, is_pruned: bool) -> list[str]:
    """The kinds to read, in their order; rules name groups."""
    marked = {word for word, kind in KINDS.items() if is_pruned and kind.mark_field}
    wanted = {*by_kind, *marked} | ({"group"} if "rule" in by_kind else set())
    return [word for word in KINDS if word in wanted]


def _live(
    client: Client, words: Sequence[str], by_kind: Mapping[str, Any], names: Names
) -> dict[str, dict[str, Live]]:
    """What there is of each kind, by id."""
    found: dict[str, dict[str, Live]] = {}
    for word in words:
        try:
            rows = KINDS[word].read(client, names)
        except ServerProblem as problem:
            if problem.status != 404 or word in by_kind:
                raise problem.during(f"{KINDS[word].key} can't be read") from problem
            rows = []
        found[word] = {row.object_id: row for row in rows}
    return found


def _match(kind: Kind, document: Document, live: Mapping[str, list[Live]]) -> Live | None:
    """The object that a document is about. Raises UsageFailure when that can't be told."""
    for name in (document.name, document.was):
        own = live.get(name or "", [])
        if len(own) > 1:
            raise UsageFailure(f"there are {len(own)} {kind.key} called {name}")
        if own and (name == document.name or kind.can_rename):
            return own[0]
    if document.was is not None and not kind.can_rename:
        raise UsageFailure(f"{document.title}: a {kind.word} keeps its name; leave out `was`")
    return None


def _compared(
    client: Client,
    kind: Kind,
    document: Document,
    live: Live | None,
    names: Names,
    set_name: str | None,
) -> Change | None:
    """What has to be done for a document; None: nothing."""
    fields = kind.wanted(document, names)
    if live is None:
        if _is_over(fields):
            return None
        marked = with_mark(kind, fields, set_name)
        told = {n: v for n, v in marked.items() if not same(v, kind.defaults.get(n))}
        return Change(Action.CREATE, kind, document.name, told, document=document)
    live = kind.complete(client, live, wanted=fields)
    mark = set_name or mark_of(kind, fields) or mark_of(kind, live.fields)
    fields = with_mark(kind, fields, mark)
    new = {n: v for n, v in fields.items() if not same(v, live.fields.get(n))}
    before = {name: live.fields.get(name) for name in new}
    if live.name != document.name:
        new, before = {"name": document.name} | new, {"name": live.name} | before
    if not new:
        return None
    return Change(Action.CHANGE, kind, document.name, new, before, document, live)


def _is_over(fields: Fields) -> bool:
    """Whether it has an end that is past, so that there is nothing left to make."""
    from telemetryctl.api.model import parse_instant

    ends = fields.get("ends_at")
    return isinstance(ends, str) and parse_instant(ends) <= times.now()


def _pruned(
    kind: Kind, live: Mapping[str, Live], kept: set[str], set_name: str | None
) -> list[Change]:
    """Deletions of what is of the set and in no document, in the order of their making."""
    gone = [
        one
        for one in live.values()
        if one.object_id not in kept
        and set_name is not None
        and mark_of(kind, one.fields) == set_name
    ]
    needs = {one.name: _needed(kind, one.fields) for one in live.values()}
    gone.sort(key=lambda one: (_depth(one.name, needs), one.name))
    return [Change(Action.DELETE, kind, one.name, {}, live=one) for one in gone]


def _ordered(kind: Kind, documents: Sequence[Document]) -> list[Document]:
    """In the order of the files, but what others need before them."""
    needs = {found.name: _needed(kind, found.spec) for found in documents}
    return sorted(documents, key=lambda found: _depth(found.name, needs))


def _needed(kind: Kind, fields: Mapping[str, Any]) -> str:
    """The name of the object of the same kind that has to be there before; "" for none."""
    return str(fields.get(kind.needs_field or "") or "")


def _depth(name: str, needs: Mapping[str, str]) -> int:
    """How many others have to be there before; those that need one another count each once."""
    depth, seen = 0, {name}
    while (name := needs.get(name, "")) and name not in seen:
        seen.add(name)
        depth += 1
    return depth


def _unmarked(by_kind: Mapping[str, Any]) -> list[str]:
    return [
        f"note: {kind.key} can't carry the mark of a set, so none of them is pruned"
        for word, kind in KINDS.items()
        if kind.mark_field is None and word in by_kind
    ]
