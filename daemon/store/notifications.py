"""Messages as stored: taken by one process, sent, deferred, given up, and their ledger. They are
decided with their alerts, in store/messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from asyncpg import Record

from daemon.domain.alert_record import Alert
from daemon.domain.deliveries import Outcome
from daemon.domain.notifications import Firing, Message, State
from daemon.store import channels
from daemon.store.alerts import alert_of
from daemon.store.channels import FAILURES_MAX
from daemon.store.named_sql import load
from daemon.store.pool import Connection, Database

SQL = load("notifications")
CLAIM_S = 30.0
"""A message whose process says nothing for so long is taken by another."""
FOREIGN_AFTER_S = 60.0
"""A message that nobody with the right key took for so long is taken by anybody, and fails."""
DIGEST_MAX = 500
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Taking:
    """How much to take: `busy` channels have enough under way here."""

    limit: int
    per_channel: int
    busy: Sequence[str]


class NotificationStore:
    """Statements of the notifier. `now` stands in for the clock of the database, in tests."""

    def __init__(
        self, database: Database, *, holder: UUID, mark: bytes, now: datetime | None = None
    ) -> None:
        self._database = database
        self._holder = holder
        self._mark = mark
        self.now = now

    # -- taking ----------------------------------------------------------------------------------

    async def claim(self, taking: Taking) -> list[Message]:
        """Take messages that are due, oldest first; nobody else sends them for CLAIM_S."""
        async with self._database.connection("control", writing=True) as connection:
            rows = await connection.fetch(
                SQL["claim_due"],
                self._holder,
                taking.limit,
                taking.per_channel,
                taking.busy,
                CLAIM_S,
                FAILURES_MAX,
                self._mark,
                FOREIGN_AFTER_S,
                self.now,
            )
        return sorted((_message(row) for row in rows), key=lambda message: message.ordinal)

    async def release(self, ids: Sequence[str]) -> None:
        """Give back what was taken and not begun."""
        async with self._database.connection("control", writing=True) as connection:
            await connection.execute(SQL["release_claims"], ids, self._holder)

    # -- what decisions depend on ------------------------------------------------------------------

    async def alerts(self, ids: Sequence[str]) -> dict[str, Alert]:
        async with self._database.connection("control") as connection:
            return {
                row["alert_id"]: alert_of(row) for row in await connection.fetch(SQL["alerts"], ids)
            }

    async def devices(self, ids: Sequence[str]) -> dict[str, Row]:
        """What is known of these devices, for the texts."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["devices"], ids)
        return {row["device_id"]: _device(row) for row in rows}

    async def quiet_hours(
        self, rule_ids: Sequence[str], watch_ids: Sequence[str]
    ) -> dict[str, Row]:
        """The quiet hours of these rules and watches, by their ids."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["quiet_hours"], rule_ids, watch_ids)
        return {row["id"]: orjson.loads(row["quiet_hours"]) for row in rows}

    async def firings(self, alert_ids: Sequence[str]) -> dict[tuple[str, str], list[Firing]]:
        """What became of the firing messages, by alert and channel; stand-ins last."""
        async with self._database.connection("control") as connection:
            rows = await connection.fetch(SQL["firings"], alert_ids)
        found: dict[tuple[str, str], list[Firing]] = {}
        for row in rows:
            found.setdefault((row["alert_id"], row["channel"]), []).append(_firing(row))
        return found

    # -- sending ---------------------------------------------------------------------------------

    async def begin(self, ids: Sequence[str]) -> dict[str, int]:
        """Attempts begin: their numbers, by id; absent is what is not ours any more."""
        async with self._database.connection("control", writing=True) as connection:
            rows = await connection.fetch(SQL["begin"], ids, self._holder)
        return {row["notification_id"]: row["attempts"] for row in rows}

    async def finish(
        self,
        message: Message,
        outcome: Outcome,
        *,
        latency_ms: float,
        wait_s: float | None,
        fallback: str | None = None,
    ) -> str | None:
        """Write down an attempt and what it means; given up, `fallback` takes over. Returns the
        state; None when the message is not ours any more."""
        async with self._database.transaction("control") as connection:
            said = "sent" if outcome.is_sent else "unknown" if outcome.may_be_told else "failed"
            facts = (said, outcome.status_code, outcome.digest, outcome.detail)
            await connection.execute(
                SQL["note_attempt"], message.notification_id, message.attempts, latency_ms, *facts
            )
            key = (message.notification_id, self._holder, outcome.status_code)
            may_be_told = not outcome.is_sent and (message.may_be_told or outcome.may_be_told)
            if outcome.is_sent:
                done = await connection.fetchval(SQL["set_sent"], *key)
                state = None if done is None else State.SENT.value
            else:
                state = await connection.fetchval(
                    SQL["set_failed"], *key, outcome.detail, wait_s, may_be_told
                )
            given_up = [message.notification_id] if message.kind == "fire" else []
            if message.kind == "digest" and state in (State.SENT, State.DEAD):
                fate = (message.notification_id, state, may_be_told)
                carried = await connection.fetch(SQL["settle_grouped"], *fate)
                given_up = [row["notification_id"] for row in carried if row["kind"] == "fire"]
            if state == State.DEAD and fallback is not None:
                for notification_id in given_up:
                    await _stand_in(connection, notification_id, fallback)
            await channels.note(connection, message.channel, outcome)
        return state

    async def decide(self, decisions: Sequence[Row]) -> None:
        """Write down what is not sent now."""
        async with self._database.connection("control", writing=True) as connection:
            await connection.execute(SQL["decide"], _json(decisions), self._holder)

    async def stand_in(self, notification_id: str, *, channel: str) -> bool:
        """Tell this channel, too; False when it is told already."""
        async with self._database.connection("control", writing=True) as connection:
            told = await connection.fetchval(SQL["stand_in"], notification_id, channel)
        return told is not None

    # -- digests ---------------------------------------------------------------------------------

    def gathering(self) -> Gathering:
        """A transaction in which deferred messages become a digest."""
        return Gathering(self._database, self.now)

    async def insert_test(self, notification_id: str, *, channel: str, payload: Row) -> None:
        """A test message, claimed by this process."""
        async with self._database.transaction("control") as connection:
            await connection.execute(
                SQL["insert_message"],
                notification_id, "info", channel, "test", _json(payload), self._holder,
            )  # fmt: skip

    async def waiting(self) -> dict[str, int]:
        """How many messages wait to be sent, and for a digest."""
        async with self._database.connection("control") as connection:
            row = await connection.fetchrow(SQL["count_waiting"])
        assert row is not None
        return dict(row)


class Gathering:
    """The deferred messages to one channel that are due, locked until the end."""

    def __init__(self, database: Database, now: datetime | None) -> None:
        self._database = database
        self._now = now
        self.channel: str | None = None
        self.messages: list[Message] = []

    async def __aenter__(self) -> Gathering:
        self._transaction = self._database.transaction("control")
        self._connection = await self._transaction.__aenter__()
        await self._connection.execute(SQL["orphans"], self._now)
        self.channel = await self._connection.fetchval(SQL["due_digests"], self._now)
        if self.channel is not None:
            asked = (self.channel, self._now, DIGEST_MAX)
            rows = await self._connection.fetch(SQL["deferred"], *asked)
            self.messages = [_message(row) for row in rows]
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._transaction.__aexit__(*failure)

    async def settle(self, decisions: Sequence[Row], *, digest_id: str) -> None:
        """What becomes of each; those whose verdict is `grouped` go into the digest."""
        await self._connection.execute(SQL["settle_deferred"], _json(decisions), digest_id)

    async def insert_digest(self, digest_id: str, *, level: str, payload: Row) -> None:
        """The digest, to be sent at once."""
        await self._connection.execute(
            SQL["insert_message"], digest_id, level, self.channel, "digest", _json(payload), None
        )


async def _stand_in(connection: Connection, replaced: str, channel: str) -> None:
    """Another channel takes over for good; the message that was given up says which."""
    await connection.fetchval(SQL["stand_in"], replaced, channel)
    said = _json({"fallback": channel})
    await connection.fetchval(SQL["set_verdict"], replaced, State.DEAD, "fallback", said)


def _message(row: Record) -> Message:
    values = {name: row[name] for name in Message.__slots__}
    values["verdict_data"] = orjson.loads(values["verdict_data"])
    values["payload"] = None if values["payload"] is None else orjson.loads(values["payload"])
    return Message(**values)


def _firing(row: Record) -> Firing:
    data = orjson.loads(row["verdict_data"])
    return Firing(
        row["notification_id"],
        row["channel"],
        row["status"],
        row["verdict"],
        bool(data.get("may_be_told")),
        row["replaces_id"] is not None,
        data.get("fallback"),
    )


def _device(row: Record) -> Row:
    found = dict(row)
    for name in ("tags", "attributes", "location"):
        if isinstance(found[name], str):
            found[name] = orjson.loads(found[name])
    return {name: value for name, value in found.items() if value}


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()
