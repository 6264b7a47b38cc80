"""YAML as version 1.2 reads it: `on`, `no` and dates are texts, and a key stands once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

# The core schema of YAML 1.2.2, section 10.3.2; PyYAML's own is that of 1.1.
_RESOLVERS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
)


class NotYaml(Exception):
    """The text is no YAML; the message says where."""


class _Loader(yaml.SafeLoader):
    """Reads plain data only."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice: the first would be lost without a word."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = [key for key in keys if isinstance(key, str) and keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f'"{twice[0]}" stands twice', node.start_mark
            )
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what either version would take for something else than text."""


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text, 10)


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node))


for _tag, _pattern, _first in _RESOLVERS:
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}",
            re.compile(f"(?:{_pattern})$"),
            ["" if letter == "\0" else letter for letter in _first],
        )
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _decimal)


def load_all(text: str) -> Iterator[Any]:
    """Return the documents of a text. Raises NotYaml."""
    try:
        yield from yaml.load_all(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotYaml(_reason(error)) from error


def _reason(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or str(error) or type(error).__name__
    return str(said) if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {said}"


def dump_all(documents: Iterable[Any], *, is_ascii: bool = False) -> str:
    """Return documents that readers of either version of YAML read alike."""
    return "".join(_dumped(document, is_readable=not is_ascii) for document in documents)


def _dumped(document: Any, *, is_readable: bool) -> str:
    text = _written(document, is_readable=is_readable)
    # PyYAML folds U+0085 away when it writes it as it is.
    return text if list(load_all(text)) == [document] else _written(document, is_readable=False)


def _written(document: Any, *, is_readable: bool) -> str:
    text: str = yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=is_readable,
        explicit_start=True,
        width=100,
    )
    return text
