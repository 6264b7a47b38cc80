"""The gate of every limited route: who asks, whether it may ask now, and what the answer says of
that (contract 9.1: limits by address, authentication, limits by key)."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from functools import lru_cache
from typing import Any, cast

from starlette.types import Scope

from daemon.clock import Clock
from daemon.domain.access import Principal
from daemon.domain.budgets import Policy, RateClass, Standing
from daemon.domain.errors import RateLimited, Unauthenticated
from daemon.service.keys import Keys
from daemon.service.limits import Limits
from daemon.transport.auth import INTERNAL, address_of, authenticate, token_of
from daemon.transport.origin import RawHeaders

UNLIMITED_NUMBER = 1_000_000_000
"""What who has no limit reads as one: a number, so that every reader of the header can read it."""
_UNLIMITED = [
    (b"x-ratelimit-limit", b"%d" % UNLIMITED_NUMBER),
    (b"x-ratelimit-remaining", b"%d" % UNLIMITED_NUMBER),
    (b"x-ratelimit-reset", b"0"),
]
_STANDING = "standing"
_QUERY = "/query"


class Gate:
    """One for all routes of a process."""

    def __init__(self, keys: Keys, limits: Limits, *, clock: Clock) -> None:
        self.keys = keys
        self.limits = limits
        self._clock = clock
        self._said_policy: Policy | None = None
        self._said_lines = b""

    async def enter(self, scope: Scope, rate_class: RateClass) -> Principal:
        """The holder of the request's credential, whose request is counted.

        Raises RateLimited, Unauthenticated, StoreUnavailable, Busy; `headers` says where the
        request stands in any case.
        """
        is_named = INTERNAL in _state(scope) or token_of(scope["headers"]) is not None
        if not is_named:
            await self._keep(scope, self.limits.take_of_address(address_of(scope)))
        try:
            principal = await authenticate(scope, self.keys)
        except Unauthenticated:
            if is_named:
                await self._keep(scope, self.limits.refuse_credential(address_of(scope)))
            raise
        await self.charge(scope, principal, rate_class)
        return principal

    def enter_now(
        self, scope: Scope, principal: Principal, rate_class: RateClass, *, amount: int = 1
    ) -> bool:
        """As `enter` for a credential that is known; False where the database has to be asked,
        or nothing is left."""
        address = address_of(scope)
        standing = self.limits.take_now(principal, rate_class, address=address, amount=amount)
        if standing is None:
            return False
        _state(scope)[_STANDING] = standing
        return True

    async def charge(
        self, scope: Scope, principal: Principal, rate_class: RateClass, *, amount: int = 1
    ) -> None:
        """Count `amount` more of a request that has entered. Raises RateLimited."""
        if not self.enter_now(scope, principal, rate_class, amount=amount):
            taking = self.limits.take(
                principal, rate_class, address=address_of(scope), amount=amount
            )
            await self._keep(scope, taking)

    async def _keep(self, scope: Scope, taking: Awaitable[Standing]) -> None:
        try:
            _state(scope)[_STANDING] = await taking
        except RateLimited as error:
            _state(scope)[_STANDING] = error.standing
            raise

    def note(self, scope: Scope, error: Exception) -> None:
        """Say in the answer's headers which limit it was, where a service found that."""
        if isinstance(error, RateLimited) and error.standing is not None:
            _state(scope)[_STANDING] = error.standing

    def headers(self, scope: Scope) -> RawHeaders:
        """What the answer to a request says of its limit; nothing where there is none to speak
        of."""
        standing = _state(scope).get(_STANDING)
        return [] if standing is None else self.headers_of(standing)

    def lines_of(self, standing: Standing) -> bytes:
        """As `headers_of`, as they stand in an answer."""
        policy, remaining, reset_in_s = standing
        if policy is None:
            return _UNLIMITED_LINES
        if policy is not self._said_policy:
            self._said_policy, self._said_lines = policy, _lines_with(policy)
        reset_s = self._clock.now_us() // 1_000_000 + reset_in_s
        return self._said_lines % (remaining, reset_s, remaining, reset_in_s)

    def headers_of(self, standing: Standing) -> RawHeaders:
        """The seed's X-RateLimit-*, whose reset is in seconds since 1970, and the fields of
        draft-ietf-httpapi-ratelimit-headers-10, structured as RFC 9651 has it."""
        policy = standing.policy
        if policy is None:
            return _UNLIMITED
        reset_s = self._clock.now_us() // 1_000_000 + standing.reset_in_s
        name = policy.rate_class.value.encode()
        return [
            (b"x-ratelimit-limit", b"%d" % policy.limit),
            (b"x-ratelimit-remaining", b"%d" % standing.remaining),
            (b"x-ratelimit-reset", b"%d" % reset_s),
            (b"ratelimit-policy", _policy_field(policy)),
            (b"ratelimit", b'"%b";r=%d;t=%d' % (name, standing.remaining, standing.reset_in_s)),
        ]


def header_lines(headers: RawHeaders) -> bytes:
    """Headers as they stand in an answer."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])


_UNLIMITED_LINES = header_lines(_UNLIMITED)


def _lines_with(policy: Policy) -> bytes:
    """What `headers_of` gives for this policy, with places for remaining, reset, and both again."""
    name = policy.rate_class.value.encode()
    return (
        b"x-ratelimit-limit: %d\r\nx-ratelimit-remaining: %%d\r\nx-ratelimit-reset: %%d\r\n"
        b'ratelimit-policy: %b\r\nratelimit: "%b";r=%%d;t=%%d\r\n'
    ) % (policy.limit, _policy_field(policy), name)


@lru_cache(maxsize=64)
def _policy_field(policy: Policy) -> bytes:
    unit = f';qu="{policy.unit}"' if policy.per_s else ""
    return f'"{policy.rate_class}";q={policy.limit}{unit};w={policy.window_s}'.encode()


def budgets_shown(standings: Iterable[Standing]) -> dict[str, dict[str, int]]:
    """Budgets by class, as GET /auth/whoami answers."""
    return {
        one.policy.rate_class.value: {
            "limit": one.policy.limit,
            "remaining": one.remaining,
            "window": one.policy.window_s,
            "reset_in": one.reset_in_s,
        }
        for one in standings
        if one.policy is not None
    }


def class_of(method: str, template: str) -> RateClass:
    """The budget of a route: reads have one, everything else another. Made once for each route."""
    is_read = method in ("GET", "HEAD") or template.endswith(_QUERY)
    if template.startswith("/auth/"):
        is_read = False
    return RateClass.QUERY if is_read else RateClass.CONTROL


def _state(scope: Scope) -> dict[str, Any]:
    return cast("dict[str, Any]", scope.setdefault("state", {}))
