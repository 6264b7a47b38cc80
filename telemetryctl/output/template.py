"""A line of one's own making: a Python format string over the fields of a point, and nothing else.

Attributes and indexes are refused: `{device_id.__class__}` would read what is no data. A dot looks
inside `tags`, `metadata` and `value` as `--fields` does.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Any

from telemetryctl.failures import UsageFailure
from telemetryctl.output.cells import cell_text, lookup

FIELDS = ("timestamp", "device_id", "metric_name", "value", "unit", "tags", "metadata")
_INSIDE = ("tags.", "metadata.", "value.")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\"}
_HINT = "such as '{timestamp} {device_id} {value:.1f}{unit} {tags.room}'"


def parse_template(text: str) -> Callable[[Mapping[str, Any]], str]:
    """The function that writes a point. Raises UsageFailure for what is no such template."""
    formatter = _Formatter()
    text = _unescaped(text)
    try:
        for name in _names_of(text):
            _check(name)
    except ValueError as error:
        raise UsageFailure(f"the template can't be read: {error}", hint=_HINT) from error
    return lambda point: formatter.vformat(text, (), point)


def _names_of(text: str) -> list[str]:
    """The names between the braces, also of braces within formats."""
    names = []
    for _, name, form, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if conversion not in (None, "r", "s", "a"):
            raise ValueError(f"!{conversion} is no conversion")
        names += [name, *_names_of(form or "")]
    return names


def _check(name: str) -> None:
    is_inside = name.startswith(_INSIDE) and "[" not in name and "__" not in name
    if name not in FIELDS and not is_inside:
        raise ValueError(f"{{{name}}} is none of {', '.join(FIELDS)}")


def _unescaped(text: str) -> str:
    """Take \\t, \\n, \\0 and \\\\ for what they mean, as a shell's quotes keep them as they are."""
    parts, rest = [], iter(text)
    for character in rest:
        if character != "\\":
            parts.append(character)
            continue
        following = next(rest, "")
        parts.append(_ESCAPES.get(following, "\\" + following))
    return "".join(parts)


class _Formatter(string.Formatter):
    """Looks names up in the point only, and writes a value as text where its format doesn't fit."""

    def get_field(self, field_name: str, _args: Any, kwargs: Any) -> Any:
        return lookup(kwargs, field_name), field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        plain = value if isinstance(value, int | float | str) else cell_text(value)
        if isinstance(plain, bool) or not format_spec:
            plain = cell_text(value)
        try:
            return format(plain, format_spec)
        except (ValueError, TypeError):
            # A metric may send text and numbers; what can't be rounded is shown as it is.
            return cell_text(value)
