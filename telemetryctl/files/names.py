"""What a file's name says about its rows. What its columns say is binding's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from telemetryctl.files.mapping import USUAL_NAMES, BadMapping, Constants, Mapping

ENDINGS = (".gz", ".csv", ".tsv", ".jsonl", ".ndjson")


def names_in(pattern: str, stem: str) -> dict[str, str]:
    """What a file's name says, by a pattern such as `{metric}_{device}`; the first part is greedy.

    Raises BadMapping when the pattern has other words than device and metric or doesn't fit.
    """
    parts = re.split(r"(\{[^{}]*\})", pattern)
    expression = ""
    for part in parts:
        if part.startswith("{"):
            if part not in ("{device}", "{metric}") or f"(?P<{part[1:-1]}>" in expression:
                raise BadMapping(f"{pattern!r}: only {{device}} and {{metric}}, once each")
            expression += f"(?P<{part[1:-1]}>.+)"
        else:
            expression += re.escape(part)
    match = re.fullmatch(expression, stem)
    if match is None:
        raise BadMapping(f"the file's name {stem!r} doesn't fit {pattern!r}")
    return match.groupdict()


def stem_of(name: str) -> str:
    """The file's name without folders and endings: `data/cpu_24ae8d.csv.gz` gives `cpu_24ae8d`."""
    base = name.rsplit("/", 1)[-1]
    for ending in ENDINGS:
        base = base.removesuffix(ending)
    return base


def constants_of(name: str, given: Constants, *, pattern: str | None) -> Constants:
    """What every row of this file shares: the flags, else what the pattern finds in the name."""
    named = names_in(pattern, stem_of(name)) if pattern else {}
    return replace(
        given,
        device=given.device or named.get("device"),
        metric=given.metric or named.get("metric"),
    )


def fallback_constants(
    name: str, constants: Constants, mapping: Mapping, *, columns: Sequence[str]
) -> Constants:
    """With no other word on it, the device is the file's name and the metric the value's column."""
    has_device = "device" in mapping.roles or any(n in columns for n in USUAL_NAMES["device"])
    has_metric = "metric" in mapping.roles or any(n in columns for n in USUAL_NAMES["metric"])
    source = mapping.roles.get("value")
    column = source.columns[0] if source else "value"
    return replace(
        constants,
        device=constants.device or (None if has_device else stem_of(name)),
        metric=constants.metric or (None if has_metric else column),
    )
