"""Glob patterns over ids (`*` any text, `?` one character).

As SQL, and whether one covers another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

_LIKE = str.maketrans({"*": "%", "?": "_", "%": r"\%", "_": r"\_", "\\": r"\\"})
# The characters of ids and the two wildcards; `[` would be a set to fnmatch.
_PATTERN = re.compile(r"[A-Za-z0-9_.:/*?-]{1,128}")


def is_pattern(text: str) -> bool:
    """Whether the text can be a pattern over ids."""
    return _PATTERN.fullmatch(text) is not None


def as_like(patterns: Sequence[str] | None) -> list[str] | None:
    """The patterns for `LIKE ANY`; None, which means everything, stays None."""
    return None if patterns is None else [pattern.translate(_LIKE) for pattern in patterns]


@lru_cache(maxsize=4096)
def covers(wide: str, narrow: str) -> bool:
    """Whether every id that `narrow` matches is matched by `wide` too.

    The wildcards of `narrow` are read as letters that only a wildcard of `wide` accepts: `*` takes
    all of them,
    `?` only a `?`. May say False for patterns that are equal in another spelling (`*?` and `?*`),
    never a wrong True.
    """
    reachable = _closed({0}, wide)
    for letter in narrow:
        moved = set()
        for at in reachable:
            if at == len(wide):
                continue
            if wide[at] == "*":
                moved.add(at)
            elif wide[at] == letter or (wide[at] == "?" and letter != "*"):
                moved.add(at + 1)
        reachable = _closed(moved, wide)
    return len(wide) in reachable


def _closed(places: set[int], wide: str) -> set[int]:
    """Also the places behind stars, which may take nothing."""
    for at in list(places):
        while at < len(wide) and wide[at] == "*":
            at += 1
            places.add(at)
    return places


def all_covered(wide: Sequence[str] | None, narrow: Sequence[str] | None) -> bool:
    """Whether `narrow` allows nothing that `wide` does not; None allows everything."""
    if wide is None:
        return True
    if narrow is None:
        return False
    return all(any(covers(w, n) for w in wide) for n in narrow)
