"""The stream as server-sent events (WHATWG HTML, section 9.2): one request whose answer goes on.

httpx reads in a thread of its own, since a read that times out would end its answer.
"""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from telemetryctl import __version__
from telemetryctl.client.doors import (
    DEAD_AFTER_S,
    OPEN_TIMEOUT_S,
    Endpoint,
    Frame,
    Lost,
    Unfit,
    Wanted,
    frame_of,
    seconds_of,
    unauthenticated,
)
from telemetryctl.client.errors import read_problem
from telemetryctl.client.lean import httpx

PATH = "/api/v1/telemetry/stream/"
QUEUED_MAX = 64
"""Frames that wait for the reader; then nothing more is read, and the server sees it."""
_PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})
_UNAUTHENTICATED = 401
_FINAL_STATUSES = frozenset({403, 422})


@dataclass(slots=True)
class SseDoor:
    """One subscription for each connection; resumed by `Last-Event-ID`."""

    endpoint: Endpoint
    wanted: Wanted
    name: str = "sse"
    _line: _Line | None = field(default=None, repr=False)

    def open(self, after: str) -> Frame:
        self.close()
        self._line = _Line(self._request(after), self.endpoint)
        try:
            return self._line.subscribed()
        except BaseException:
            self.close()
            raise

    def receive(self, timeout_s: float) -> Frame | None:
        assert self._line is not None
        return self._line.receive(timeout_s)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _request(self, after: str) -> httpx.Request:
        headers = {
            "User-Agent": f"telemetryctl/{__version__}",
            "Accept": "text/event-stream",
            "Cache-Control": "no-store",
        }
        if after:
            headers["Last-Event-ID"] = after
        params = self.wanted.params()
        if self.wanted.every_ms is not None:
            params["max_frequency"] = str(self.wanted.every_ms)
        url = f"{self.endpoint.server.rstrip('/')}{PATH}{self.wanted.channel}"
        # Heartbeats bound the read; the rest is bound by the one who waits for frames.
        timeout = httpx.Timeout(DEAD_AFTER_S, connect=OPEN_TIMEOUT_S)
        extensions = {"timeout": timeout.as_dict()}
        request = httpx.Request("GET", url, params=params, headers=headers, extensions=extensions)
        self.endpoint.credential.put_on(request)
        return request


class _Line:
    """One answer being read in a thread; `receive` hands its frames on."""

    def __init__(self, request: httpx.Request, endpoint: Endpoint) -> None:
        self._http = httpx.Client(trust_env=not endpoint.is_loopback, follow_redirects=False)
        self._request = request
        self._frames: queue.Queue[Frame | Exception] = queue.Queue(QUEUED_MAX)
        self._is_closed = threading.Event()
        self._socket: socket.socket | None = None
        self._endpoint = endpoint
        self._ended: Exception | None = None
        threading.Thread(target=self._read, daemon=True, name="sse").start()

    def subscribed(self) -> Frame:
        """Wait for the `subscribed` frame; a proxy that holds the answer back is no stream."""
        while True:
            frame = self.receive(OPEN_TIMEOUT_S)
            if frame is None:
                raise Unfit(f"nothing came within {OPEN_TIMEOUT_S:.0f} s")
            if frame.kind == "subscribed":
                return frame

    def receive(self, timeout_s: float) -> Frame | None:
        if self._ended is not None:
            raise self._ended
        try:
            found = self._frames.get(timeout=max(timeout_s, 0.001))
        except queue.Empty:
            return None
        if isinstance(found, Exception):
            self._ended = found
            raise found
        return found

    def close(self) -> None:
        """End the thread: closing the answer alone would not wake it from its read."""
        self._is_closed.set()
        if self._socket is not None:
            with suppress(OSError, ValueError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        try:
            with self._http:
                response = self._http.send(self._request, stream=True)
                stream = response.extensions.get("network_stream")
                self._socket = stream.get_extra_info("socket") if stream is not None else None
                with _closing(response):
                    self._log(response)
                    _check(response)
                    for event in events_of(response.iter_lines()):
                        self._put(frame_of(_json(event)))
                        if self._is_closed.is_set():
                            return
            self._put(Lost("the server ended the stream"))
        except (Lost, Unfit) as error:
            self._put(error)
        except httpx.RequestError as error:
            self._put(Lost(str(error) or type(error).__name__))
        except Exception as error:
            # It belongs to the one who waits for frames; here nobody would see it.
            self._put(error)

    def _put(self, found: Frame | Exception) -> None:
        while not self._is_closed.is_set():
            with suppress(queue.Full):
                self._frames.put(found, timeout=0.5)
                return

    def _log(self, response: httpx.Response) -> None:
        path = self._request.url.raw_path.decode("ascii")
        self._endpoint.log(f"GET {path} {response.status_code} text/event-stream", 1)


class _closing:
    """Closes an answer whatever happens to its socket."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    def __enter__(self) -> None: ...

    def __exit__(self, *_error: object) -> None:
        with suppress(Exception):
            self._response.close()


def _check(response: httpx.Response) -> None:
    """Raises what an answer that is no stream means."""
    kind = response.headers.get("content-type", "")
    if response.is_success and kind.startswith("text/event-stream"):
        return
    if response.is_success:
        raise Unfit(f"the answer is {kind.partition(';')[0] or 'nothing'}")
    body = response.read()
    problem = read_problem(response.status_code, body=body, content_type=kind)
    if response.status_code == _UNAUTHENTICATED:
        raise unauthenticated(problem.detail)
    if response.status_code in _FINAL_STATUSES and problem.code:
        raise problem
    if (
        problem.code.upper() == "STREAM_UNAVAILABLE"
        or response.status_code not in _PASSING_STATUSES
    ):
        raise Unfit(problem.detail)
    after = response.headers.get("retry-after", problem.problem.get("retry_after"))
    raise Lost(problem.detail, retry_after_s=seconds_of(after))


def events_of(lines: Iterable[str]) -> Iterator[str]:
    """The data of each event; comments and other fields are left out."""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield "\n".join(data)
                data = []
            continue
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Lost("something arrived that is no frame") from error
