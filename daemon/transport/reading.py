"""Query parameters that reads share: times, lists of names, durations, tags."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import Query
from pydantic import BeforeValidator, WithJsonSchema
from starlette.requests import Request

from daemon.domain.errors import Malformed
from daemon.domain.points import is_name
from daemon.service.changes import ChangesFilter
from daemon.transport.paging import tags_of
from telemetryctl.api.model import EPOCH, parse_instant

CURSOR_OR_NOTHING = "^([0-9a-z]{1,16}-[0-9]{1,18}([.][0-9]{1,9})?)?$"
NAMES_MAX = 1_000
GROUPS_MAX = 100
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,9})?")
# A plus sign that was not percent-encoded arrives as a blank.
_LOST_PLUS = re.compile(r" (\d\d:?\d\d)$")
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d|w)?")
_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DATE_TIME = {
    "type": "string",
    "format": "date-time",
    "description": "ISO 8601 with offset, or epoch seconds or milliseconds",
}


def parse_us(value: Any) -> Any:
    """Microseconds since 1970 of a time in a query. Raises ValueError for what is none."""
    if isinstance(value, str):
        text = value.strip()
        number = _NUMBER.fullmatch(text)
        value = float(text) if number else _LOST_PLUS.sub(r"+\1", text)
    instant = parse_instant(value) - EPOCH
    return (instant.days * 86_400 + instant.seconds) * 1_000_000 + instant.microseconds


def parse_duration_us(value: Any) -> Any:
    """Microseconds of `90`, `90s`, `15m`, `24h`, `7d` or `2w`. Raises ValueError for what is
    none."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("a duration is a number with s, m, h, d or w")
    return int(found[1]) * _UNIT_S[found[2] or "s"] * 1_000_000


TimeUs = Annotated[int, BeforeValidator(parse_us), WithJsonSchema(_DATE_TIME)]
DurationUs = Annotated[
    int,
    BeforeValidator(parse_duration_us),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,9}[smhdw]?$", "examples": ["24h"]}),
]
NAMES = "^[A-Za-z0-9_.:/-]{0,128}(,[A-Za-z0-9_.:/-]{0,128})*$"
_Names = Annotated[str, WithJsonSchema({"type": "string", "pattern": NAMES})]
NameList = Annotated[
    list[_Names] | None, Query(description="names separated by commas, or repeated")
]
ALL_NAMES = ["*"]
_NamesOrAll = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": NAMES.replace("^", "^([*]|").replace("$", ")$")}),
]
NameListOrAll = Annotated[
    list[_NamesOrAll] | None,
    Query(description="names separated by commas, or repeated; `*` alone asks for all"),
]
GroupNames = Annotated[
    list[str] | None,
    Query(description="groups by id or name, separated by commas, or repeated", max_length=100),
]

After = Annotated[
    str,
    Query(
        max_length=64,
        description="a cursor; empty: the oldest kept; now: what comes",
        json_schema_extra={"pattern": CURSOR_OR_NOTHING.replace("^(", "^(now|")},
    ),
]


def words_schema(words: Iterable[str], *, chars_max: int | None = None) -> WithJsonSchema:
    """The JSON schema of some of the words, separated by commas."""
    word = f"({'|'.join(words)})?"
    schema: dict[str, Any] = {"type": "string", "pattern": f"^{word}(,{word})*$"}
    return WithJsonSchema(schema | ({} if chars_max is None else {"maxLength": chars_max}))


def names_of(given: list[str] | None, *, what: str, at_most: int = NAMES_MAX) -> list[str] | None:
    """The names of a list parameter, each once; None when there are none. Raises Malformed."""
    names = list(dict.fromkeys(n for text in given or () for n in text.split(",") if n))
    if len(names) > at_most:
        raise Malformed(
            f"{what} holds {len(names)} names, more than {at_most}", code="too_many_names"
        )
    wrong = next((name for name in names if not is_name(name)), None)
    if wrong is not None:
        raise Malformed(f"{what} holds something that is no name: {wrong[:128]!r}")
    return names or None


def point_tags_of(query: list[tuple[str, str]]) -> dict[str, str]:
    """Tags from `tag.K=V` and from `tags=K=V,K=V`. Raises Malformed."""
    listed = []
    for name, text in query:
        if name == "tags":
            for pair in filter(None, text.split(",")):
                key, separator, value = pair.partition("=")
                if not key or not separator:
                    raise Malformed("tags are K=V, separated by commas")
                listed.append((f"tag.{key}", value))
    return tags_of([*query, *listed])


def zone_of(name: str | None) -> ZoneInfo | None:
    """The IANA zone of that name. Raises Malformed."""
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise Malformed("there is no such time zone", code="bad_timezone") from error


def groups_of(given: list[str] | None) -> tuple[str, ...]:
    """The ids and names of a list parameter, each once. Raises Malformed."""
    groups = tuple(dict.fromkeys(n for text in given or () for n in text.split(",") if n))
    if len(groups) > GROUPS_MAX or any(len(n) > 128 or "\0" in n for n in groups):
        raise Malformed(f"groups holds at most {GROUPS_MAX} ids or names", code="too_many_names")
    return groups


def filter_of(
    request: Request,
    device_ids: list[str] | None,
    metric_names: list[str] | None,
    groups: list[str] | None = None,
) -> ChangesFilter:
    """The filter that a request's parameters make."""
    devices = names_of(device_ids, what="device_ids")
    metrics = names_of(metric_names, what="metric_names")
    return ChangesFilter(
        None if devices is None else frozenset(devices),
        None if metrics is None else frozenset(metrics),
        point_tags_of(request.query_params.multi_items()),
        groups_of(groups),
    )
