"""What the columns of a file mean: the `--map` syntax, and rows turned into points by it.

One item is TARGET=SOURCE[:UNIT]; several are separated by commas outside brackets and quotes.

    timestamp=COLUMN  device=COLUMN  metric=COLUMN  value=COLUMN  unit=COLUMN
    tags=COLUMN       a JSON object of tags; metadata=COLUMN likewise
    tags.KEY=COLUMN   a tag of every point of the row
    NAME=SOURCE       a metric called NAME, one point a row (metrics.NAME when NAME is a word above)

SOURCE is COLUMN (read as a number, true, false, JSON, else text), num(COLUMN), str(COLUMN),
bool(COLUMN), json(COLUMN) or geo(LAT,LON[,ALT[,ACCURACY]]). A column whose name holds one of
`,:=()` goes in "double quotes".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

from telemetryctl.files.points import Tags

KINDS = ("num", "str", "bool", "json", "geo")
# Names a column may have to be taken without being mapped, in order of preference.
USUAL_NAMES = {
    "timestamp": ("timestamp", "time"),
    "device": ("device_id", "device"),
    "metric": ("metric_name", "metric"),
    "value": ("value",),
    "unit": ("unit",),
    "tags": ("tags",),
    "metadata": ("metadata",),
}
ALIASES = {name: target for target, names in USUAL_NAMES.items() for name in names}
_COLUMN = r'"[^"]+"|[^",()=:]+'
_SOURCE = re.compile(
    rf"(?:(?P<kind>{'|'.join(KINDS)})\((?P<inner>(?:{_COLUMN})(?:,(?:{_COLUMN}))*)\)|(?P<column>{_COLUMN}))"
    r"(?::(?P<unit>[^,]+))?"
)
_ITEM = re.compile(r'(?:"[^"]*"|\((?:"[^"]*"|[^()"])*\)|[^,"()])+')


class BadMapping(ValueError):
    """The mapping is misspelt, or names a column that the file lacks."""


@dataclass(frozen=True, slots=True)
class Source:
    """The columns a value comes from, how they are read (`auto` or one of KINDS), and its unit."""

    columns: tuple[str, ...]
    kind: str = "auto"
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Mapping:
    """A parsed `--map`: `roles` by target (timestamp, device, …), `metrics` and `tags` by name."""

    roles: dict[str, Source] = field(default_factory=dict)
    metrics: dict[str, Source] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Constants:
    """What every row of a file shares: from flags, or from the file's name."""

    device: str | None = None
    metric: str | None = None
    unit: str | None = None
    tags: Tags = ()
    zone: tzinfo | None = None


def parse_mapping(texts: Sequence[str]) -> Mapping:
    """Read all `--map` values together. Raises BadMapping naming the item that is wrong."""
    mapping = Mapping()
    for text in texts:
        items = _ITEM.findall(text)
        if ",".join(items) != text:
            raise BadMapping(f"{text!r} is not TARGET=SOURCE[,TARGET=SOURCE…]")
        for item in items:
            _add_item(mapping, item.strip())
    if mapping.metrics and "value" in mapping.roles:
        raise BadMapping("map either value=… or metrics by name, not both")
    return mapping


def _add_item(mapping: Mapping, item: str) -> None:
    target, equals, text = (part.strip() for part in item.partition("="))
    if not (target and equals and text):
        raise BadMapping(f"{item!r} is not TARGET=SOURCE")
    source = _parse_source(text, item)
    if target.startswith("tags."):
        if source.kind not in ("auto", "str") or source.unit:
            raise BadMapping(f"{item!r}: a tag is a plain column")
        known: dict[str, str] | dict[str, Source] = mapping.tags
        mapping.tags[_new(target.removeprefix("tags."), known, item)] = source.columns[0]
    elif target in ALIASES:
        if source.kind == "geo" and ALIASES[target] != "value":
            raise BadMapping(f"{item!r}: geo(…) is a value")
        mapping.roles[_new(ALIASES[target], mapping.roles, item)] = source
    else:
        name = target.removeprefix("metrics.")
        mapping.metrics[_new(name, mapping.metrics, item)] = source


def _new(name: str, known: dict[str, str] | dict[str, Source], item: str) -> str:
    if not name or name in known:
        raise BadMapping(f"{item!r}: {name or 'an empty name'} is mapped twice" if name else item)
    return name


def _parse_source(text: str, item: str) -> Source:
    match = _SOURCE.fullmatch(text)
    if match is None:
        raise BadMapping(f"{item!r}: {text!r} is neither a column nor one of {', '.join(KINDS)}(…)")
    kind, inner = match["kind"] or "auto", match["inner"] or match["column"]
    columns = tuple(name.strip().strip('"') for name in re.findall(_COLUMN, inner))
    if not (2 <= len(columns) <= 4 if kind == "geo" else len(columns) == 1):
        count = "2 to 4 columns" if kind == "geo" else "one column"
        raise BadMapping(f"{item!r}: {kind} takes {count}")
    return Source(columns, kind, match["unit"])
