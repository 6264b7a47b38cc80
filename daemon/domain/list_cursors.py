"""A place in the pages of a list: how many rows come before it. Opaque to clients."""

from __future__ import annotations

import base64
import binascii
import re

from daemon.domain.errors import Malformed

_ROW = re.compile(rb"row ([0-9]{1,10})")
ROW_MAX = 2**31 - 1
TEXT_CHARS_MAX = 32


def list_cursor(row: int) -> str:
    """The cursor of the page that begins at this row, counted from 0."""
    return base64.urlsafe_b64encode(b"row %d" % row).decode().rstrip("=")


def row_of(cursor: str) -> int:
    """Where a cursor's page begins. Raises Malformed when the text is none of ours."""
    try:
        if len(cursor) > TEXT_CHARS_MAX:
            raise ValueError
        padded = cursor + "=" * (-len(cursor) % 4)
        found = _ROW.fullmatch(base64.b64decode(padded, altchars=b"-_", validate=True))
        # Each place has one text.
        if found is None or list_cursor(int(found[1])) != cursor or int(found[1]) > ROW_MAX:
            raise ValueError
        return int(found[1])
    except (ValueError, binascii.Error) as error:
        raise Malformed("the cursor is not one of ours", code="bad_cursor") from error
