"""Documents that say what is to be: `kind`, `name` and `spec`, in YAML, JSON or TOML.

A file holds one, several (YAML's `---`), a list of them, or a list at `items`.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from telemetryctl.failures import NothingThere, UsageFailure

SUFFIXES = (".yaml", ".yml", ".json", ".toml")
STDIN = "-"
_MEMBERS = {"kind", "name", "spec", "was"}
_SHAPE = 'such as {"kind": "rule", "name": "hot", "spec": {…}}; telemetryctl dump shows more'


@dataclass(frozen=True, slots=True)
class Document:
    """One object as somebody wants it; `spec` has the fields of the API.

    kind   lower case, in the singular
    was    the name it had before, so that it is renamed and not made anew
    where  file and place in it, for messages
    """

    kind: str
    name: str
    spec: Mapping[str, Any]
    where: str
    was: str | None = None

    @property
    def title(self) -> str:
        """How it is called everywhere: rule/hot."""
        return f"{self.kind}/{self.name}"


def read_documents(paths: Sequence[str], *, is_recursive: bool = False) -> list[Document]:
    """Read files, folders (those in them too when recursive) and `-`.

    Raises UsageFailure for what is no document, and NothingThere when there is none.
    """
    found = [
        _document(given, where)
        for path in paths
        for source in _files(path, is_recursive=is_recursive)
        for given, where in _read(source)
    ]
    if not found:
        raise NothingThere(f"there are no documents in {', '.join(paths)}")
    seen: dict[str, str] = {}
    for document in found:
        if document.title in seen:
            first = seen[document.title]
            raise UsageFailure(f"{document.title} stands in {first} and in {document.where}")
        seen[document.title] = document.where
    return found


def _files(path: str, *, is_recursive: bool) -> list[str]:
    folder = Path(path)
    if path == STDIN or not folder.is_dir():
        return [path]
    pattern = "**/*" if is_recursive else "*"
    return [
        str(file)
        for file in sorted(folder.glob(pattern))
        if file.suffix in SUFFIXES and not file.name.startswith(".") and file.is_file()
    ]


def _read(path: str) -> Iterator[tuple[Any, str]]:
    """What is in a file, each with where it stands."""
    try:
        text = sys.stdin.read() if path == STDIN else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageFailure(f"{path} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageFailure(f"{path} is not UTF-8 text") from error
    name = "stdin" if path == STDIN else path
    given = [found for top in _parsed(text, Path(path).suffix, name) for found in _items(top)]
    for at, found in enumerate(given):
        yield found, name if len(given) == 1 else f"{name} (document {at + 1})"


def _parsed(text: str, suffix: str, name: str) -> list[Any]:
    from telemetryctl.yaml_text import NotYaml, load_all

    try:
        match suffix:
            case ".json":
                return [json.loads(text, object_pairs_hook=_once)]
            case ".toml":
                return [_as_json(tomllib.loads(text))]
            case _:
                return [found for found in load_all(text) if found is not None]
    except (ValueError, RecursionError, NotYaml) as error:
        raise UsageFailure(f"{name} can't be read", why=str(error)) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'"{twice}" stands twice')
    return found


def _as_json(value: Any) -> Any:
    """TOML has times, which the API takes as text."""
    match value:
        case dict():
            return {name: _as_json(inner) for name, inner in value.items()}
        case list():
            return [_as_json(inner) for inner in value]
        case datetime() | date() | time():
            return value.isoformat()
    return value


def _items(top: Any) -> Iterable[Any]:
    if isinstance(top, list):
        return top
    if isinstance(top, dict) and isinstance(top.get("items"), list):
        return list(top["items"])
    return [top]


def _document(given: Any, where: str) -> Document:
    if not isinstance(given, dict):
        raise UsageFailure(f"{where} is no document", hint=_SHAPE)
    if unknown := sorted(str(name) for name in given if name not in _MEMBERS):
        hint = "fields of the API stand in spec" if "spec" in given else _SHAPE
        raise UsageFailure(f'{where}: a document has no "{unknown[0]}"', hint=hint)
    for name in ("kind", "name", "was"):
        value = given.get(name)
        if not (isinstance(value, str) and value) and not (name == "was" and value is None):
            raise UsageFailure(f"{where}: {name} is a text", hint=_SHAPE)
    spec = given.get("spec") or {}
    if not isinstance(spec, dict) or not all(isinstance(name, str) for name in spec):
        raise UsageFailure(f"{where}: spec is an object of fields", hint=_SHAPE)
    if "name" in spec:
        raise UsageFailure(f"{where}: the name stands beside spec, not in it")
    return Document(given["kind"].lower(), given["name"], spec, where, given.get("was"))
