"""Other services of this installation that may call without a key of their own (C-07): which there
are, what each may do, and how they show that they are inside. Where they connect is transport's."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from daemon.domain.access import Principal, Session
from daemon.domain.errors import DomainError

TOKEN_BYTES_MIN = 32
TOKENS_MAX = 2
"""The one in use and the one before it, or the next."""
TOKEN_FILE_BYTES_MAX = 4_096
_PREFIX = "internal:"
# The end of the year 9999: such a caller has no session that could end.
_NEVER_S = 253_402_300_799.0
_INSIDE = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
)
# A header is no way to make keys, or to be everybody.
_NEVER_GIVEN = frozenset({"admin", "keys"})


class UnsafeInternal(DomainError):
    """Internal calls can't be served safely with these settings."""

    code = "unsafe_internal_calls"


@dataclass(frozen=True, slots=True)
class InternalRights:
    """What a service may do; patterns as those of a key."""

    scopes: tuple[str, ...]
    tier: str = "pro"
    devices: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class InternalCallers:
    """Who may call, by what. `uids` are users of this host, `tokens` what is sent; of one mode one
    of them is empty."""

    services: Mapping[str, Principal]
    uids: frozenset[int] = frozenset()
    tokens: tuple[bytes, ...] = field(default=(), repr=False)

    def knows_token(self, sent: Sequence[bytes]) -> bool:
        """Whether exactly one was sent, and it is one of ours; it takes as long whichever it is."""
        if len(sent) != 1:
            return False
        return sum(hmac.compare_digest(sent[0], token) for token in self.tokens) > 0


def principals_of(services: Mapping[str, InternalRights]) -> dict[str, Principal]:
    """A named holder for each. Raises UnsafeInternal."""
    if not services:
        raise UnsafeInternal("auth.internal.services names nobody who may call")
    for name, rights in services.items():
        too_much = sorted(_NEVER_GIVEN & set(rights.scopes))
        if too_much:
            raise UnsafeInternal(f"the internal service {name} can't have the scope {too_much[0]}")
    return {
        name: Principal(
            _PREFIX + name,
            name,
            frozenset(rights.scopes),
            rights.tier,
            rights.devices,
            rights.groups,
            rights.metrics,
            # As with a token of another issuer: it makes no tickets and no accounts.
            session=Session(None, _NEVER_S),
        )
        for name, rights in services.items()
    }


def check_host(host: str) -> None:
    """Raises UnsafeInternal unless it is an address that nobody outside can reach."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
    except ValueError as error:
        raise UnsafeInternal(f"auth.internal.host {host} is to be an address") from error
    if not any(address in network for network in _INSIDE):
        raise UnsafeInternal(f"auth.internal.host {host} is neither loopback nor private")


def tokens_in(file: Path | None) -> tuple[bytes, ...]:
    """The tokens of a file, one to a line, at most two. A relative path is a credential of the
    service manager. Raises UnsafeInternal."""
    if file is None:
        raise UnsafeInternal("auth.internal.token_file is needed with mode listener")
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    is_credential = folder is not None and not file.is_absolute()
    place = Path(folder or ".") / file if is_credential else file
    try:
        # The service manager opens its folder to our user alone, by means that modes do not show.
        if place.stat().st_mode & 0o077 and not is_credential:
            raise UnsafeInternal(f"{place} may be read by others; it is to have mode 0600")
        with place.open("rb") as opened:
            lines = opened.read(TOKEN_FILE_BYTES_MAX).split()
    except OSError as error:
        raise UnsafeInternal(f"{place} can't be read: {error.strerror}") from error
    if not 1 <= len(lines) <= TOKENS_MAX:
        raise UnsafeInternal(f"{place} is to hold one token, or two, each on a line of its own")
    if any(len(token) < TOKEN_BYTES_MIN for token in lines):
        raise UnsafeInternal(f"a token in {place} has less than {TOKEN_BYTES_MIN} bytes")
    return tuple(lines)
