"""The bytes of an answer that went well; those of errors are made in transport/problems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from daemon.domain.list_cursors import list_cursor

# Dataclasses and UTC datetimes go out as they are: `Z`, with microseconds only when there are any
# (contract 1).
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC | orjson.OPT_SERIALIZE_NUMPY


class JsonAnswer(Response):
    """A JSON body; `next_offset` is where the next page of a list begins, None after the last."""

    media_type = "application/json"
    next_offset: int | None = None


def to_json(value: Any) -> bytes:
    """JSON of dicts, lists, dataclasses, datetimes and numpy arrays."""
    return orjson.dumps(value, option=_OPTIONS)


def json_answer(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with a JSON body; not to be stored by caches unless `headers` say so.

    A page of a list gets its `next_cursor`, null on the last.
    """
    next_offset: int | None = None
    if isinstance(value, Mapping) and "offset" in value and "total" in value:
        end = value["offset"] + value["count"]
        next_offset = end if value["count"] and end < value["total"] else None
        value = {**value, "next_cursor": None if next_offset is None else list_cursor(next_offset)}
    answer = JsonAnswer(to_json(value), status, {"Cache-Control": "no-store", **(headers or {})})
    answer.next_offset = next_offset
    return answer
