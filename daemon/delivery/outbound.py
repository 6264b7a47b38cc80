"""The way out for everything that channels send: checked addresses, no redirects, bounds on time
and size."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

import certifi
import httpx

from daemon.domain.addresses import AddressRefused, Target, as_address, check_host, is_public
from daemon.domain.addresses import target_of as _target_of
from daemon.domain.deliveries import Outcome

TIMEOUT_S = 3.0
"""For a whole exchange over HTTP: resolving, connecting, sending and reading."""
ANSWER_BYTES_MAX = 64 * 1024
"""No more of an answer is read; what is beyond it changes nothing."""
ADDRESSES_MAX = 4
"""So many addresses of a name are tried."""
_AGAIN = frozenset({408, 409, 421, 423, 425, 429})
"""Refusals that may be over in a moment; other 4xx will be the same the next time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said; `body` is cut at ANSWER_BYTES_MAX."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Unreachable(Exception):
    """Nothing was sent: the name or the connection failed."""


class Outbound:
    """Requests and connections to the hosts that are allowed; nothing else leaves."""

    def __init__(self, allow_hosts: Collection[str] = (), *, timeout_s: float = TIMEOUT_S) -> None:
        self._allow_hosts = frozenset(allow_hosts)
        self._timeout_s = timeout_s

    def is_trusted(self, host: str) -> bool:
        """Whether the configuration names the host. Raises AddressRefused as `check_host`."""
        return check_host(host, allow_hosts=self._allow_hosts)

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host, each allowed. Raises AddressRefused, Unreachable.

        Who connects takes these, not the name: it could mean another address the next time.
        """
        is_trusted = self.is_trusted(host)
        literal = as_address(host)
        if literal is not None:
            return [str(literal)]
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unreachable("the name of the host is not known") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for text in addresses:
            address = as_address(text.partition("%")[0])
            # One that is not public is enough: which one is used would be left to chance.
            if not is_trusted and (address is None or not is_public(address)):
                raise AddressRefused("the host's address is not public")
        return addresses[:ADDRESSES_MAX]

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connected socket, not blocking; the caller closes it. Raises AddressRefused,
        Unreachable."""
        loop = asyncio.get_running_loop()
        last: OSError | None = None
        for address in await self.resolve(host, port):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            connection = socket.socket(family, socket.SOCK_STREAM)
            connection.setblocking(False)
            try:
                await loop.sock_connect(connection, (address, port))
            except OSError as error:
                connection.close()
                last = error
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        raise Unreachable("the host can't be reached") from last

    async def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str] | None = None
    ) -> Outcome:
        """POST a body and judge the answer; never raises for what the other side does."""
        is_begun = False
        try:
            target = _target_of(url, allow_hosts=self._allow_hosts)
            async with asyncio.timeout(self._timeout_s):
                addresses = await self.resolve(target.host, target.port)
                is_begun = True
                answer = await self._exchange(target, addresses, body, headers or {})
        except AddressRefused as error:
            return Outcome(is_sent=False, detail=error.detail, is_final=True)
        except Unreachable as error:
            return Outcome(is_sent=False, detail=str(error))
        except TimeoutError:
            detail = f"no answer in {self._timeout_s:g} s"
            return Outcome(is_sent=False, detail=detail, may_be_told=is_begun)
        except httpx.ConnectError as error:
            return Outcome(is_sent=False, detail=_why(error))
        except httpx.HTTPError as error:
            return Outcome(is_sent=False, detail=_why(error), may_be_told=True)
        return judge(answer)

    async def _exchange(
        self, target: Target, addresses: list[str], body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        # Nothing of the environment, no redirects, and no connection is used twice: a second host
        # behind the same address would never be asked for its certificate.
        async with httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            verify=_tls(),
            timeout=self._timeout_s,
            limits=httpx.Limits(max_keepalive_connections=0),
        ) as client:
            for last, address in enumerate(addresses, 1 - len(addresses)):
                try:
                    return await _exchange_with(client, target, address, body, headers)
                except httpx.ConnectError:
                    if last == 0:
                        raise
        raise Unreachable("the host has no address")


async def _exchange_with(
    client: httpx.AsyncClient, target: Target, address: str, body: bytes, headers: Mapping[str, str]
) -> Answer:
    host = f"[{address}]" if ":" in address else address
    request = client.build_request(
        "POST",
        f"{target.scheme}://{host}:{target.port}{target.target}",
        content=body,
        headers={"User-Agent": "telemetryd", **headers, "Host": target.authority},
        # The certificate has to be that of the name, though the connection goes to the address.
        extensions={"sni_hostname": target.host},
    )
    response = await client.send(request, stream=True)
    try:
        parts: list[bytes] = []
        size = 0
        async for part in response.aiter_raw():
            parts.append(part[: ANSWER_BYTES_MAX - size])
            size += len(parts[-1])
            if size >= ANSWER_BYTES_MAX:
                break
        return Answer(response.status_code, response.headers, b"".join(parts))
    finally:
        await response.aclose()


def judge(answer: Answer) -> Outcome:
    """2xx is sent. A redirect is refused: it could lead anywhere."""
    digest = hashlib.sha256(answer.body).hexdigest()[:16] if answer.body else None
    if 200 <= answer.status < 300:
        return Outcome(is_sent=True, status_code=answer.status, digest=digest)
    is_redirect = 300 <= answer.status < 400
    is_final = is_redirect or (400 <= answer.status < 500 and answer.status not in _AGAIN)
    said = "redirects are not followed" if is_redirect else f"answered {answer.status}"
    return Outcome(
        is_sent=False,
        status_code=answer.status,
        detail=said,
        digest=digest,
        is_final=is_final,
        retry_after_s=_seconds(answer.headers.get("retry-after")),
    )


def _seconds(text: str | None) -> float | None:
    """What `Retry-After` says, when it says seconds."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _why(error: Exception) -> str:
    """The kind of failure; the text of the error may hold the URL."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "the host's certificate is not valid"
        if isinstance(cause, ssl.SSLError):
            return "TLS failed"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
        cause = cause.__cause__ or cause.__context__
    return "the connection failed" if isinstance(error, httpx.ConnectError) else "the answer broke"


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Made once: reading the certificates takes tens of milliseconds.

    Whom this host trusts, and whom Mozilla does: a small container has no list of its own.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
