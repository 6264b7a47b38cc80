"""Which address a request comes from, and what stands for one client. Where messages may go to is
in domain/addresses."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

Networks: TypeAlias = "tuple[IPv4Network | IPv6Network, ...]"

HOPS_MAX = 32
_TEXT_MAX = 45
"""An address of IPv6 is no longer."""


def client_of(peer: str, forwarded: Sequence[bytes], trusted: Networks) -> str:
    """Who sent the request: the peer, or, behind proxies that are trusted, the last address of
    `X-Forwarded-For` that is none of theirs.

    `forwarded` are the values of that header in their order: each proxy appends who came to it, so
    only what stands right of the first untrusted address is believed. What can't be read is no
    address that anybody vouches for: then it is the peer.
    """
    if not forwarded or not is_within(peer, trusted):
        return peer
    found = peer
    hops = b",".join(forwarded).rsplit(b",", HOPS_MAX)
    if len(hops) > HOPS_MAX:
        hops = hops[1:]
    for hop in reversed(hops):
        address = _read(hop)
        if address is None:
            return peer
        found = str(address)
        if not _lies_in(address, trusted):
            return found
    return found


def network_of(address: str) -> str:
    """What stands for one client: an address of version 4, the /64 of one of version 6, since
    anybody has all of those (RFC 6177)."""
    if ":" not in address:
        return address
    try:
        found = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> 64 << 64)}/64"


def is_within(address: str, networks: Networks) -> bool:
    """Whether the address lies in one of them; an IPv4 one in the clothes of IPv6 is what it is."""
    if not networks:
        return False
    found = _read(address.encode("latin-1", "replace"))
    return found is not None and _lies_in(found, networks)


def _lies_in(address: IPv4Address | IPv6Address, networks: Networks) -> bool:
    return any(address in network for network in networks)


def _read(text: bytes) -> IPv4Address | IPv6Address | None:
    text = text.strip(b" \t")
    if len(text) > _TEXT_MAX or b"%" in text:
        return None
    try:
        found = ip_address(text.decode("ascii"))
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
