"""Structured logging: an event name and fields; JSON lines, or key=value on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

FIELD_CHARACTERS_MAX = 256
_METHODS = ("debug", "info", "warning", "error", "critical", "exception")


class _Logger(structlog.BoundLoggerBase):
    """Its methods are those of a level, which may change while loggers are in use."""


def set_level(level: str) -> None:
    """Write lines of this level and above, from now on."""
    filtering = structlog.make_filtering_bound_logger(logging.getLevelName(level.upper()))
    for name in (*_METHODS, "bind", "unbind", "new"):
        setattr(_Logger, name, getattr(filtering, name))


def set_up(*, level: str, text: bool, process: int | None = None) -> None:
    """Configure structlog and the standard library to write one line per event on stderr.

    `process` is the number of this process where a daemon has several; every line carries it.
    """

    def name_process(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return event if process is None else event | {"process": process}

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        name_process,
        _shorten,
    ]
    renderer: Any = (
        structlog.processors.LogfmtRenderer(key_order=["ts", "level", "event"])
        if text
        else structlog.processors.JSONRenderer()
    )
    set_level(level)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=_Logger,
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def _shorten(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Cut long fields, so that no request makes a long line; stack traces stay whole."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > FIELD_CHARACTERS_MAX and key != "exception":
            event[key] = value[:FIELD_CHARACTERS_MAX] + "…"
    return event


def get_logger() -> Any:
    """The logger; bind fields with `log.info("event_name", key=value)`."""
    return structlog.get_logger()
