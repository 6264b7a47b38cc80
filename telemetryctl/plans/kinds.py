"""The kinds that documents may have, in the order in which they are made.

A further kind is a class and a line of the table at the end.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from telemetryctl.failures import UsageFailure
from telemetryctl.files.documents import Document
from telemetryctl.plans.objects import Fields, Kind, Live, Names

if TYPE_CHECKING:
    from pydantic import BaseModel

    from telemetryctl.client.http import Client


class MetricKind(Kind):
    """Definitions of metrics."""

    word, collection, key = "metric", "/metrics", "metrics"
    mark_field = "metadata"

    @property
    def model(self) -> type[BaseModel]:
        from telemetryctl.api.metrics import MetricCreate

        return MetricCreate


class GroupKind(Kind):
    """Groups. `parent_id` may be a name; members stay as they are when a document names none."""

    word, collection, key, id_field = "group", "/groups", "groups", "group_id"
    mark_field = "metadata"
    can_rename = True
    needs_field = "parent_id"
    left_alone = unordered = frozenset({"device_ids"})

    @property
    def model(self) -> type[BaseModel]:
        from telemetryctl.api.groups import GroupCreate

        return GroupCreate

    def read(self, client: Client, names: Names) -> list[Live]:
        """All groups; their names are known from then on."""
        rows = client.list_objects(self.collection, key=self.key)
        names.by_id |= {row["group_id"]: row["name"] for row in rows}
        return [self.live(row, names) for row in rows]

    def checked(self, fields: Fields) -> Fields:
        """The model knows parents by id only."""
        parent = fields.get("parent_id")
        is_text = parent is None or (isinstance(parent, str) and parent)
        rest = {n: v for n, v in fields.items() if n != "parent_id" or not is_text}
        return super().checked(rest) | {"parent_id": parent}

    def settled(self, fields: Fields, names: Names) -> Fields:
        parent = fields.get("parent_id")
        named = None if parent is None else names.name_of(parent)
        return super().settled(fields, names) | {"parent_id": named}

    def complete(self, client: Client, live: Live, *, wanted: Fields | None = None) -> Live:
        """Members are asked for one group at a time, so only where somebody named some."""
        if wanted is not None and "device_ids" not in wanted:
            kept = {n: v for n, v in live.fields.items() if n != "device_ids"}
            return replace(live, fields=kept)
        path = f"{self.collection}/{live.object_id}/devices"
        rows = client.list_objects(path, key="devices", direct="true")
        members = sorted(str(row["device_id"]) for row in rows)
        return replace(live, fields=live.fields | {"device_ids": members})

    def wire(self, fields: Fields, names: Names) -> Fields:
        parent = fields.get("parent_id")
        return fields if parent is None else fields | {"parent_id": names.id_of(parent)}


class ChannelKind(Kind):
    """Channels. A secret is `{env: NAME}` or `{file: PATH}`, and goes out at creation only."""

    word, collection, key = "channel", "/channels", "channels"
    needs_field = "fallback"
    left_alone = frozenset({"port", "tls"})
    secret_of: Mapping[str, str] = {
        "webhook": "secret", "slack": "url", "email": "password", "alertmanager": "password",
        "apprise": "url",
    }  # fmt: skip

    @property
    def model(self) -> type[BaseModel]:
        from telemetryctl.api.channels import ChannelCreate

        return ChannelCreate

    def checked(self, fields: Fields) -> Fields:
        """Without the secret, which nobody can compare."""
        secret = self.secret_of.get(str(fields.get("kind")))
        full = super().checked({n: v for n, v in fields.items() if n != secret})
        return {name: value for name, value in full.items() if name != secret}

    def settled(self, fields: Fields, names: Names) -> Fields:
        found = super().settled(fields, names)
        if isinstance(found.get("to"), str):
            found["to"] = [found["to"]]
        return found

    def creation(self, document: Document, fields: Fields) -> Fields:
        secret = self.secret_of.get(str(document.spec.get("kind")))
        given = document.spec.get(secret or "")
        own = {} if given is None or secret is None else {secret: _secret(given, document)}
        return {"name": document.name} | own


class RuleKind(Kind):
    """Alert rules."""

    word, collection, key, id_field = "rule", "/alerts/rules", "rules", "rule_id"
    mark_field = "tags"
    can_rename = True
    unordered = frozenset({"device_ids", "device_groups", "notification_channels"})

    @property
    def model(self) -> type[BaseModel]:
        from telemetryctl.api.rules import RuleCreate

        return RuleCreate

    def settled(self, fields: Fields, names: Names) -> Fields:
        found = super().settled(fields, names)
        if found.get("expected_interval") == "auto":
            found["expected_interval"] = None
        groups = found.get("device_groups") or []
        found["device_groups"] = sorted({names.name_of(text) for text in groups})
        return found

    def create(self, client: Client, body: Fields, *, is_forced: bool = False) -> Mapping[str, Any]:
        return client.create_rule(body, is_strict=not is_forced)

    def change(
        self, client: Client, live: Live, changes: Fields, *, is_forced: bool = False
    ) -> Mapping[str, Any]:
        return client.patch_rule(live.object_id, changes=changes, is_strict=not is_forced)


class SilenceKind(Kind):
    """Silences that are not over. Their name is their comment, as they have no other."""

    word, collection, key, id_field = "silence", "/silences", "silences", "silence_id"
    left_alone = frozenset({"starts_at"})

    @property
    def model(self) -> type[BaseModel]:
        from telemetryctl.api.silences import SilenceCreate

        return SilenceCreate

    def name_of(self, shown: Mapping[str, Any]) -> str:
        return str(shown["comment"])

    def checked(self, fields: Fields) -> Fields:
        """`comment` is the name, and no field of a spec."""
        known = {name: value for name, value in fields.items() if name != "name"}
        full = super().checked(known)
        return {name: value for name, value in full.items() if name != "comment"}

    def creation(self, document: Document, fields: Fields) -> Fields:
        return {"comment": document.name}


KINDS: Mapping[str, Kind] = {
    kind.word: kind
    for kind in (MetricKind(), GroupKind(), ChannelKind(), RuleKind(), SilenceKind())
}


def kind_of(word: str) -> Kind:
    """The kind of this word, which may be a plural. Raises UsageFailure."""
    found = KINDS.get(word.lower()) or KINDS.get(word.lower().removesuffix("s"))
    if found is None:
        raise UsageFailure(f'there is no kind "{word}"', hint=", ".join(KINDS))
    return found


def _secret(given: Any, document: Document) -> str:
    """The text of a secret. Raises UsageFailure, without it."""
    match given:
        case str():
            return given
        case {"env": str(name), **rest} if not rest:
            if (value := os.environ.get(name)) is None:
                raise UsageFailure(f"{document.title}: the environment has no {name}")
            return value
        case {"file": str(path), **rest} if not rest:
            try:
                return Path(path).expanduser().read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageFailure(f"{document.title}: {path} can't be read") from error
    raise UsageFailure(f"{document.title}: a secret is a text, {{env: NAME}} or {{file: PATH}}")
