"""Query parameters that lists share."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Query
from starlette.requests import Request

from daemon.domain.errors import Malformed
from daemon.domain.list_cursors import ROW_MAX, row_of

LIMIT_MAX = 1_000
TAG_FILTERS_MAX = 32

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX)]


def offset_of(
    request: Request,
    offset: Annotated[int, Query(ge=0, le=ROW_MAX)] = 0,
    cursor: Annotated[
        str | None,
        Query(
            description="`next_cursor` of the page before",
            json_schema_extra={"format": "list-cursor"},
        ),
    ] = None,
) -> int:
    """Where the page begins: at `offset`, or where the page before said. Raises Malformed."""
    if cursor is None:
        return offset
    if "offset" in request.query_params:
        raise Malformed("a page begins at an offset or at a cursor, not at both", code="two_places")
    return row_of(cursor)


# What a route writes behind it is not read: the default is that of `offset_of`.
Offset = Annotated[int, Depends(offset_of)]
# PostgreSQL text can't hold NUL, so it never gets there.
Text = Annotated[str, Query(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]


def link_to_next(request: Request, next_offset: int) -> str:
    """The value of `Link` (RFC 8288): the same list, further on.

    It is relative to the address of the request, which a proxy may have changed on its way.
    """
    places = ("offset", "cursor")
    asked = [pair for pair in request.query_params.multi_items() if pair[0] not in places]
    return f'<?{urlencode([*asked, ("offset", next_offset)])}>; rel="next"'


def tags_of(query: list[tuple[str, str]]) -> dict[str, str]:
    """The tags of `tag.K=V` parameters. Raises Malformed."""
    tags = {name[4:]: value for name, value in query if name.startswith("tag.")}
    if len(tags) > TAG_FILTERS_MAX:
        raise Malformed(f"at most {TAG_FILTERS_MAX} tags can be asked for at once")
    if any("\0" in text or len(text) > 256 for pair in tags.items() for text in pair):
        raise Malformed("a tag is longer than 256 characters or holds NUL")
    return tags
