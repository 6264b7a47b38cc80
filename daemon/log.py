"""Structured logging: an event name and fields; JSON lines, or key=value on a terminal.

One line for each event: fields are bounded, secrets are taken out, repeats are counted.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import sys
from typing import Any, cast

import structlog

from daemon.lines import STDERR
from daemon.redaction import HIDDEN, is_secret_name, redact
from daemon.repeats import Repeats
from daemon.tracing import CAUSE

FIELD_CHARACTERS_MAX = 256
ITEMS_MAX = 32
STACK_CHARACTERS_MAX = 16_000
_METHODS = ("debug", "info", "warning", "error", "critical", "exception")
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_STACKS = ("exception", "stack")
# C0, DEL and C1: some terminals obey those of C1 too.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Event = dict[str, Any]


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

    def name_process(_logger: Any, _method: str, event: Event) -> Event:
        return event if process is None else event | {"process": process}

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        name_process,
        name_request,
        bound_fields,
    ]
    renderer: Any = structlog.processors.JSONRenderer()
    if text:
        shared.append(_without_controls)
        renderer = structlog.processors.LogfmtRenderer(key_order=["ts", "level", "event"])
    if is_journal(os.environ.get("JOURNAL_STREAM", ""), sys.stderr.fileno()):
        renderer = _with_priority(renderer)
        STDERR.prefix = b"<6>"
    set_level(level)
    structlog.configure(
        processors=cast(Any, [Repeats().processor, *shared, renderer]),
        wrapper_class=_Logger,
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer)
    )
    # What clients do wrong is told by libraries too: a flood of it is no flood of lines.
    handler.addFilter(Repeats().is_written)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    STDERR.attach(sys.stderr.fileno())
    atexit.register(STDERR.flush)


def is_journal(stream: str, descriptor: int) -> bool:
    """Whether what is written there goes to the journal: `stream` is device and inode of that, as
    systemd.exec(5) has it."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


def _with_priority(renderer: Any) -> Any:
    """The line with its priority in front, which the journal takes off (sd-daemon(3))."""

    def render(logger: Any, method: str, event: Event) -> str:
        priority = _PRIORITIES.get(str(event.get("level")), 6)
        return f"<{priority}>{renderer(logger, method, event)}"

    return render


def name_request(_logger: Any, _method: str, event: Event) -> Event:
    """Which request the line is of, when one is being answered."""
    cause = CAUSE.get()
    if cause is not None:
        event.setdefault("request_id", cause.request_id)
        event.setdefault("trace_id", cause.trace.trace_id)
    return event


def bound_fields(_logger: Any, _method: str, event: Event) -> Event:
    """No secret, and no field that makes a long line; stacks keep their begin and their end."""
    for key, value in event.items():
        if is_secret_name(key):
            event[key] = HIDDEN
        elif key in _STACKS and isinstance(value, str):
            event[key] = redact(_shortened_stack(value))
        else:
            event[key] = bounded(value)
    return event


def bounded(value: Any, *, depth: int = 3) -> Any:
    """The value as a line may hold it: texts of FIELD_CHARACTERS_MAX as JSON writes them."""
    match value:
        case str():
            return _bounded_text(value)
        case None | bool() | int() | float():
            return value
        case dict() if depth:
            pairs = list(value.items())[:ITEMS_MAX]
            return {
                _bounded_text(str(k)): HIDDEN if is_secret_name(str(k)) else _inner(v, depth)
                for k, v in pairs
            }
        case list() | tuple() | set() | frozenset() if depth:
            return [_inner(one, depth) for one in list(value)[:ITEMS_MAX]]
    return _bounded_text(str(value))


def _inner(value: Any, depth: int) -> Any:
    return bounded(value, depth=depth - 1)


def _bounded_text(text: str) -> str:
    """Cut by its length in JSON, where a character may take twelve."""
    # First, so that not a megabyte is searched; wide enough that no secret is cut in two halves.
    text = redact(text[: 4 * FIELD_CHARACTERS_MAX])
    cut = text[:FIELD_CHARACTERS_MAX]
    while len(json.dumps(cut)) > FIELD_CHARACTERS_MAX + 2 and len(cut) > 1:
        excess = len(json.dumps(cut)) - FIELD_CHARACTERS_MAX - 2
        cut = cut[: -max(1, excess // 12)]
    return cut if cut == text else cut + "…"


def _shortened_stack(text: str) -> str:
    if len(text) <= STACK_CHARACTERS_MAX:
        return text
    head, tail = text[: STACK_CHARACTERS_MAX // 4], text[-STACK_CHARACTERS_MAX * 3 // 4 :]
    # From a whole line on: half a secret has no form that would be known again.
    return f"{head}\n…\n{tail.partition(chr(10))[2]}"


def _without_controls(_logger: Any, _method: str, event: Event) -> Event:
    """JSON writes them as escapes; a terminal would obey them."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _CONTROL.sub(_escape, value)
    return event


def _escape(found: re.Match[str]) -> str:
    return "\\n" if found[0] == "\n" else f"\\x{ord(found[0]):02x}"


def get_logger() -> Any:
    """The logger; bind fields with `log.info("event_name", key=value)`."""
    return structlog.get_logger()
