"""Whether the loops of this process go on: each is seen from outside, whenever it is resumed."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from daemon.clock import Clock
from daemon.log import get_logger

log = get_logger()

ALLOWED_S = 60.0
"""Longer than any statement may take, and than any loop waits by itself."""
_WITHOUT_TURNS = ("ingest.run", "inside.serve")
"""They wait for points, or for the end, alone, however long none come: a condition says whether
they go on, or the loops that they begin."""
_ALLOWED_S = {
    "housekeeping.run": 300.0,
    "supervisor.run": 300.0,
    # One step of a job, or of the compaction, may be a computation in a thread.
    "job_runner.run": 300.0,
    "compactor.run": 300.0,
}

Loop = Coroutine[Any, Any, None]


_WATCHING: ContextVar[Pulse | None] = ContextVar("pulse", default=None)


@dataclass(slots=True)
class _Beat:
    at_s: float
    allowed_s: float


class Pulse:
    """`watch` wraps loops; `stuck` names those that have not gone on for too long.

    `conditions` say of what has no turns of its own whether it goes on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beats: dict[str, _Beat] = {}
        self._told: list[str] = []
        self.conditions: dict[str, Callable[[], bool]] = {}

    @property
    def names(self) -> list[str]:
        """Of everything that is watched."""
        return sorted([*self._beats, *self.conditions])

    def watch(self, loop: Loop, *, name: str = "") -> Loop:
        """The same loop; every step that it takes is a beat."""
        kind = _kind_of(loop)
        if kind in _WITHOUT_TURNS:
            return self._around(loop)
        name = name or _own_name_of(loop) or kind
        allowed_s = _ALLOWED_S.get(name, _ALLOWED_S.get(kind, ALLOWED_S + _pause_s_of(loop)))
        while name in self._beats:
            name += "'"
        beat = self._beats[name] = _Beat(self._clock.monotonic_s(), allowed_s)

        async def run() -> None:
            _WATCHING.set(self)
            try:
                await _stepwise(loop, beat, self._clock)
            finally:
                del self._beats[name]

        return run()

    async def _around(self, loop: Loop) -> None:
        """The loop as it is, with those that it begins watched."""
        _WATCHING.set(self)
        await loop

    def stuck(self) -> list[str]:
        """Names of loops that do not go on; who is new among them is logged."""
        now_s = self._clock.monotonic_s()
        found = [n for n, beat in self._beats.items() if now_s - beat.at_s > beat.allowed_s]
        found += [name for name, goes_on in self.conditions.items() if not goes_on()]
        new = [name for name in found if name not in self._told]
        if new:
            log.error("loops_stuck", loops=new)
        self._told = found
        return found


@types.coroutine
def _stepwise(loop: Loop, beat: _Beat, clock: Clock) -> Generator[Any, Any, None]:
    """`yield from loop` by hand (PEP 380), with a look at the clock at each step."""
    value: Any = None
    error: BaseException | None = None
    while True:
        beat.at_s = clock.monotonic_s()
        try:
            waited_for = loop.send(value) if error is None else loop.throw(error)
        except StopIteration:
            return
        value, error = None, None
        try:
            value = yield waited_for
        except BaseException as thrown:
            error = thrown


_STEPWISE = _stepwise.__code__


def watched(loop: Loop, *, name: str = "") -> Loop:
    """For loops that a loop begins: watched by whoever watches that one."""
    pulse = _WATCHING.get()
    return loop if pulse is None else pulse.watch(loop, name=name)


def inner_of(generator: Any) -> Any:
    """The loop that a watched one runs, for who looks at where it is; None for anything else."""
    frame = getattr(generator, "gi_frame", None)
    if frame is None or frame.f_code is not _STEPWISE:
        return None
    return frame.f_locals.get("loop")


def _kind_of(loop: Loop) -> str:
    """What the coroutine runs, as module and function."""
    module = str(_globals_of(loop).get("__name__")).rpartition(".")[2]
    return f"{module}.{getattr(loop, '__name__', '')}"


def _own_name_of(loop: Loop) -> str | None:
    """A `repeat` has the name of what it repeats, who keeps a child that of its module."""
    match _kind_of(loop):
        case "repeat.repeat":
            return str(_locals_of(loop).get("name"))
        case "child.keep":
            return str(_locals_of(loop).get("module"))
    return None


def _globals_of(loop: Loop) -> dict[str, Any]:
    frame = getattr(loop, "cr_frame", None)
    return {} if frame is None else frame.f_globals


def _locals_of(loop: Loop) -> dict[str, Any]:
    frame = getattr(loop, "cr_frame", None)
    return {} if frame is None else frame.f_locals


def _pause_s_of(loop: Loop) -> float:
    """How long a `repeat` waits between its calls."""
    return float(_locals_of(loop).get("every_s", 0.0))
