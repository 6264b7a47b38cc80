"""The stream over a WebSocket: `/ws` with an in-band subscription (contract section 8)."""

from __future__ import annotations

import json
import logging
import ssl
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from telemetryctl import __version__
from telemetryctl.client.doors import (
    OPEN_TIMEOUT_S,
    Endpoint,
    Frame,
    Lost,
    Unfit,
    Wanted,
    frame_of,
    not_allowed,
    seconds_of,
    unauthenticated,
)
from telemetryctl.client.lean import httpx

if TYPE_CHECKING:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import ClientConnection

PATH = "/ws"
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
CLOSE_TIMEOUT_S = 1.0
PING_S = 25.0
_AWAY_STATUSES = frozenset({429, 500, 502, 503, 504})


@dataclass(slots=True)
class WebSocketDoor:
    """One connection with one subscription."""

    endpoint: Endpoint
    wanted: Wanted
    name: str = "ws"
    _connection: ClientConnection | None = field(default=None, repr=False)
    _early: list[Frame] = field(default_factory=list, repr=False)
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)

    def open(self, after: str) -> Frame:
        self.close()
        self._connection = self._connect()
        try:
            self._connection.send(json.dumps(self.wanted.action(after)))
            return self._subscribed()
        except BaseException as error:
            self.close()
            _raise_meaning(error)

    def receive(self, timeout_s: float) -> Frame | None:
        if self._early:
            return self._early.pop(0)
        try:
            return self._next(timeout_s)
        except Exception as error:
            _raise_meaning(error)

    def close(self) -> None:
        self._early.clear()
        self._connection = None
        with suppress(Exception):
            self._stack.close()

    def _connect(self) -> ClientConnection:
        # Another server at another address must not get the key, so no redirect is followed.
        from websockets.sync.client import reconnect

        class Direct(reconnect):
            def process_redirect(self, exc: Exception) -> Exception | str:
                return exc

        scheme, _, rest = self.endpoint.server.partition("://")
        url = f"{'wss' if scheme == 'https' else 'ws'}://{rest.rstrip('/')}{PATH}"
        logger = logging.getLogger("telemetryctl.websockets")
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
        try:
            opening = Direct(
                url,
                additional_headers=self._shown(),
                user_agent_header=f"telemetryctl/{__version__}",
                compression=None,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=PING_S,
                ping_timeout=PING_S,
                max_size=MESSAGE_BYTES_MAX,
                proxy=None if self.endpoint.is_loopback else True,
                ssl=_tls(self.endpoint) if scheme == "https" else None,
                logger=logger,
            )
            connection = self._stack.enter_context(opening)
        except Exception as error:
            _raise_meaning(error)
        self.endpoint.log(f"GET {url} 101", 1)
        return connection

    def _shown(self) -> dict[str, str]:
        """The credential of the upgrade, which is a GET (RFC 6455, section 4.1)."""
        request = httpx.Request("GET", f"{self.endpoint.server.rstrip('/')}{PATH}")
        self.endpoint.credential.put_on(request)
        return {name: value for name, value in request.headers.items() if name != "host"}

    def _subscribed(self) -> Frame:
        """Wait for the `subscribed` frame; what comes before it and matters is kept."""
        while True:
            frame = self._next(OPEN_TIMEOUT_S)
            if frame is None:
                raise Unfit(f"nothing came within {OPEN_TIMEOUT_S:.0f} s")
            if frame.kind == "subscribed":
                return frame
            if frame.kind not in ("welcome", "ping"):
                self._early.append(frame)

    def _next(self, timeout_s: float) -> Frame | None:
        assert self._connection is not None
        try:
            text = self._connection.recv(timeout=max(timeout_s, 0.0))
        except TimeoutError:
            return None
        return frame_of(_json(text))


def _tls(endpoint: Endpoint) -> ssl.SSLContext:
    """The same certificates as for every other request."""
    return httpx.create_ssl_context(trust_env=not endpoint.is_loopback)


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Lost("something arrived that is no frame") from error


def _raise_meaning(error: BaseException) -> NoReturn:
    meaning = _meaning(error)
    if meaning is error:
        raise error
    raise meaning from error


def _meaning(error: BaseException) -> BaseException:
    """What an error of the connection means for the stream."""
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

    match error:
        case ConnectionClosed():
            return _closed(error)
        case InvalidStatus():
            return _refused(error)
        case InvalidHandshake():
            return Unfit(str(error))
        case TimeoutError():
            return Lost("no answer in time")
        case OSError() | EOFError():
            return Lost(str(error) or type(error).__name__)
    return error


def _closed(error: Any) -> Exception:
    """The close codes of the contract, section 8."""
    received = error.rcvd
    code, reason = (received.code, received.reason) if received is not None else (1006, "")
    match code:
        case 4001:
            return unauthenticated(reason or "the key is not valid any more")
        case 4003:
            return not_allowed(reason or "the key may not read this stream")
        case 1012:
            return Lost("the server restarts")
        case 1003:
            return Unfit(reason or f"the server closed with {code}")
        case 4029:
            return Lost(reason or "too many messages or connections")
    return Lost(reason or f"the connection ended ({code})")


def _refused(error: InvalidStatus) -> Exception:
    """An upgrade that was answered with something else; the next door hears the real reason."""
    response = error.response
    text = f"the upgrade was answered with {response.status_code}"
    if response.status_code in _AWAY_STATUSES:
        after_s = seconds_of(response.headers.get("Retry-After"))
        return Lost(text, retry_after_s=after_s)
    return Unfit(text)
