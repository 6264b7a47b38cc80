"""What all doors of the stream share: what is wanted, what arrives, and how a door may fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from telemetryctl.client.credential import Credential
from telemetryctl.failures import Failure, NotAllowed, Refused

Point = dict[str, Any]
DEVICES_MAX = 100  # contract section 8
OPEN_TIMEOUT_S = 10.0
DEAD_AFTER_S = 65.0
"""Heartbeats come every 30 s; a server that was not heard of for two of them is gone."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the doors are. The token goes into a header and nowhere else."""

    server: str
    credential: Credential = field(default_factory=Credential, repr=False)
    log: Callable[[str, int], None] = field(default=lambda _text, _level: None, repr=False)

    @property
    def is_loopback(self) -> bool:
        """Whether it is this host, which no proxy of the environment can reach."""
        return urlsplit(self.server).hostname in ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which points of a stream; empty means all. `every_ms` asks for the newest of each span."""

    devices: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] = ()
    every_ms: int | None = None
    channel: str = "telemetry"

    def action(self, resume: str) -> dict[str, Any]:
        """The in-band `subscribe` of a WebSocket (contract 8.1)."""
        asked: dict[str, Any] = {"action": "subscribe", "channels": [self.channel]}
        for name, names in self._names():
            asked[name] = list(names)
        if self.tags:
            asked["tags"] = dict(self.tags)
        if self.every_ms is not None:
            asked["max_frequency"] = self.every_ms
        return {**asked, "resume": resume} if resume else asked

    def params(self) -> dict[str, str]:
        """The same as parameters of a request."""
        long_names = {"devices": "device_ids", "metrics": "metric_names", "groups": "groups"}
        asked = {long_names[name]: ",".join(names) for name, names in self._names()}
        return asked | {f"tag.{key}": value for key, value in self.tags}

    def selection(self) -> dict[str, list[str]]:
        """What a saved position belongs to."""
        tags = [f"{key}={value}" for key, value in self.tags]
        return {name: sorted(names) for name, names in [*self._names(), ("tags", tags)] if names}

    def _names(self) -> list[tuple[str, tuple[str, ...]]]:
        every = [("devices", self.devices), ("metrics", self.metrics), ("groups", self.groups)]
        return [(name, names) for name, names in every if names]


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: `cursor` is the place behind it, empty when it has none."""

    kind: str
    cursor: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def points(self) -> Sequence[Point]:
        """The points of an `update`."""
        found = self.data.get("data_points") if self.kind == "update" else None
        return found if isinstance(found, list) else ()


class Lost(Exception):
    """There is no connection; another try may do better, after `retry_after_s` if that is said."""

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Unauthenticated(NotAllowed):
    """The server does not know the credential, or not any more; another one may do better."""


class Unfit(Exception):
    """This door does not work here, though another one may: no upgrade, or no such stream."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Door(Protocol):
    """One way to the stream. All calls raise Lost, Unfit or Failure (nothing will help)."""

    @property
    def name(self) -> str: ...

    def open(self, after: str) -> Frame:
        """Connect and begin behind the cursor (empty: now); the `subscribed` frame."""

    def receive(self, timeout_s: float) -> Frame | None:
        """The next frame, or None when nothing came in time."""

    def close(self) -> None:
        """Let go of the connection, if there is one."""


def frame_of(document: Any) -> Frame:
    """A frame from its JSON. Raises Lost for something else, and what an error frame means."""
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        raise Lost("something arrived that is no frame")
    if document["type"] == "error":
        raise error_of(document.get("error"))
    data = document.get("data")
    cursor = document.get("cursor")
    return Frame(
        document["type"],
        cursor if isinstance(cursor, str) else "",
        data if isinstance(data, dict) else {},
    )


def error_of(said: Any) -> Exception:
    """What an error frame (contract section 1) means for the one who listens."""
    error = said if isinstance(said, dict) else {}
    code, message = str(error.get("code") or ""), str(error.get("message") or "no reason given")
    match code:
        case "RATE_LIMIT_EXCEEDED":
            return Lost(message, retry_after_s=seconds_of(error.get("retryAfter")))
        case "STREAM_UNAVAILABLE" | "INVALID_ENDPOINT":
            return Unfit(message)
        case "AUTH_REQUIRED" | "SIGNATURE_REQUIRED" | "SIGNATURE_INVALID":
            return unauthenticated(message)
    return Refused(message, why=f"the server said {code}" if code else "")


_LOG_IN = "telemetryctl login URL --token-stdin, or telemetryctl whoami"


def not_allowed(message: str) -> Failure:
    """An insufficient key."""
    return NotAllowed(message, hint=_LOG_IN)


def unauthenticated(message: str) -> Failure:
    """A missing or an ended one."""
    return Unauthenticated(message, hint=_LOG_IN)


def seconds_of(value: Any) -> float | None:
    """A number of seconds that a server sent, or None."""
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        return None
