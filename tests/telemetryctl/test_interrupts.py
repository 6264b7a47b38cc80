"""Ctrl-C where Python would lose it."""

from __future__ import annotations

import subprocess
import sys

FINALISER = """
import os, signal, sys
from telemetryctl.interrupts import interrupts

class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

def lose_one():
    Finalised()
    print("it goes on", flush=True)
"""
WATCH = """
from datetime import timedelta
from telemetryctl.output.console import Console
from telemetryctl.output.watch import watch

with interrupts.heard():
    try:
        watch(Console(), lose_one, every=timedelta(seconds=0.1), count=3)
    except KeyboardInterrupt:
        print("it ends")
"""
CALL = """
from telemetryctl.client.calls import BASE
from telemetryctl.client.wire import Call, Wire

with interrupts.heard(), Wire("http://127.0.0.1:1") as wire:
    lose_one()
    try:
        wire.request(Call("GET", BASE + "/stats"))
    except KeyboardInterrupt:
        print("it ends")
    try:
        wire.request(Call("DELETE", BASE + "/jobs/1"), tries=1)
    except Exception as error:
        print(type(error).__name__)
"""
IGNORED = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
with interrupts.heard():
    lose_one()
    interrupts.check()
"""
ANSWERED = """
with interrupts.heard():
    lose_one()
    interrupts.answered()
    interrupts.check()
"""


def said(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", FINALISER + program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_watch_ends_although_a_finaliser_lost_it() -> None:
    assert said(WATCH) == ["it goes on", "it ends"]


def test_no_request_is_made_after_one_was_lost_but_those_that_put_things_in_order() -> None:
    assert said(CALL) == ["it goes on", "it ends", "TryLater"]


def test_what_was_caught_is_not_raised_again() -> None:
    assert said(ANSWERED) == ["it goes on"]


def test_who_is_to_ignore_it_does() -> None:
    assert said(IGNORED) == ["it goes on"]
