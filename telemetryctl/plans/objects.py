"""An object of some kind, as a document wants it and as the server has it, in one form.

In that form every field of the API has its value, so that what says the same is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from telemetryctl.client.errors import ServerProblem
from telemetryctl.failures import UsageFailure
from telemetryctl.files.documents import Document

if TYPE_CHECKING:
    from pydantic import BaseModel

    from telemetryctl.client.http import Client

Fields = dict[str, Any]


@dataclass(slots=True)
class Names:
    """Groups by id and by name: documents name them, the API wants ids in some places."""

    by_id: dict[str, str] = field(default_factory=dict)

    def name_of(self, text: str) -> str:
        """The name of the group of this id; any other text as it is."""
        return self.by_id.get(text, text)

    def id_of(self, name: str) -> str:
        """The id of the group of this name; any other text as it is."""
        return next((found for found, own in self.by_id.items() if own == name), name)


@dataclass(frozen=True, slots=True)
class Live:
    """What the server has; `object_id` is what paths take."""

    object_id: str
    name: str
    fields: Fields
    shown: Mapping[str, Any]


class Kind:
    """How objects of a kind are read, compared and changed.

    left_alone   fields that stay as they are when a document leaves them out
    needs_field  names another object of the kind, which has to be there first
    mark_field   where the name of a set can stand; None: nowhere
    """

    word = ""
    collection = ""
    key = ""
    id_field = "name"
    mark_field: str | None = None
    can_rename = False
    left_alone: frozenset[str] = frozenset()
    unordered: frozenset[str] = frozenset()
    needs_field: str | None = None

    @property
    def model(self) -> type[BaseModel]:
        """The body that makes one; it is imported when it is needed."""
        raise NotImplementedError

    # -- reading ---------------------------------------------------------------------------------

    def read(self, client: Client, names: Names) -> list[Live]:
        """All that the key sees, by name."""
        rows = client.list_objects(self.collection, key=self.key)
        return [self.live(row, names) for row in rows]

    def live(self, shown: Mapping[str, Any], names: Names) -> Live:
        """One as the server shows it."""
        known = {name: shown[name] for name in self.field_names if name in shown}
        return Live(
            str(shown[self.id_field]),
            self.name_of(shown),
            self.settled(self._full(known), names),
            shown,
        )

    def name_of(self, shown: Mapping[str, Any]) -> str:
        """How documents call it."""
        return str(shown["name"])

    def complete(self, client: Client, live: Live, *, wanted: Fields | None = None) -> Live:
        """With the fields that lists don't have, as far as they are wanted (None: all)."""
        return live

    @property
    def field_names(self) -> list[str]:
        """The fields of a spec, by their names in the API."""
        found = self.model.model_fields.items()
        return [field.alias or name for name, field in found if name != "name"]

    def _full(self, known: Fields) -> Fields:
        """With the defaults of what is missing; what a newer server has may not fit ours."""
        from pydantic import ValidationError

        try:
            return self.checked(known | {"name": "name"})
        except ValidationError:
            return known

    # -- what is wanted --------------------------------------------------------------------------

    def wanted(self, document: Document, names: Names) -> Fields:
        """The fields that a document means. Raises UsageFailure for what can't be."""
        from pydantic import ValidationError

        try:
            full = self.checked(dict(document.spec) | {"name": document.name})
        except ValidationError as error:
            said = [
                f"{'.'.join(map(str, found['loc'])) or 'spec'}: {found['msg']}"
                for found in error.errors(include_url=False, include_input=False)
            ]
            what = f"{document.title} in {document.where} is not possible"
            raise UsageFailure(what, why="\n".join(said[:5])) from error
        return {
            name: value
            for name, value in self.settled(full, names).items()
            if name in document.spec or name not in self.left_alone
        }

    def checked(self, fields: Fields) -> Fields:
        """All fields, as the model reads them, without the name. Raises ValidationError."""
        full = self.model.model_validate(fields).model_dump(mode="json", by_alias=True)
        full.pop("name", None)
        return full

    def settled(self, fields: Fields, names: Names) -> Fields:
        """What says the same in the same words."""
        return {
            name: _plain(_sorted(value) if name in self.unordered else _without_nothing(value))
            for name, value in fields.items()
        }

    # -- changing --------------------------------------------------------------------------------

    def wire(self, fields: Fields, names: Names) -> Fields:
        """The fields as requests have them."""
        return fields

    def creation(self, document: Document, fields: Fields) -> Fields:
        """What a new one has beside those fields."""
        return {"name": document.name}

    def create(self, client: Client, body: Fields, *, is_forced: bool = False) -> Mapping[str, Any]:
        """Make it."""
        return client.create_object(self.collection, body=body)

    def change(
        self, client: Client, live: Live, changes: Fields, *, is_forced: bool = False
    ) -> Mapping[str, Any]:
        """Change these fields of it."""
        return client.patch_object(self.collection, live.object_id, changes=changes)

    def delete(self, client: Client, live: Live) -> None:
        """Remove it; one that is gone already is as it should be."""
        try:
            client.delete_object(self.collection, live.object_id)
        except ServerProblem as problem:
            if problem.status != 404:
                raise

    # -- writing down ----------------------------------------------------------------------------

    def document(self, live: Live) -> dict[str, Any]:
        """The document of it, without what is so by itself; what has to be said stands first."""
        said = {
            name: value
            for name, value in live.fields.items()
            if name not in self.defaults or not same(value, self.defaults[name])
        }
        order = sorted(said, key=lambda name: name in self.defaults)
        spec = {name: said[name] for name in order}
        return {"kind": self.word, "name": live.name, "spec": spec}

    @cached_property
    def defaults(self) -> Fields:
        """What fields have that nobody sets; those that one has to set are absent."""
        from pydantic_core import PydanticUndefined, to_jsonable_python

        found: Fields = {}
        for name, info in self.model.model_fields.items():
            default = info.get_default(call_default_factory=True)
            if default is not PydanticUndefined:
                found[info.alias or name] = to_jsonable_python(default)
        return found


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; 1 is 1.0, but no truth value."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _sorted(value: Any) -> Any:
    return sorted(set(value)) if isinstance(value, list) else value


def _without_nothing(value: Any) -> Any:
    """Inside an object, null is as good as absent."""
    if not isinstance(value, dict):
        return value
    return {name: inner for name, inner in value.items() if inner is not None}


def _plain(value: Any) -> Any:
    """Whole numbers without a point, as the server shows them."""
    match value:
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case dict():
            return {name: _plain(inner) for name, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
    return value
