"""Children are real processes: told their orders, heard while they go on, started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.workers import child
from daemon.workers.child import Standing, keep

pytestmark = pytest.mark.anyio

SILENT = """
import sys, time
open(sys.stdin.readline().strip(), "a").write("begun\\n")
time.sleep(600)
"""
ECHO = """
import sys
for line in sys.stdin:
    print(file=sys.stdout, flush=True)
    open("{told}", "a").write(line)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(child, "BACKOFF_MIN_S", 0.01)

    def made(text: str) -> str:
        (tmp_path / "a_child.py").write_text(text)
        return "a_child"

    return made


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.02)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


async def test_who_says_nothing_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Callable[[str], str]
) -> None:
    monkeypatch.setattr(child, "SILENT_MAX_S", 0.5)
    told = tmp_path / "told"
    task = asyncio.get_running_loop().create_task(
        keep(module(SILENT), Standing(str(told).encode()), end_wait_s=0.1)
    )
    async with asyncio.timeout(60):
        while len(lines_of(told)) < 2:
            await asyncio.sleep(0.1)
            # Who is killed before it has begun at all was given too little time for this machine.
            monkeypatch.setattr(child, "SILENT_MAX_S", child.SILENT_MAX_S * 1.1)
    await ended(task)

    assert set(lines_of(told)) == {"begun"}


async def test_orders_that_change_are_told_to_who_runs_and_to_who_comes_next(
    tmp_path: Path, module: Callable[[str], str]
) -> None:
    told = tmp_path / "told"
    standing = Standing(b"one")
    task = asyncio.get_running_loop().create_task(
        keep(module(ECHO.format(told=told)), standing, end_wait_s=5)
    )
    await until(lambda: lines_of(told) == ["one"])
    standing.change(b"two")
    await until(lambda: lines_of(told) == ["one", "two"])
    await ended(task)
    standing.change(b"three")
    task = asyncio.get_running_loop().create_task(keep("a_child", standing, end_wait_s=5))
    await until(lambda: len(lines_of(told)) == 3)
    await ended(task)

    assert lines_of(told) == ["one", "two", "three"]
