"""Routes of logins, and the one that says who a credential belongs to."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from daemon.clock import as_datetime
from daemon.domain.access import Principal
from daemon.service.sessions import Login as Tokens
from daemon.transport.answers import json_answer
from daemon.transport.auth import AnyHolder, address_of, caller_of, token_of
from daemon.transport.limits import budgets_shown
from daemon.transport.problems import PROBLEM_MEDIA_TYPE
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.keys import Principal as PrincipalAnswer
from telemetryctl.api.sessions import LoggedOut, Login, Logout, Refresh
from telemetryctl.api.sessions import Tokens as TokensAnswer

router = new_router(tags=["auth"])

OPEN = {"x-scope": "none"}
LIMITED: dict[int | str, dict[str, Any]] = {
    429: {
        "description": "Too many attempts failed; `Retry-After` says when to try again.",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}


@router.post(
    "/auth/login",
    response_model=TokensAnswer,
    operation_id="login",
    openapi_extra=OPEN,
    responses=LIMITED,
)
async def login(body: Login, request: Request, parts: Parts) -> Response:
    """Exchange a key, or a name and password, for an access token and a refresh token."""
    caller = caller_of(request.scope)
    if body.api_key is not None:
        return _tokens(await parts.sessions.login_key(body.api_key, caller=caller))
    assert body.username is not None
    assert body.password is not None
    return _tokens(
        await parts.sessions.login_account(body.username, body.password, address=caller.address)
    )


@router.post(
    "/auth/refresh",
    response_model=TokensAnswer,
    operation_id="refresh",
    openapi_extra=OPEN,
    responses=LIMITED,
)
async def refresh(body: Refresh, request: Request, parts: Parts) -> Response:
    """The next pair of tokens; a refresh token that comes again later ends its session."""
    refreshed = await parts.sessions.refresh(body.refresh_token, caller=caller_of(request.scope))
    return _tokens(refreshed)


@router.post(
    "/auth/logout",
    response_model=LoggedOut,
    operation_id="logout",
    openapi_extra=OPEN,
    responses=LIMITED,
)
async def logout(request: Request, parts: Parts, body: Logout | None = None) -> Response:
    """End the session of the refresh token, or of the access token that the request carries."""
    await parts.sessions.logout(
        refresh_token=body.refresh_token if body else None,
        access_token=token_of(request.scope["headers"]),
        address=address_of(request.scope),
    )
    return json_answer({"success": True, "message": "the session has ended"})


@router.get("/auth/whoami", response_model=PrincipalAnswer, operation_id="whoami")
async def whoami(who: AnyHolder, request: Request, parts: Parts) -> Response:
    """The holder of this request's credential and what it may do."""
    standings = await parts.limits.standings(who, address=address_of(request.scope))
    limits = {"limits": budgets_shown(standings)}
    if not who.key_id.startswith("key_"):
        return json_answer(_shown(who) | limits)
    key = await parts.keys.holder(who)
    return json_answer(
        {"principal": key.key_id, "key_id": key.key_id, "name": key.name, "scopes": key.scopes,
         "tier": key.tier, "devices": key.devices, "groups": key.groups, "metrics": key.metrics,
         "expires_at": key.expires_at} | limits
    )  # fmt: skip


def _shown(who: Principal) -> dict[str, object]:
    """An account, or the holder of another issuer's token."""
    ends_s = None if who.session is None else who.session.expires_s
    return {
        "principal": who.key_id,
        "key_id": None,
        "name": who.name,
        "scopes": sorted(who.scopes),
        "tier": who.tier,
        "devices": who.devices,
        "groups": who.groups,
        "metrics": who.metrics,
        "expires_at": None if ends_s is None else as_datetime(round(ends_s * 1_000_000)),
    }


def _tokens(login: Tokens) -> Response:
    answer = json_answer(
        {
            "access_token": login.access_token,
            "refresh_token": login.refresh_token,
            "token_type": "bearer",
            "expires_in": login.expires_in_s,
        }
    )
    # RFC 6749, section 5.1.
    answer.headers["cache-control"] = "no-store"
    return answer
