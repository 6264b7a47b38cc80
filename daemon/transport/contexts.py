"""Unit, tags and metadata of points: checked once per distinct text, kept as canonical JSON."""

from __future__ import annotations

from typing import Any

import msgspec

CONTEXT_CACHE_MAX = 20_000
"""Over it the cache starts anew."""
CACHED_CHARACTERS_MAX = 512
"""Longer texts are checked each time: the cache is bounded in bytes, too."""
UNIT_CHARACTERS_MAX = 64
UNITS_SEEN_MAX = 64
TAGS_MAX = 32
TAG_NAME_CHARACTERS_MAX = 64
TAG_VALUE_CHARACTERS_MAX = 256
METADATA_BYTES_MAX = 65_536
DEPTH_MAX = 16

Key = tuple[str | None, bytes, bytes]
"""Unit, and the raw JSON of tags and metadata (empty when absent)."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode
_cache: dict[Key, bytes | str | None] = {}
# The first units that came alone, as a dictionary for its order; a decoder is made for them.
_units: dict[str, None] = {"": None}


class BadContext(ValueError):
    """The unit, tags or metadata of a point can't be stored; the text says why."""


def context_of(key: Key) -> bytes | None:
    """Canonical JSON of the context, or None when it is empty. Raises BadContext."""
    if len(key[0] or "") + len(key[1]) + len(key[2]) > CACHED_CHARACTERS_MAX:
        found = _build(key)
    elif (found := _cache.get(key, "")) == "":
        if len(_cache) >= CONTEXT_CACHE_MAX:
            _cache.clear()
        found = _cache[key] = _build(key)
    if isinstance(found, str):
        raise BadContext(found)
    return found


def units_seen() -> tuple[str, ...]:
    """The units that points have had, at most UNITS_SEEN_MAX; never empty."""
    return tuple(_units)


def _build(key: Key) -> bytes | str | None:
    """The canonical text; None for an empty context; a string says what is wrong."""
    unit, raw_tags, raw_metadata = key
    try:
        tags = _decode(raw_tags) if raw_tags else None
        metadata = _decode(raw_metadata) if raw_metadata else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "tags and metadata must be JSON objects"
    wrong = _wrong_unit(unit) or _wrong_tags(tags) or _wrong_metadata(metadata, len(raw_metadata))
    if wrong:
        return wrong
    if unit and len(_units) < UNITS_SEEN_MAX:
        _units[unit] = None
    parts = {"unit": unit, "tags": tags, "metadata": metadata}
    context = {name: part for name, part in parts.items() if part}
    return _encode(context) if context else None


def _wrong_unit(unit: str | None) -> str | None:
    if unit is None:
        return None
    if len(unit) > UNIT_CHARACTERS_MAX:
        return f"unit is longer than {UNIT_CHARACTERS_MAX} characters"
    return "unit holds a NUL character" if "\0" in unit else None


def _wrong_tags(tags: Any) -> str | None:
    if tags is None:
        return None
    if not isinstance(tags, dict) or not all(isinstance(v, str) for v in tags.values()):
        return "tags must be an object of strings"
    if len(tags) > TAGS_MAX:
        return f"there are more than {TAGS_MAX} tags"
    for name, value in tags.items():
        if not 1 <= len(name) <= TAG_NAME_CHARACTERS_MAX:
            return f"a tag's name is 1 to {TAG_NAME_CHARACTERS_MAX} characters"
        if len(value) > TAG_VALUE_CHARACTERS_MAX:
            return f"a tag's value is longer than {TAG_VALUE_CHARACTERS_MAX} characters"
    return "tags hold a NUL character" if not is_storable(tags) else None


def _wrong_metadata(metadata: Any, size_bytes: int) -> str | None:
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        return "metadata must be an object"
    if size_bytes > METADATA_BYTES_MAX:
        return f"metadata is larger than {METADATA_BYTES_MAX} bytes"
    if not is_storable(metadata):
        return f"metadata holds a NUL character or is nested deeper than {DEPTH_MAX}"
    return None


def is_storable(value: Any, *, depth: int = 1) -> bool:
    """Whether PostgreSQL's jsonb takes the value: no NUL in any text, nested at most DEPTH_MAX."""
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, dict):
        if depth > DEPTH_MAX:
            return False
        return all("\0" not in k and is_storable(v, depth=depth + 1) for k, v in value.items())
    if isinstance(value, list):
        return depth <= DEPTH_MAX and all(is_storable(v, depth=depth + 1) for v in value)
    return True
