"""Says what is wrong with settings, where it stands and what was probably meant. What settings
there are is config.py's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from daemon.config_places import nearest
from daemon.config_sources import DEFAULT, Sources

Model = type[BaseModel]


def said_of(error: ValidationError, sources: Sources, model: Model) -> str:
    """One sentence for each mistake; none repeats a value, which may be a secret."""
    return "; ".join(_said(one, sources, model) for one in error.errors(include_input=False))


def _said(mistake: Any, sources: Sources, model: Model) -> str:
    path: tuple[str | int, ...] = mistake["loc"]
    name = dotted(path)
    what = _unknown(path, model) if mistake["type"] == "extra_forbidden" else mistake["msg"]
    place = _place(path, sources)
    return f"{name}: {what}" if place == DEFAULT else f"{place}: {name}: {what}"


def _place(path: tuple[str | int, ...], sources: Sources) -> str:
    """Where it stands; of what is missing, where that would stand."""
    for length in range(len(path), 0, -1):
        [place, *_] = sources.origins(path[:length])
        if place != DEFAULT:
            return place
    return DEFAULT


def _unknown(path: Sequence[str | int], model: Model) -> str:
    *parents, last = path
    beside = [dotted((*parents, name)) for name in _fields_at(model, parents)]
    meant = nearest(dotted(path), beside)
    if meant is None:
        meant = next((one for one in names_of(model) if one.endswith(f".{last}")), None)
    return (
        f"there is no such setting; did you mean {meant}?" if meant else "there is no such setting"
    )


def names_of(model: Model) -> list[str]:
    """Every setting as `section.key`."""
    return [
        f"{section}.{key}" for section in model.model_fields for key in _fields_at(model, [section])
    ]


def dotted(path: Sequence[str | int]) -> str:
    """As in `server.port`; the elements of lists by their numbers."""
    return ".".join(str(part) for part in path)


def _fields_at(model: Model, path: Sequence[str | int]) -> list[str]:
    """The names that may stand there; none when it is no table."""
    here: Model | None = model
    for part in path:
        if isinstance(part, int):
            continue
        found = here.model_fields.get(part) if here is not None else None
        here = _model_in(found.annotation) if found is not None else None
    return list(here.model_fields) if here is not None else []


def _model_in(annotation: Any) -> Model | None:
    """The model that a field holds, by itself or as a list."""
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None
