"""Whether the loops of this process go on: each is seen from outside, whenever it is resumed."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any

from daemon.clock import Clock
from daemon.log import get_logger

log = get_logger()

ALLOWED_S = 60.0
"""Longer than any statement may take, and than any loop waits by itself. Those that wait for an
event alone are not judged by it."""
_IDLE = ("child.keep", "notifier.run", "job_runner.run", "ingest.run")
_ALLOWED_S = {"housekeeping.run": 300.0, "supervisor.run": 300.0}

Loop = Coroutine[Any, Any, None]


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

    def watch(self, loop: Loop) -> Loop:
        """The same loop; every step that it takes is a beat."""
        name = _name_of(loop)
        if name in _IDLE:
            return loop
        allowed_s = _ALLOWED_S.get(name, ALLOWED_S + _pause_s_of(loop))
        while name in self._beats:
            name += "'"
        beat = self._beats[name] = _Beat(self._clock.monotonic_s(), allowed_s)

        async def run() -> None:
            try:
                await _stepwise(loop, beat, self._clock)
            finally:
                del self._beats[name]

        return run()

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


def _name_of(loop: Loop) -> str:
    """What the coroutine runs, as module and name; a `repeat` has the name of what it repeats."""
    frame = getattr(loop, "cr_frame", None)
    if frame is None:
        return str(loop)
    module = str(frame.f_globals.get("__name__")).rpartition(".")[2]
    own = frame.f_locals.get("name") if module == "repeat" else None
    return str(own or f"{module}.{getattr(loop, '__name__', '')}")


def _pause_s_of(loop: Loop) -> float:
    """How long a `repeat` waits between its calls."""
    frame = getattr(loop, "cr_frame", None)
    return float(frame.f_locals.get("every_s", 0.0)) if frame is not None else 0.0
