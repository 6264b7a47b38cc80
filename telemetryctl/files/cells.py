"""The value a cell holds, by the kind the mapping gives its column. An empty cell is no value."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import isfinite

from telemetryctl.files.points import Json, Value

INTEGER_MAX = 2**53  # contract section 2: larger ones are not exact as a double


class BadCell(ValueError):
    """A cell doesn't hold what the mapping says; `code` is the contract's."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def auto_value(cell: Json) -> Value | None:
    """A cell as JSON would type it; bare words are text. None for an empty cell.

    Digits that begin with 0 (`007`) stay text, as they are an identifier more often than a number.
    """
    if not isinstance(cell, str):
        return _checked(cell)
    try:
        number = float(cell)
    except ValueError:
        return _word(cell)
    if "_" in cell or (cell[0] == "0" and len(cell) > 1 and cell.isdigit()):
        return cell
    return _finite(cell, number)


def _finite(cell: str, number: float) -> Value:
    if not isfinite(number):
        raise BadCell("not_finite", f"{cell[:80]!r} is not a finite number")
    if not cell.strip("+- ").isdigit():
        return number
    whole = int(cell)
    if abs(whole) > INTEGER_MAX:
        raise BadCell("bad_value", f"{cell[:80]!r} is beyond 2^53; str(…) keeps it as text")
    return whole


def _word(cell: str) -> Value | None:
    text = cell.strip()
    if not text:
        return None
    if text in ("true", "false"):
        return text == "true"
    if text[0] in "{[":
        try:
            return _checked(json.loads(text))
        except (ValueError, RecursionError):
            return cell
    return cell


def _checked(cell: Json) -> Value | None:
    if isinstance(cell, float) and not isfinite(cell):
        raise BadCell("not_finite", f"{cell!r} is not a finite number")
    if isinstance(cell, int) and abs(cell) > INTEGER_MAX:
        raise BadCell("bad_value", f"{cell!r} is beyond 2^53; str(…) keeps it as text")
    return cell


def number_value(cell: Json) -> Value | None:
    """A number, or BadCell."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(cell, (str, int, float)) and not isinstance(cell, bool):
        try:
            return _finite(cell, float(cell)) if isinstance(cell, str) else _checked(cell)
        except BadCell:
            raise
        except ValueError:
            pass
    raise BadCell("bad_value", f"{str(cell)[:80]!r} is not a number")


def text_value(cell: Json) -> Value | None:
    """The cell as it stands; None for an empty one."""
    if cell is None or cell == "":
        return None
    return cell if isinstance(cell, str) else json.dumps(cell)


TRUE_WORDS = frozenset({"true", "t", "yes", "on", "1"})
FALSE_WORDS = frozenset({"false", "f", "no", "off", "0"})


def bool_value(cell: Json) -> Value | None:
    """True or false by the usual words, or BadCell."""
    word = str(cell).strip().lower() if cell is not None else ""
    if not word:
        return None
    if word in TRUE_WORDS or word in FALSE_WORDS:
        return word in TRUE_WORDS
    raise BadCell("bad_value", f"{str(cell)[:80]!r} is neither true nor false")


def json_value(cell: Json) -> Value | None:
    """The JSON a cell spells, or BadCell."""
    if not isinstance(cell, str):
        return _checked(cell)
    if not cell.strip():
        return None
    try:
        value: Value | None = json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise BadCell("bad_value", f"{cell[:80]!r} is not JSON") from error
    return value


GEO_KEYS = ("lat", "lon", "alt", "accuracy")


def geo_value(cells: Sequence[Json]) -> Value | None:
    """A position; None when latitude or longitude is empty. Bounds are the server's to check."""
    place: dict[str, Json] = {}
    for key, cell in zip(GEO_KEYS, cells, strict=False):
        number = number_value(cell)
        if number is None and key in ("lat", "lon"):
            return None
        if number is not None:
            place[key] = float(number) if isinstance(number, (int, float)) else None
    return place


def typed_value(cell: Json) -> Value | None:
    """A value of a JSON file as it is: `"5"` is text there."""
    return _checked(cell)


READERS: dict[str, Callable[[Json], Value | None]] = {
    "auto": auto_value,
    "typed": typed_value,
    "num": number_value,
    "str": text_value,
    "bool": bool_value,
    "json": json_value,
}
