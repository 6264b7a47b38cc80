"""ETags: whether the client has this version already, and whether it changes the one it has seen.

A strong tag is `"<revision>-<digest>"`: when somebody last changed the thing, and all that the
answer says. `If-None-Match` asks for the whole. `If-Match` asks for the revision only, since a
counter that moved meanwhile is no edit; it is checked in the transaction of the change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Any, cast

import orjson
from starlette.requests import Request
from starlette.responses import Response

from daemon.store.pool import beside
from daemon.store.revisions import Noun, Precondition
from telemetryctl.api.model import EPOCH

_PREFIX = "/api/v1/telemetry"
_DIGITS = 16
# What a path shows or changes, and the parameter that names it.
_NOUNS: dict[str, tuple[Noun, str]] = {
    "/metrics/{metric_name}": ("metric", "metric_name"),
    "/devices/{device_id}": ("device", "device_id"),
    "/groups/{group_id}": ("group", "group_id"),
    "/groups/{group_id}/devices/{device_id}": ("group", "group_id"),
    "/alerts/rules/{rule_id}": ("rule", "rule_id"),
    "/alerts/rules/{rule_id}/enable": ("rule", "rule_id"),
    "/channels/{name}": ("channel", "name"),
    "/silences/{silence_id}": ("silence", "silence_id"),
    "/watches/{watch_id}": ("watch", "watch_id"),
    "/alerts/{alert_id}": ("alert", "alert_id"),
    "/alerts/{alert_id}/acknowledge": ("alert", "alert_id"),
    "/alerts/{alert_id}/resolve": ("alert", "alert_id"),
    "/keys/{key_id}": ("key", "key_id"),
    "/keys/{key_id}/rotate": ("key", "key_id"),
    "/accounts/{username}": ("account", "username"),
}

_MADE: dict[str, Noun] = {
    "/metrics": "metric",
    "/groups": "group",
    "/alerts/rules": "rule",
    "/channels": "channel",
    "/silences": "silence",
    "/watches": "watch",
    "/keys": "key",
    "/accounts": "account",
}
"""Where a POST makes what has a tag."""
# What a rotation sets is all that changes of a key.
_CHANGED: dict[Noun, str] = {"alert": "status", "key": "former_valid_until"}
_SAID_ONCE: dict[Noun, Collection[str]] = {
    "rule": ("findings", "success", "message", "closed_alerts"),
    "channel": ("secret",),
    "key": ("key",),
}
"""What the answer to a change says beside the thing."""

Respond = Callable[[Request], Awaitable[Response]]
Tagged = tuple[Noun, str]


def tagged(template: str) -> Tagged | None:
    """What a route shows or changes, if that has a tag."""
    return _NOUNS.get(template.removeprefix(_PREFIX))


def made(template: str) -> Noun | None:
    """What a POST to this path makes, if that has a tag."""
    return _MADE.get(template.removeprefix(_PREFIX))


async def respond_tagged(request: Request, what: Tagged, respond: Respond) -> Response:
    """The answer with its tag, or 304; a change only of what `If-Match` names. Raises Stale."""
    noun, parameter = what
    if request.method == "GET":
        return _shown(request, await respond(request), noun=noun)
    wanted = request.headers.get("if-match")
    if wanted is None or wanted.strip() == "*":
        return tag_change(await respond(request), noun=noun)
    row_id = str(request.path_params[parameter])
    member = request.path_params.get("device_id") if noun == "group" else None
    revisions = _revisions_in(wanted)
    with beside(Precondition(noun, row_id, revisions=revisions, member=member)):
        response = await respond(request)
    return tag_change(response, noun=noun)


def tag_change(response: Response, *, noun: Noun) -> Response:
    """The answer to a change, with the tag of what it shows: what was made or changed just now can
    be changed again without being read before."""
    if response.status_code in (200, 201):
        aside = _SAID_ONCE.get(noun, ())
        shown = orjson.loads(bytes(response.body))
        thing = {name: value for name, value in shown.items() if name not in aside}
        if _CHANGED.get(noun, "updated_at") in thing:
            response.headers["ETag"] = _tag_of(noun, orjson.dumps(thing), thing)
    return response


def _tag_of(noun: Noun, body: bytes, shown: dict[str, Any]) -> str:
    digest = hashlib.sha256(body).hexdigest()[:_DIGITS]
    return f'"{_revision_of(noun, shown)}-{digest}"'


def _shown(request: Request, response: Response, *, noun: Noun) -> Response:
    if response.status_code != 200:
        return response
    body = bytes(response.body)
    etag = _tag_of(noun, body, orjson.loads(body))
    if is_known(request, etag):
        return Response(status_code=304, headers={"ETag": etag, "Cache-Control": "no-store"})
    response.headers["ETag"] = etag
    return response


def _revision_of(noun: Noun, shown: dict[str, Any]) -> str:
    """As store/revisions reads it from the row."""
    changed = shown.get(_CHANGED.get(noun, "updated_at"))
    if noun == "alert":
        return cast(str, changed)
    if changed is None:
        return "0"
    since = datetime.fromisoformat(changed) - EPOCH
    return str((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def _revisions_in(if_match: str) -> frozenset[str]:
    """Of the strong tags of the header; a weak one never matches (RFC 9110, 13.1.1)."""
    tags = [tag.strip() for tag in if_match.split(",")]
    return frozenset(tag[1:-1].partition("-")[0] for tag in tags if tag.startswith('"'))


def is_known(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` names this tag, so that 304 is enough."""
    wanted = request.headers.get("if-none-match")
    return wanted is not None and matches(wanted, etag)


def matches(if_none_match: str, etag: str) -> bool:
    """Weak comparison with each of the header's tags (RFC 9110, 13.1.2)."""
    opaque = etag.removeprefix("W/")
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or opaque in tags
