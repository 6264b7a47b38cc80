"""Who a request comes from, found before its body is read (contract 9.1, order of checks)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Annotated, cast

from fastapi import Depends
from fastapi.dependencies.models import Dependant
from starlette.requests import Request
from starlette.types import Scope

from daemon.domain.access import SCOPES, Principal
from daemon.domain.former_callers import ADDRESS_MAX, Caller
from daemon.service.keys import Keys
from daemon.transport.agents import agent_of
from daemon.transport.signatures import check_signature

INTERNAL = "internal_caller"
"""Where the state of a request has the holder that transport/internal_door let in."""
ANY_SCOPE = "any"
NO_CREDENTIAL = "none"
_BEARER = b"bearer "

PrincipalFinder = Callable[[Request], Awaitable[Principal]]


def token_of(raw_headers: list[tuple[bytes, bytes]]) -> str | None:
    """The credential of `Authorization: Bearer X` or `X-Api-Key: X`; None when there is none.

    `raw_headers` are those of an ASGI scope: names in lower case. Two that differ are none that
    could be right: another reader of the request might have taken the other one.
    """
    found: str | None = None
    for name, value in raw_headers:
        if name == b"authorization":
            if value[:7].lower() != _BEARER:
                continue
            token = value[7:].strip().decode("latin-1")
        elif name == b"x-api-key":
            token = value.strip().decode("latin-1")
        else:
            continue
        if found is not None and token != found:
            return ""
        found = token
    return found


def address_of(scope: object) -> str:
    """The address the connection came from."""
    client = cast("dict[str, tuple[str, int] | None]", scope).get("client")
    return client[0] if client else "unknown"


def caller_of(scope: Scope) -> Caller:
    """As the owner of its key may see it."""
    return Caller(address_of(scope)[:ADDRESS_MAX], agent_of(scope["headers"]))


def note_former(principal: Principal, scope: Scope, *, keys: Keys) -> None:
    """Remember who comes with a former secret, by whichever door; others cost nothing."""
    if principal.former_until is not None:
        keys.uses.former.note(
            caller_of(scope), key_id=principal.key_id, until=principal.former_until
        )


async def authenticate(scope: Scope, keys: Keys) -> Principal:
    """The holder of the request's key, who signed it if the key wants that.

    Raises Unauthenticated, StoreUnavailable, Busy.
    """
    internal: Principal | None = scope.get("state", {}).get(INTERNAL)
    if internal is not None:
        return internal
    token = token_of(scope["headers"])
    address = address_of(scope)
    principal = None if token is None else keys.cached(token, address=address)
    if principal is None:
        principal = await keys.authenticate(token, address=address)
    check_signature(scope, principal, signatures=keys.signatures, address=address)
    note_former(principal, scope, keys=keys)
    return principal


@lru_cache(maxsize=64)
def requires(scope: str) -> PrincipalFinder:
    """A FastAPI dependency that declares the scope of its route and gives the Principal.

    The route itself (transport/routing) reads the declaration, and checks it before it reads a
    body.
    """
    if scope not in (*SCOPES, ANY_SCOPE):
        raise ValueError(f"{scope} is not a scope")

    async def principal_of(request: Request) -> Principal:
        principal: Principal = request.state.principal
        return principal

    principal_of.__dict__["x_scope"] = scope
    return principal_of


def declared_scope(dependant: Dependant) -> str | None:
    """The scope that a route declares with `requires`, however deep."""
    found = getattr(dependant.call, "x_scope", None)
    if found is not None:
        return str(found)
    for inner in dependant.dependencies:
        scope = declared_scope(inner)
        if scope is not None:
            return scope
    return None


AnyHolder = Annotated[Principal, Depends(requires(ANY_SCOPE))]
Ingester = Annotated[Principal, Depends(requires("ingest"))]
Reader = Annotated[Principal, Depends(requires("read"))]
Exporter = Annotated[Principal, Depends(requires("export"))]
AlertsWriter = Annotated[Principal, Depends(requires("alerts:write"))]
MetricsWriter = Annotated[Principal, Depends(requires("metrics:write"))]
DevicesWriter = Annotated[Principal, Depends(requires("devices:write"))]
KeysHolder = Annotated[Principal, Depends(requires("keys"))]
Admin = Annotated[Principal, Depends(requires("admin"))]
