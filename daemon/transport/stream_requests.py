"""Reads what a stream's handshake or request says: which door, whose credential, what it wants."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.types import Scope

from daemon.domain.errors import Malformed
from daemon.domain.wanted import Wanted, read_wanted
from daemon.transport.auth import token_of
from daemon.transport.reading import point_tags_of

STREAM_PREFIX = "/api/v1/telemetry/stream/"
SOCKET_PATH = "/ws"
SUBSCRIPTION_PREFIX = "/ws/telemetry/"
SUBPROTOCOL = "telemetry.v1"
BEARER_PREFIX = "base64url.bearer.telemetry."
QUERY_PAIRS_MAX = 512
NAME_MAX = 128
_LISTS = ("device_ids", "metric_names", "groups")

Query = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Door:
    """Where a stream is asked for: a subscription, a channel, or neither for in-band actions."""

    subscription_id: str | None = None
    channel: str | None = None

    @property
    def name(self) -> str:
        """For the log."""
        if self.subscription_id is not None:
            return "subscription"
        return "socket" if self.channel is None else "channel"


@dataclass(frozen=True, slots=True)
class Shown:
    """The credential that a request shows, if any: a key, or a ticket."""

    token: str | None = None
    ticket: str | None = None


def door_of(path: str) -> Door | None:
    """The door at this path; None when there is none. A name is not looked up here."""
    if path == SOCKET_PATH:
        return Door()
    for prefix, kind in ((SUBSCRIPTION_PREFIX, "subscription_id"), (STREAM_PREFIX, "channel")):
        name = path.removeprefix(prefix)
        if name != path and 0 < len(name) <= NAME_MAX and name.isprintable() and "/" not in name:
            return Door(**{kind: name})
    return None


def query_of(scope: Scope) -> Query:
    """The decoded query. Raises Malformed."""
    try:
        return parse_qsl(
            scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            max_num_fields=QUERY_PAIRS_MAX,
            errors="strict",
        )
    except ValueError as error:
        raise Malformed("the query can't be read") from error


def shown_in(scope: Scope, query: Query) -> Shown:
    """The credential of the header, else of the subprotocols, else of the query (C-14)."""
    token = token_of(scope["headers"])
    if token is None:
        token = _from_subprotocols(scope.get("subprotocols") or [])
    if token is not None:
        return Shown(token=token)
    found = dict(query)
    if found.get("ticket"):
        return Shown(ticket=found["ticket"])
    return Shown(token=found.get("token") or None)


def _from_subprotocols(offered: list[str]) -> str | None:
    """A key as browsers can send it: base64url without padding, as a subprotocol."""
    coded = next((one for one in offered if one.startswith(BEARER_PREFIX)), None)
    if coded is None:
        return None
    text = coded.removeprefix(BEARER_PREFIX)
    try:
        padded = text + "=" * (-len(text) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        # A credential was shown, and it is none that could be right.
        return ""


def subprotocol_of(scope: Scope) -> str | None:
    """What to answer: never the one that holds the key."""
    return SUBPROTOCOL if SUBPROTOCOL in (scope.get("subprotocols") or []) else None


def cursor_in(scope: Scope, query: Query) -> str | None:
    """Where to go on from: `Last-Event-ID`, which a browser keeps up to date, else `cursor`."""
    for name, value in scope["headers"]:
        if name == b"last-event-id" and value:
            return str(value.decode("latin-1"))
    return dict(query).get("cursor") or None


def wanted_in(query: Query, *, channel: str, cursor: str | None) -> Wanted:
    """The filters of an address. Raises Malformed and Invalid."""
    lists: dict[str, list[str]] = {name: [] for name in _LISTS}
    frequency: int | None = None
    for name, text in query:
        if name in lists:
            lists[name] += [one for one in text.split(",") if one]
        elif name == "max_frequency" and text:
            if not text.isascii() or not text.isdigit() or len(text) > 9:
                raise Malformed("max_frequency is whole milliseconds", code="bad_max_frequency")
            frequency = int(text)
    said = {name: found or None for name, found in lists.items()}
    return read_wanted(
        {**said, "channels": [channel], "tags": point_tags_of(query), "max_frequency": frequency}
        | {"resume": cursor}
    )
