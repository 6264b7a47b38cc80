"""Routes of API keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from daemon.domain.key_request import KeyRequest
from daemon.domain.signatures import public_key_of
from daemon.transport.answers import json_answer
from daemon.transport.auth import KeysHolder
from daemon.transport.paging import Limit, Offset
from daemon.transport.routing import new_router
from daemon.transport.services import Parts
from telemetryctl.api.keys import Key, KeyCreate, KeyCreated, KeyList, KeyRevoked, KeyRotate

router = new_router(tags=["keys"])

KeyId = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-z_]+$")]


@router.post("/keys", status_code=201, response_model=KeyCreated, operation_id="create_key")
async def create_key(body: KeyCreate, who: KeysHolder, parts: Parts) -> Response:
    """Make a key; its secret is in this answer only."""
    wanted = KeyRequest(
        name=body.name,
        scopes=[str(scope) for scope in body.scopes],
        tier=str(body.tier),
        lifetime=None if body.expires_in is None else timedelta(seconds=body.expires_in),
        devices=body.devices,
        groups=body.groups,
        metrics=body.metrics,
        signing_key=_signing_key(body.signing_key),
    )
    return json_answer(await parts.keys.create(wanted, by=who), status=201)


@router.get("/keys", response_model=KeyList, operation_id="list_keys")
async def list_keys(
    who: KeysHolder, parts: Parts, limit: Limit = 100, offset: Offset = 0
) -> Response:
    """The keys that may do no more than the asking one, newest first."""
    keys, total = await parts.keys.page(by=who, limit=limit, offset=offset)
    return json_answer(
        {"keys": [_shown(key) for key in keys], "count": len(keys), "total": total, "filters": {},
         "limit": limit, "offset": offset}
    )  # fmt: skip


@router.get("/keys/{key_id}", response_model=Key, operation_id="show_key")
async def show_key(key_id: KeyId, who: KeysHolder, parts: Parts) -> Response:
    """One key, without its secret."""
    return json_answer(_shown(await parts.keys.show(key_id, by=who)))


@router.delete("/keys/{key_id}", response_model=KeyRevoked, operation_id="revoke_key")
async def revoke_key(key_id: KeyId, who: KeysHolder, parts: Parts) -> Response:
    """Accept a key no longer."""
    await parts.keys.revoke(key_id, by=who)
    return json_answer({"success": True, "message": f"{key_id} is revoked"})


@router.post("/keys/{key_id}/rotate", response_model=KeyCreated, operation_id="rotate_key")
async def rotate_key(
    key_id: KeyId, who: KeysHolder, parts: Parts, body: KeyRotate | None = None
) -> Response:
    """Give a key a new secret; the former one stays valid for `overlap`."""
    wanted = body or KeyRotate()
    rotated = await parts.keys.rotate(
        key_id,
        overlap=timedelta(seconds=wanted.overlap),
        by=who,
        signing_key=_signing_key(wanted.signing_key),
    )
    return json_answer(rotated)


def _signing_key(text: str | None) -> bytes | None:
    return None if text is None else public_key_of(text)


def _shown(key: object) -> dict[str, object]:
    """A key without the member that would hold its secret."""
    slots: tuple[str, ...] = type(key).__slots__  # type: ignore[attr-defined]
    return {name: getattr(key, name) for name in slots if name != "key"}
