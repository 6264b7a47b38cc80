"""From which network a key is used, as its owner wants to know it: wide enough that a phone or an
office is one. What stands for one client is in domain/clients."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

LOCAL = "local"
"""The host itself, by loopback or by a unix socket, whose peers have no address."""
NETWORKS_MAX = 64
"""Of so many a key is remembered; beyond them the one that was used longest ago goes."""
TOLD_A_DAY_MAX = 64
"""So many new ones of a key are told in a day: one that comes from everywhere has been told of."""
_NO_ADDRESS = "unknown"
_BITS = {4: 24, 6: 48}
_KNOWN_MAX = 8_192


@lru_cache(maxsize=_KNOWN_MAX)
def network_of(address: str) -> str | None:
    """The /24 of an address of version 4, the /48 of one of version 6 (RFC 6177); None for what is
    no address.

    Remembered for the last addresses: it is asked for each request.
    """
    if address == _NO_ADDRESS:
        return LOCAL
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_loopback:
        return LOCAL
    return str(ip_network((found, _BITS[found.version]), strict=False))
