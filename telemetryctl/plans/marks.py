"""The mark of a set: which objects `apply --prune --set NAME` may delete.

It stands where the API has room: in the tags of a rule, in the metadata of metrics and groups.
"""

from __future__ import annotations

import re

from telemetryctl.failures import UsageFailure
from telemetryctl.plans.objects import Fields, Kind

KEY = "apply_set"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,48}")


def check_set(name: str) -> str:
    """Return the name of a set. Raises UsageFailure."""
    if not _NAME.fullmatch(name):
        raise UsageFailure(
            f'"{name}" is no name of a set', hint="1 to 48 letters, digits, _ . and -"
        )
    return name


def mark_of(kind: Kind, fields: Fields) -> str | None:
    """The set that the object is of."""
    held = fields.get(kind.mark_field or "")
    if isinstance(held, dict):
        return None if held.get(KEY) is None else str(held[KEY])
    marks = [tag for tag in held or () if tag.startswith(f"{KEY}:")]
    return marks[0].partition(":")[2] if marks else None


def with_mark(kind: Kind, fields: Fields, name: str | None) -> Fields:
    """The fields with the mark of this set, or as they are where there is no room or no set."""
    if kind.mark_field is None or name is None:
        return fields
    held = fields.get(kind.mark_field)
    if isinstance(held, dict):
        return fields | {kind.mark_field: held | {KEY: name}}
    others = [tag for tag in held or () if not tag.startswith(f"{KEY}:")]
    return fields | {kind.mark_field: [*others, f"{KEY}:{name}"]}
