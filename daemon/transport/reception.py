"""Finds out who asks for a stream, whether there is room, and what is wanted; all doors ask it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from starlette.types import Scope

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.budgets import RateClass
from daemon.domain.errors import Unauthenticated
from daemon.domain.tokens import digest_of
from daemon.domain.wanted import Wanted, read_wanted
from daemon.service.keys import Credential, Keys
from daemon.service.stream_limits import Slot, StreamLimits
from daemon.service.streams import Streams, Visitor
from daemon.service.subscriptions import Subscriptions
from daemon.service.tickets import Tickets
from daemon.transport.auth import address_of, caller_of, note_former
from daemon.transport.limits import Gate
from daemon.transport.signatures import check_signature
from daemon.transport.stream_requests import Door, Query, Shown, wanted_in

SCOPE = "read"


@dataclass(slots=True, kw_only=True)
class StreamParts:
    """What the doors call; `origins` may change while they are open."""

    streams: Streams
    subscriptions: Subscriptions
    tickets: Tickets
    keys: Keys
    limits: StreamLimits
    gate: Gate
    clock: Clock
    origins: Collection[str] = ()


class Reception:
    """One for all doors of a process."""

    def __init__(self, parts: StreamParts) -> None:
        self.parts = parts

    async def identify(
        self, shown: Shown, door: Door, *, scope: Scope, is_said: bool = False
    ) -> Visitor:
        """`is_said`: the credential was not shown by the request, but said later.

        Raises Unauthenticated (counted against the address), RateLimited, StoreUnavailable.
        """
        address = address_of(scope)
        if shown.ticket is not None:
            # It is looked up in any case, so an address over its limit hears that before.
            self.parts.limits.open_of_address(address).take_back()
        try:
            if shown.ticket is not None:
                return await self._by_ticket(shown.ticket, door, scope=scope)
            keys, token = self.parts.keys, shown.token
            principal = None if token is None else keys.cached(token, address=address)
            if principal is None:
                principal = await keys.authenticate(token, address=address)
            self._check_signature(principal, scope, is_said=is_said)
        except Unauthenticated:
            # Over its limit the address hears that instead, and learns nothing of its guess.
            self.parts.limits.open_of_address(address).close()
            raise
        digest = None if principal.session else digest_of(shown.token or "")
        return self._visitor(principal, digest, scope=scope)

    def _visitor(self, principal: Principal, digest: bytes | None, *, scope: Scope) -> Visitor:
        note_former(principal, scope, keys=self.parts.keys)
        credential = Credential(principal.key_id, digest, principal.session)
        return Visitor(principal, credential, caller_of(scope))

    def _check_signature(self, principal: Principal, scope: Scope, *, is_said: bool) -> None:
        """A message inside a stream can't be signed; the request that opens it can."""
        signatures, address = self.parts.keys.signatures, address_of(scope)
        if is_said:
            signatures.refuse_unsigned(principal, address=address)
        else:
            check_signature(scope, principal, signatures=signatures, address=address)

    async def _by_ticket(self, ticket: str, door: Door, *, scope: Scope) -> Visitor:
        principal = await self.parts.tickets.use(
            ticket, subscription_id=door.subscription_id, channel=door.channel
        )
        self.parts.keys.uses.note(principal, address_of(scope))
        return self._visitor(principal, None, scope=scope)

    async def admit(self, visitor: Visitor, *, cursor: str | None, scope: Scope) -> Slot:
        """A place for one more stream. Raises Forbidden, RateLimited."""
        principal, gate = visitor.principal, self.parts.gate
        principal.require(SCOPE)
        is_resume = self.parts.streams.has(cursor)
        slot = self.parts.limits.open_of_key(
            principal, is_resume=is_resume, address=address_of(scope)
        )
        if not is_resume:
            try:
                await gate.charge(scope, principal, RateClass.STREAM)
            except BaseException:
                slot.take_back()
                raise
            slot.uncount = partial(
                gate.limits.give_back, principal, RateClass.STREAM, address=address_of(scope)
            )
        return slot

    async def wanted(
        self, door: Door, visitor: Visitor, query: Query, *, cursor: str | None
    ) -> Wanted | None:
        """What the door is for; None where the client will say it.

        Raises UnknownSubscription, Malformed, Invalid, StoreUnavailable.
        """
        if door.channel is not None:
            return wanted_in(query, channel=door.channel, cursor=cursor)
        if door.subscription_id is None:
            return None
        said = await self.parts.subscriptions.find(door.subscription_id, by=visitor.principal)
        return read_wanted(said | {"resume": cursor or said.get("resume")})
