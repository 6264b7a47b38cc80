"""Routes of accounts."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from daemon.domain.account_request import AccountRequest
from daemon.transport.answers import json_answer
from daemon.transport.auth import Admin
from daemon.transport.paging import Limit, Offset
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.accounts import (
    Account,
    AccountChange,
    AccountCreate,
    AccountDeleted,
    AccountList,
)

router = new_router(tags=["accounts"])

Username = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]*$")]


@router.post("/accounts", status_code=201, response_model=Account, operation_id="create_account")
async def create_account(body: AccountCreate, who: Admin, parts: Parts) -> Response:
    """Make an account that logs in with a name and a password."""
    wanted = AccountRequest(
        username=body.username,
        password=body.password,
        scopes=[str(scope) for scope in body.scopes],
        tier=str(body.tier),
        devices=body.devices,
        groups=body.groups,
        metrics=body.metrics,
    )
    return json_answer(await parts.sessions.create_account(wanted, by=who), status=201)


@router.get("/accounts", response_model=AccountList, operation_id="list_accounts")
async def list_accounts(
    who: Admin, parts: Parts, limit: Limit = 100, offset: Offset = 0
) -> Response:
    """The accounts that may do no more than the asker, by name."""
    accounts, total = await parts.sessions.accounts.page(by=who, limit=limit, offset=offset)
    return json_answer(
        {"accounts": accounts, "count": len(accounts), "total": total, "filters": {},
         "limit": limit, "offset": offset}
    )  # fmt: skip


@router.get("/accounts/{username}", response_model=Account, operation_id="show_account")
async def show_account(username: Username, who: Admin, parts: Parts) -> Response:
    """One account."""
    return json_answer(await parts.sessions.accounts.show(username, by=who))


@router.patch("/accounts/{username}", response_model=Account, operation_id="change_account")
async def change_account(
    username: Username, body: AccountChange, who: Admin, parts: Parts
) -> Response:
    """Give an account another password, or close or open it; its sessions end."""
    changed = await parts.sessions.change_account(
        username, by=who, password=body.password, is_disabled=body.disabled
    )
    return json_answer(changed)


@router.delete("/accounts/{username}", response_model=AccountDeleted, operation_id="delete_account")
async def delete_account(username: Username, who: Admin, parts: Parts) -> Response:
    """Remove an account and end its sessions."""
    await parts.sessions.delete_account(username, by=who)
    return json_answer({"success": True, "message": f"{username} is deleted"})
