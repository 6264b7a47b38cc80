"""What ends a process, and what it does while it begins anew."""

from __future__ import annotations

import signal

import pytest

from daemon.app import _ignore_signals
from daemon.serving import Stop

pytestmark = pytest.mark.anyio


async def test_who_is_to_end_while_it_begins_anew_ends() -> None:
    stop = Stop()

    stop.begin_anew()
    stop.end()
    stop.begin_anew()

    assert stop.event.is_set()
    assert not stop.begins_anew


async def test_a_reload_between_the_old_parts_and_the_new_kills_nobody() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        _ignore_signals()

        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
