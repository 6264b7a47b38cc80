"""The control plane as a fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from control import Control, control_plane

from daemon.store.pool import Database


@pytest.fixture
async def control(database: Database) -> AsyncIterator[Control]:
    """Services over a fresh database behind the real application."""
    async with control_plane(database) as running:
        yield running
