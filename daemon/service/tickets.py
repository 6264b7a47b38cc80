"""Tickets: what a browser puts into the address of a stream instead of a key (contract 9.1)."""

from __future__ import annotations

import secrets
from functools import partial

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.errors import Forbidden, Unauthenticated
from daemon.domain.tokens import digest_of
from daemon.service.keys import Keys
from daemon.service.lookups import Lookups
from daemon.service.sessions import Sessions
from daemon.store.tickets import TicketRow, TicketStore

PREFIX = "tic_"
LIFE_S = 30
SECRET_BYTES = 32
TICKET_CHARACTERS_MAX = 64


class Tickets:
    """Makes tickets, and takes each once, whichever process it is shown to."""

    def __init__(
        self,
        store: TicketStore,
        *,
        keys: Keys,
        clock: Clock,
        sessions: Sessions | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._sessions = sessions
        self._tickets = Lookups(clock)

    async def create(
        self, by: Principal, *, subscription_id: str | None, channel: str | None
    ) -> str:
        """A ticket for one stream of that subscription or channel; without either for any.

        Raises Forbidden for a token of another issuer, which is to be shown itself.
        """
        if by.is_foreign:
            raise Forbidden("a token of another issuer makes no tickets", code="foreign_token")
        ticket = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        session_id = by.session.session_id if by.session else None
        row = TicketRow(by.key_id, subscription_id, channel, session_id)
        await self._store.insert(digest_of(ticket), row, life_s=LIFE_S)
        self._tickets.expect(digest_of(ticket))
        return ticket

    async def use(
        self, ticket: str, *, subscription_id: str | None, channel: str | None
    ) -> Principal:
        """Who made it, by a key or in a session. It is used up, also where it does not fit.

        Raises Unauthenticated, StoreUnavailable, Busy.
        """
        if not ticket.startswith(PREFIX) or len(ticket) > TICKET_CHARACTERS_MAX:
            raise Unauthenticated()
        digest = digest_of(ticket)
        row = await self._tickets.find(digest, partial(self._store.use, digest))
        if row is None:
            raise Unauthenticated("the ticket was used, is too old, or is none")
        if row.subscription_id not in (None, subscription_id) or row.channel not in (None, channel):
            raise Unauthenticated("the ticket is for another stream")
        if row.session_id is not None and self._sessions is not None:
            return await self._sessions.holder_of(row.session_id)
        return await self._keys.holder_of(row.key_id)
