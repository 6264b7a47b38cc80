"""Who sent a request: the peer, or whom a trusted proxy vouches for."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.clients import client_of, is_within, network_of

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("127.0.0.1/32"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # Nobody in between, or nobody whom we trust.
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("192.0.2.1", ["127.0.0.1"], "192.0.2.1"),
        ("11.0.0.1", ["198.51.100.7"], "11.0.0.1"),
        ("unknown", ["198.51.100.7"], "unknown"),
        # One proxy.
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [" 198.51.100.7\t"], "198.51.100.7"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["2001:DB8:0::7"], "2001:db8::7"),
        ("10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        # What the client wrote itself stands further left.
        ("10.0.0.1", ["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["10.9.9.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["rubbish, 198.51.100.7"], "198.51.100.7"),
        # Several proxies.
        ("10.0.0.1", ["198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, 10.0.0.2, fd00::2, 127.0.0.1"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7", "10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        # Everybody is trusted: the first.
        ("10.0.0.1", ["10.0.0.7"], "10.0.0.7"),
        ("10.0.0.1", ["10.0.0.7, 10.0.0.2"], "10.0.0.7"),
        # What can't be read is nobody.
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [","], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, "], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, _hidden, 10.0.0.2"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7:1234"], "10.0.0.1"),
        ("10.0.0.1", ["[2001:db8::7]:80"], "10.0.0.1"),
        ("10.0.0.1", ["fe80::1%eth0"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.07"], "10.0.0.1"),
        ("10.0.0.1", ["256.1.1.1"], "10.0.0.1"),
        ("10.0.0.1", ["1" * 5_000], "10.0.0.1"),
        ("10.0.0.1", ["\xff"], "10.0.0.1"),
    ],
)
def test_the_chain_is_walked_from_the_right(peer: str, forwarded: list[str], client: str) -> None:
    assert client_of(peer, [one.encode("latin-1") for one in forwarded], TRUSTED) == client


def test_a_chain_without_end_is_walked_only_so_far() -> None:
    chain = b", ".join([b"198.51.100.7"] + [b"10.0.0.2"] * 10_000)

    assert client_of("10.0.0.1", [chain], TRUSTED) == "10.0.0.2"


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_nobody_but_a_trusted_proxy_is_believed(forwarded: list[bytes]) -> None:
    assert client_of("192.0.2.1", forwarded, TRUSTED) == "192.0.2.1"
    assert client_of("10.0.0.1", forwarded, ()) == "10.0.0.1"
    client_of("10.0.0.1", forwarded, TRUSTED)


def test_a_customer_of_ipv6_is_one() -> None:
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1")
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("unknown") == "unknown"


def test_an_address_of_version_4_in_the_clothes_of_6_is_within_its_network() -> None:
    assert is_within("::ffff:10.1.2.3", TRUSTED)
    assert not is_within("10.1.2.3", ())
    assert not is_within("rubbish", TRUSTED)
