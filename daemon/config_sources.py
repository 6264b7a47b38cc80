"""Reads settings from the environment, from credentials of the service manager and from a file, and
says which gave what. What settings there are is config.py's."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from daemon.config_places import line_of, nearest

PREFIX = "TELEMETRY_"
BETWEEN = "__"
DEFAULT = "default"
OPEN_TO_ALL = 0o007
_OTHERS = frozenset({"TELEMETRY_CONFIG", "TELEMETRY_FAULT"})
"""Variables that are ours and no settings."""


class Unreadable(Exception):
    """A source can't be read; the text says which and why, and nothing of what it holds."""


class Environment(EnvSettingsSource):
    """Variables `TELEMETRY_SECTION__KEY`. What is no JSON goes on as the text that it is, so that
    whoever checks settings says what is wrong with it."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        if isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
            return value
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


@dataclass(frozen=True, slots=True)
class Sources:
    """What each gave, as nested dictionaries; the earlier stands above the later."""

    environment: Mapping[str, Any] = field(default_factory=dict, repr=False)
    credentials: Mapping[str, Any] = field(default_factory=dict, repr=False)
    toml: Mapping[str, Any] = field(default_factory=dict, repr=False)
    file: Path | None = None
    text: str = field(default="", repr=False)

    def origins(self, path: tuple[str | int, ...]) -> list[str]:
        """Which of them gave the setting: several, when each gave a part of a table."""
        found = []
        for values, named in (
            (self.environment, variable_of(path)),
            (self.credentials, f"credential {BETWEEN.join(str(p) for p in path[:2])}"),
            (self.toml, self._place(path)),
        ):
            is_there, value = _value_at(values, path)
            if is_there:
                found.append(named)
                if not isinstance(value, dict):
                    break
        return found or [DEFAULT]

    def _place(self, path: tuple[str | int, ...]) -> str:
        number = line_of(self.text, path)
        return f"{self.file}:{number}" if number else str(self.file)


def _value_at(values: Mapping[str, Any], path: Iterable[str | int]) -> tuple[bool, Any]:
    here: Any = values
    for part in path:
        match here:
            case Mapping() if part in here:
                here = here[part]
            case list() if isinstance(part, int) and part < len(here):
                here = here[part]
            case str() | list():
                # It is given whole, as one text or list.
                return True, here
            case _:
                return False, None
    return True, here


def read_sources(settings: type[BaseSettings], file: Path | None) -> Sources:
    """Read each once. Raises Unreadable."""
    environment = Environment(settings)()
    try:
        credentials = credentials_of(os.environ)
        text = file.read_text("utf-8") if file is not None else ""
        toml = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise Unreadable(f"{file}: byte {error.start} is not UTF-8") from error
    except OSError as error:
        raise Unreadable(f"{error.filename or file}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(f"{file}: {error}") from error
    return Sources(environment, credentials, toml, file, text)


def credentials_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """Settings that the service manager hands over as files `section__name` (systemd.exec(5),
    LoadCredential); secrets then stand neither in the environment nor in the TOML file. Raises
    Unreadable."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    found: dict[str, Any] = {}
    for file in sorted(Path(folder).glob("*__*")) if folder else ():
        section, _, name = file.name.partition(BETWEEN)
        try:
            found.setdefault(section, {})[name] = file.read_text("utf-8").strip()
        except UnicodeDecodeError as error:
            raise Unreadable(f"{file}: byte {error.start} is not UTF-8") from error
        except OSError as error:
            raise Unreadable(f"{file}: {error.strerror}") from error
    return found


def variable_of(path: Iterable[str | int]) -> str:
    """The variable of a setting; elements of a list have none of their own."""
    names = takewhile(lambda part: isinstance(part, str), path)
    return PREFIX + BETWEEN.join(str(name) for name in names).upper()


def unknown_variables(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Variables that look like settings and are none, with what was probably meant, or "". `names`
    are those of all settings, as `section.key`. Others of a section are refused where it is read.
    """
    known = {variable_of(name.split(".")): name for name in names}
    sections = {variable_of([name.partition(".")[0]]) for name in names}
    found = {}
    for variable in sorted(environment):
        name = variable.upper()
        if not name.startswith(PREFIX) or name in _OTHERS:
            continue
        if name.partition(BETWEEN)[0] not in sections:
            found[variable] = nearest(name, known) or ""
    return found


def is_open_to_all(file: Path) -> bool:
    """Whether everybody on this host may read or change the file, and every folder above it lets
    them pass."""
    if not file.stat().st_mode & OPEN_TO_ALL:
        return False
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in file.resolve().parents)
