"""What a client says on a WebSocket: `{"action": "subscribe" | "unsubscribe" | "ping" | "auth"}`
(contract 8.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from daemon.domain.errors import Invalid
from daemon.domain.wanted import Wanted, read_wanted
from daemon.service.streams import Stream
from daemon.transport.reception import StreamParts

_UNSUBSCRIBE_FIELDS = frozenset({"subscription_id", "devices", "device_ids", "channels"})


def decoded(text: bytes | str) -> dict[str, Any]:
    """The object of a message. Raises Invalid."""
    try:
        said = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
        raise Invalid("a message is a JSON object", code="bad_json") from error
    if not isinstance(said, dict):
        raise Invalid("a message is a JSON object", code="bad_json")
    return said


async def act(parts: StreamParts, stream: Stream, text: bytes | str) -> None:
    """Do what a message says; what it becomes is said with frames. Raises DomainError."""
    said = decoded(text)
    action = said.pop("action", None)
    match action:
        case "subscribe":
            wanted = read_wanted(said)
            await parts.streams.subscribe(stream, wanted)
            if parts.streams.has(wanted.resume):
                # It resumes, so it was no new stream (C-18).
                stream.slot.was_resume()
        case "unsubscribe":
            changed = parts.streams.unsubscribe(stream, _remains(said))
            if not changed:
                raise Invalid("there is no such subscription", code="not_subscribed")
        case "ping":
            parts.streams.say(stream, "pong", {})
        case "pong":
            # The answer of a client to a heartbeat; that it was heard is all it says.
            pass
        case None if said.get("type") == "pong":
            pass
        case "auth":
            raise Invalid("the key was shown already", code="already_authenticated")
        case _:
            raise Invalid(
                "the action is one of subscribe, unsubscribe, ping", code="unknown_action"
            )


def _remains(said: dict[str, Any]) -> Callable[[str, Wanted], Wanted | None]:
    """What an unsubscribe leaves of a subscription: devices or channels less, one, or none."""
    unknown = next((name for name in said if name not in _UNSUBSCRIBE_FIELDS), None)
    if unknown is not None:
        raise Invalid(f"there is no field {unknown[:64]!r}", code="unknown_field")
    wanted_id = said.pop("subscription_id", None)
    if wanted_id is not None and not isinstance(wanted_id, str):
        raise Invalid("subscription_id is a text", code="bad_name")
    less = read_wanted(said)

    def remains(key: str, wanted: Wanted) -> Wanted | None:
        if wanted_id is not None and key != wanted_id:
            return wanted
        if less.devices and not set(less.devices) & set(wanted.devices):
            return wanted
        if less.channels and not set(less.channels) & set(wanted.channels or ("telemetry",)):
            return wanted
        rest: Wanted | None = None
        if less.devices:
            rest = wanted.without_devices(less.devices)
        elif less.channels:
            rest = wanted.without_channels(less.channels)
        return rest

    return remains
