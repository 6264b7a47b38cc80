"""Messages to channels, written in the transaction that decided them; sending them is another's."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from daemon.store.named_sql import load
from daemon.store.pool import Connection
from daemon.tracing import links_now

SQL = load("messages")


async def tell_fired(connection: Connection, alert_ids: Sequence[str]) -> None:
    """A message to each channel of the rules of these alerts; the same alert is told once."""
    await connection.execute(SQL["of_firings"], alert_ids)


async def tell_closed(connection: Connection, alert_ids: Sequence[str]) -> None:
    """A closing message to everybody who is told of the firing of these alerts."""
    links = links_now()
    said = orjson.dumps({"cause": links} if links else {}).decode()
    await connection.execute(SQL["of_closings"], alert_ids, said)
