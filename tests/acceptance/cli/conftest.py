"""A user of the real command line with the real daemon's first key."""

from __future__ import annotations

import pytest
from command_line import CommandLine
from daemons import DaemonProcess


@pytest.fixture
def cli(daemon: DaemonProcess) -> CommandLine:
    """The user who started the daemon; its first start saved the context `local` for them."""
    return CommandLine(daemon.home, daemon.environment)
