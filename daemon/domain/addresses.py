"""Which addresses of other systems messages may go to. They are resolved in delivery."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from daemon.domain.errors import Invalid

URL_CHARS_MAX = 2_048
PORTS = {"https": 443, "http": 80}
# Nothing that two readers of a URL could read differently: no user, no backslash, ASCII only.
_URL = re.compile(r"https?://[A-Za-z0-9_.:\[\]-]+(?:[/?][\x21\x23-\x5b\x5d-\x7e]*)?")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
# Public by their number, but answered by the cloud that the host runs in.
_METADATA = (ip_address("168.63.129.16"), ip_address("192.0.0.192"))
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_IPV4_COMPATIBLE = ip_network("::/96")


class AddressRefused(Invalid):
    """Messages may not go to this address."""

    code = "address_not_allowed"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: `target` is path and query. `is_trusted`: the configuration allows the
    host, whatever its address."""

    scheme: str
    host: str
    port: int
    target: str
    is_trusted: bool

    @property
    def authority(self) -> str:
        """What the header Host says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def target_of(url: str, *, allow_hosts: Collection[str] = ()) -> Target:
    """Where a URL leads, as far as it may be said without resolving its name.

    Raises AddressRefused: for what is no plain http(s) URL, for http and addresses of networks
    that are not public, unless the configuration names the host.
    """
    if len(url) > URL_CHARS_MAX or not _URL.fullmatch(url):
        raise AddressRefused("the url is not a plain http or https URL", code="bad_url")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise AddressRefused("the url has no valid host and port", code="bad_url") from error
    is_trusted = is_allowed(host, allow_hosts)
    if parts.scheme != "https" and not is_trusted:
        raise AddressRefused(
            "the url is not https, and [notifications] allow_hosts does not name its host"
        )
    check_host(host, allow_hosts=allow_hosts)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if port == 0:
        raise AddressRefused("the url has no valid port", code="bad_url")
    return Target(parts.scheme, host, port or PORTS[parts.scheme], target, is_trusted)


def check_host(host: str, *, allow_hosts: Collection[str] = ()) -> bool:
    """Whether the configuration names this host. Raises AddressRefused for an address of a network
    that is not public when it does not, and for what is no host at all."""
    if is_allowed(host, allow_hosts):
        return True
    literal = as_address(host)
    if literal is None and not _HOST.fullmatch(host):
        raise AddressRefused("that is not a host", code="bad_url")
    if literal is not None and not is_public(literal):
        raise AddressRefused(
            "the address is not public, and [notifications] allow_hosts does not name it"
        )
    return False


def is_allowed(host: str, allow_hosts: Collection[str]) -> bool:
    """Whether the configuration names this host, as it is written."""
    named = {_plain(allowed) for allowed in allow_hosts}
    return bool(host) and _plain(host) in named


def as_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that the text is, without asking anybody."""
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it lies in the public internet: not private, loopback, link-local, shared, multicast
    or reserved, nor such an IPv4 address in the clothes of an IPv6 one."""
    if isinstance(address, IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_unspecified
        and address not in _METADATA
    )


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for (RFC 4291 2.5.5, 3056, 4380, 6052)."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    for network in (*_NAT64, _IPV4_COMPATIBLE):
        if isinstance(network, IPv6Network) and address in network:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def _plain(host: str) -> str:
    literal = as_address(host)
    return str(literal) if literal is not None else host.lower().rstrip(".")
