"""How a call is made: retries, deadlines and the request log; endpoints are in client.http."""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from telemetryctl import __version__
from telemetryctl.client.credential import Credential
from telemetryctl.client.errors import ServerProblem, read_problem
from telemetryctl.client.lean import httpx
from telemetryctl.failures import ConfigurationFailure, TryLater
from telemetryctl.interrupts import interrupts

TRIES = 3
BACKOFF_S = 0.25
BACKOFF_MAX_S = 10.0
CONNECT_TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 512 * 1024 * 1024
_UNAUTHENTICATED = 401
_BUSY_STATUSES = frozenset({429, 502, 503, 504})
_SECRET_HEADERS = frozenset({"authorization", "x-api-key", "cookie", "set-cookie"})

Document = dict[str, Any]
Log = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Call:
    """One request. It may be sent again whatever happened to the first: what makes something bears
    a key by which the server does it once (client.calls)."""

    method: str
    path: str
    params: Mapping[str, Any] | None = None
    body: bytes | None = None
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer with a success status."""

    status: int
    headers: httpx.Headers
    body: bytes

    def document(self) -> Document:
        """Return the JSON object. Raises ConfigurationFailure if it is none: a wrong server."""
        try:
            document = json.loads(self.body)
        except ValueError as error:
            raise _not_our_server() from error
        if not isinstance(document, dict):
            raise _not_our_server()
        return document


def _not_our_server() -> ConfigurationFailure:
    return ConfigurationFailure(
        "the answer does not come from a telemetry daemon",
        hint="telemetryctl context show --origin tells where the server's URL comes from",
    )


class Wire:
    """A connection to one daemon. `timeout_s` bounds each call with its retries; None: no bound.

    A token that the server refuses is renewed once in each call, if its credential can do that.
    Calls raise ServerProblem for an answer that is no success, and TryLater when there was none.
    """

    def __init__(
        self,
        server: str,
        *,
        token: str | Credential | None = None,
        timeout_s: float | None = 30.0,
        tries: int = TRIES,
        log: Log | None = None,
    ) -> None:
        try:
            host = httpx.URL(server).host
        except httpx.InvalidURL as error:
            raise ConfigurationFailure(f"the server's URL can't be used: {error}") from error
        headers = {"User-Agent": f"telemetryctl/{__version__}", "Accept": "application/json"}
        self._credential = token if isinstance(token, Credential) else Credential(token)
        self.server = server.rstrip("/")
        self._timeout_s = timeout_s
        self._tries = tries
        self._log = log or (lambda _text, _level: None)
        self._http = httpx.Client(
            headers=headers,
            follow_redirects=False,
            # A proxy from the environment can't reach this host's own loopback.
            trust_env=host not in ("127.0.0.1", "localhost", "::1"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(self, call: Call, *, tries: int | None = None) -> Reply:
        """Make the call, again if that may help; return its whole answer."""
        token = self._credential.token
        try:
            return self._insist(call, tries=tries)
        except ServerProblem as problem:
            if not self._is_renewed(problem, token):
                raise
        return self._insist(call, tries=tries)

    def _is_renewed(self, problem: ServerProblem, token: str | None) -> bool:
        """Whether the server refused the token, and there is another one."""
        return problem.status == _UNAUTHENTICATED and self._credential.is_renewed(token)

    def _insist(self, call: Call, *, tries: int | None) -> Reply:
        deadline = _Deadline(self._timeout_s)
        left = tries or self._tries
        while True:
            left -= 1
            interrupts.check()
            try:
                return self._try_once(call, deadline=deadline)
            except ServerProblem as problem:
                is_sent_again = left > 0 and _may_repeat(problem)
                pause_s = _pause_s(self._tries - left, retry_after_s=_retry_after_s(problem))
                if not is_sent_again or pause_s >= deadline.left_s():
                    raise
            except httpx.RequestError as error:
                failure = _unreachable(self.server, error=error)
                pause_s = _pause_s(self._tries - left)
                if left <= 0 or pause_s >= deadline.left_s():
                    raise failure from error
            self._log(f"trying again in {pause_s:.1f} s", 1)
            time.sleep(pause_s)

    def _try_once(self, call: Call, *, deadline: "_Deadline") -> Reply:
        began = time.monotonic()
        request = self._request(call, timeout_s=deadline.left_s())
        response = self._http.send(request, stream=True)
        try:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                # httpx bounds each read; only this bounds a server that drips.
                if deadline.left_s() <= 0:
                    raise httpx.ReadTimeout("the answer took too long", request=request)
                if len(body) > ANSWER_BYTES_MAX:
                    raise _not_our_server()
        finally:
            response.close()
        self._log_answer(response, began=began)
        return _checked(response, bytes(body))

    def _request(self, call: Call, *, timeout_s: float) -> httpx.Request:
        timeout = None if timeout_s == float("inf") else max(timeout_s, 0.001)
        connect = CONNECT_TIMEOUT_S if timeout is None else min(timeout, CONNECT_TIMEOUT_S)
        request = self._http.build_request(
            call.method,
            self.server + call.path,
            params={k: v for k, v in (call.params or {}).items() if v is not None},
            content=call.body,
            headers=call.headers,
            timeout=httpx.Timeout(timeout, connect=connect),
        )
        self._credential.put_on(request)
        self._log_headers(request.headers, mark=">")
        return request

    @contextmanager
    def stream(self, call: Call) -> Iterator[httpx.Response]:
        """Make the call once and yield its answer as it comes; each read is bounded, not all."""
        token = self._credential.token
        try:
            try:
                response = self._opened(call)
            except ServerProblem as problem:
                if not self._is_renewed(problem, token):
                    raise
                response = self._opened(call)
            try:
                yield response
            finally:
                response.close()
        except httpx.RequestError as error:
            raise _unreachable(self.server, error=error) from error

    def _opened(self, call: Call) -> httpx.Response:
        """The answer with its body still to come. Raises ServerProblem, httpx.RequestError."""
        began = time.monotonic()
        request = self._request(call, timeout_s=self._timeout_s or float("inf"))
        response = self._http.send(request, stream=True)
        try:
            self._log_answer(response, began=began)
            if not response.is_success:
                _checked(response, response.read())
        except BaseException:
            response.close()
            raise
        return response

    def _log_answer(self, response: httpx.Response, *, began: float) -> None:
        request = response.request
        elapsed_ms = (time.monotonic() - began) * 1000
        request_id = response.headers.get("x-request-id", "-")
        path = request.url.raw_path.decode("ascii")
        self._log(
            f"{request.method} {path} {response.status_code} {elapsed_ms:.0f} ms {request_id}", 1
        )
        self._log_headers(response.headers, mark="<")

    def _log_headers(self, headers: httpx.Headers, *, mark: str) -> None:
        for name, value in headers.items():
            shown = "…" if name.lower() in _SECRET_HEADERS else value
            self._log(f"{mark} {name}: {shown}", 2)


class _Deadline:
    """The end of a call with all its retries."""

    def __init__(self, timeout_s: float | None) -> None:
        self._end = None if timeout_s is None else time.monotonic() + timeout_s

    def left_s(self) -> float:
        return float("inf") if self._end is None else self._end - time.monotonic()


def _checked(response: httpx.Response, body: bytes) -> Reply:
    if response.is_success:
        return Reply(response.status_code, response.headers, body)
    raise read_problem(
        response.status_code,
        body=body,
        content_type=response.headers.get("content-type", ""),
        request_id=response.headers.get("x-request-id", ""),
        retry_after=response.headers.get("retry-after", ""),
    )


def _may_repeat(problem: ServerProblem) -> bool:
    """Whether the same request may do better.

    `request_running` tells of the first try of this call: its connection was lost, and its answer
    is not there yet.
    """
    return problem.code == "request_running" or problem.status in _BUSY_STATUSES


def _retry_after_s(problem: ServerProblem) -> float | None:
    try:
        return max(0.0, float(problem.problem.get("retry_after") or ""))
    except (TypeError, ValueError):
        return None


def _pause_s(attempt: int, *, retry_after_s: float | None = None) -> float:
    """Return how long to wait: what the server asked for and a little more, else a backoff.

    Jitter keeps many clients of one busy server from coming back all at once.
    """
    jitter = random.uniform(0.5, 1.0)
    if retry_after_s is not None:
        return retry_after_s + BACKOFF_S * jitter
    return float(min(BACKOFF_S * 2 ** (attempt - 1), BACKOFF_MAX_S) * jitter)


def _unreachable(server: str, *, error: httpx.RequestError) -> TryLater:
    if isinstance(error, httpx.TimeoutException):
        return TryLater(
            f"{server} did not answer in time", why=type(error).__name__, hint="--timeout 2m"
        )
    reason = str(error) or type(error).__name__
    return TryLater(
        f"{server} can't be reached", why=reason, hint="is telemetryd running? telemetryctl status"
    )
