"""Publishes CloudEvents to a JetStream stream of NATS, and makes the stream if it is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js import errors as js_errors

from daemon.domain.cloud_events import CloudEvent
from daemon.domain.errors import TryLater
from daemon.log import get_logger

STREAM = "TELEMETRY"
SUBJECTS = ("telemetry.>", "alert.>", "metric.>")
KEEP_S = 7 * 86_400.0
"""How long a stream that we make holds a message."""
SAME_S = 600.0
"""For so long it knows an id again."""
CONNECT_TIMEOUT_S = 3
ANSWER_TIMEOUT_S = 5.0
ON_THE_WAY_MAX = 256
"""Messages that wait for their acknowledgement at a time."""
HEADERS_BYTES = 2_048
"""Room for the headers within the largest message that the server takes."""
_TOO_LARGE = 10054
_OVERLAPS = 10065

log = get_logger()


class NatsUnavailable(TryLater):
    """NATS does not take messages now."""

    code = "nats_unavailable"


@dataclass(frozen=True, slots=True)
class NatsLogin:
    """Where the servers are and who we are; empty means none. `url` may name several, by commas."""

    url: str
    user: str = ""
    password: str = ""
    token: str = ""
    credentials_file: str = ""

    def options(self) -> dict[str, Any]:
        """What the client takes."""
        given = {
            "user": self.user,
            "password": self.password,
            "token": self.token,
            "user_credentials": self.credentials_file,
        }
        return {name: value for name, value in given.items() if value}


class NatsPublisher:
    """One connection; who uses it decides when to try again."""

    def __init__(self, login: NatsLogin) -> None:
        self._login = login
        self._client: Client | None = None
        self._stream: JetStreamContext | None = None
        self._waiting: asyncio.Timeout | None = None

    @property
    def is_connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    async def connect(self) -> None:
        """Connect, if that is lost, and see to the stream. Raises NatsUnavailable."""
        if self.is_connected:
            return
        await self.close()
        # Trying again is ours: the client would keep what can't be sent in memory meanwhile.
        client = Client()
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                await client.connect(
                    self._login.url.split(","),
                    name="telemetryd relay",
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    error_cb=_ignore,
                    disconnected_cb=self._lost,
                    **self._login.options(),
                )
                stream = client.jetstream(timeout=CONNECT_TIMEOUT_S)
                await _make_stream(stream)
        except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
            await _closed(client)
            raise _unavailable(error) from error
        except BaseException:
            await _closed(client)
            raise
        self._client, self._stream = client, stream

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """Publish in order; on return the stream has stored all of them.

        One that the server would never take goes without its data. Raises NatsUnavailable; then
        any of them may be stored, and sending them again makes no second copy for SAME_S.
        """
        for at in range(0, len(events), ON_THE_WAY_MAX):
            await self._publish_some(events[at : at + ON_THE_WAY_MAX])

    async def _publish_some(self, events: Sequence[CloudEvent]) -> None:
        client, stream = self._client, self._stream
        if client is None or stream is None:
            raise NatsUnavailable
        room = client.max_payload - HEADERS_BYTES
        try:
            async with asyncio.timeout(None) as self._waiting:
                await _send_all(stream, events, room=room)
                self._waiting = None
        except (nats.errors.Error, OSError, TimeoutError) as error:
            self._waiting = None
            await self.close()
            raise _unavailable(error) from error

    async def _lost(self) -> None:
        """The connection is gone: who waits for answers needs not wait longer."""
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def close(self) -> None:
        """Drop the connection; nothing is waited for."""
        client, self._client, self._stream = self._client, None, None
        if client is not None:
            await _closed(client)


async def _send_all(stream: JetStreamContext, events: Sequence[CloudEvent], *, room: int) -> None:
    # They begin in this order, and what is written first is stored first.
    answers = await asyncio.gather(
        *(_send(stream, event, room=room) for event in events), return_exceptions=True
    )
    for event, answer in zip(events, answers, strict=True):
        if isinstance(answer, BaseException):
            await _send_short(stream, event, refused=answer)


async def _send(stream: JetStreamContext, event: CloudEvent, *, room: int) -> None:
    data = event.data if len(event.data) <= room else event.short
    headers = {"Nats-Msg-Id": event.id, **event.headers()}
    await stream.publish(event.bus_subject, data, timeout=ANSWER_TIMEOUT_S, headers=headers)


async def _send_short(stream: JetStreamContext, event: CloudEvent, *, refused: Any) -> None:
    """A message that is too large for the stream goes without its data, and at worst not at all."""
    if not _is_too_large(refused):
        raise refused
    try:
        await _send(stream, event, room=0)
    except js_errors.APIError as error:
        if not _is_too_large(error):
            raise
        log.error("nats_message_too_large", id=event.id, type=event.type)


def _is_too_large(error: BaseException) -> bool:
    return isinstance(error, js_errors.APIError) and error.err_code == _TOO_LARGE


async def _make_stream(stream: JetStreamContext) -> None:
    """Leave a stream that is there as its owner made it."""
    try:
        await stream.stream_info(STREAM)
    except js_errors.NotFoundError:
        wanted = api.StreamConfig(
            name=STREAM,
            description="Telemetry: data received, definitions, alerts",
            subjects=list(SUBJECTS),
            max_age=KEEP_S,
            duplicate_window=SAME_S,
        )
        try:
            await stream.add_stream(wanted)
            log.info("nats_stream_made", stream=STREAM)
        except js_errors.BadRequestError as error:
            # Somebody's own stream takes these subjects: it will do.
            if error.err_code != _OVERLAPS:
                raise


def _unavailable(error: BaseException) -> NatsUnavailable:
    """Says why, without the address, which may hold a password."""
    said = str(error) if isinstance(error, nats.errors.Error) else ""
    return NatsUnavailable(f"NATS does not take messages: {said or type(error).__name__}")


async def _closed(client: Client) -> None:
    try:
        async with asyncio.timeout(1):
            await client.close()
    except (nats.errors.Error, OSError, TimeoutError):
        return


async def _ignore(_error: Exception) -> None:
    """Whoever publishes learns of it by the next call."""
