"""Where each task of this process is, as text: for a daemon that hangs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from daemon.workers.pulse import inner_of

FRAMES_MAX = 20
"""Of one task, from the outside in."""
PLACES_MAX = 100
"""Tasks at the same place are one line, and most are: each stream waits where the others do."""


def whereabouts(loop: asyncio.AbstractEventLoop) -> tuple[int, str]:
    """How many tasks there are, and a line for each place with the number of those that wait there,
    most first."""
    tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
    places = Counter(_place_of(task) for task in tasks)
    lines = [f"{count} x {place}" for place, count in places.most_common(PLACES_MAX)]
    if len(places) > PLACES_MAX:
        lines.append(f"and {len(places) - PLACES_MAX} further places")
    return len(tasks), "\n".join(lines)


def _place_of(task: asyncio.Task[Any]) -> str:
    """As in: run (hub.py:229) > wait (locks.py:213)."""
    frames = [
        f"{frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"
        for _, frame in zip(range(FRAMES_MAX), _frames_of(task.get_coro()), strict=False)
    ]
    return " > ".join(frames) or "nowhere"


def _frames_of(waiting: Any) -> Iterator[FrameType]:
    """From the outside in: a task shows its own frame alone, what it waits for has the next."""
    while waiting is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(waiting, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                break
        else:
            return
        inner = inner_of(waiting)
        waiting = inner or _awaited_by(waiting)


def _awaited_by(waiting: Any) -> Any:
    for name in ("cr_await", "gi_yieldfrom", "ag_await"):
        if hasattr(waiting, name):
            return getattr(waiting, name)
    return None
