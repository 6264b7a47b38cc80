"""Where messages may go: every way to write an address of one's own network is refused."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.addresses import AddressRefused, check_host, is_public, target_of

PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1",
    "127.255.255.254", "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255",
    "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0a00:0001",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "fc00::1", "fd00:ec2::254",
    "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("text", PRIVATE)
def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    assert not is_public(ip_address(text))
    with pytest.raises(AddressRefused):
        check_host(text)
    with pytest.raises(AddressRefused):
        target_of(f"https://[{text}]/" if ":" in text else f"https://{text}/")


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_taken(text: str) -> None:
    assert is_public(ip_address(text))
    assert not check_host(text)


@pytest.mark.parametrize(
    "url",
    [
        "", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com", "//example.com/",
        "example.com", "https://", "https:///path", "http://example.com/", "https://user@example.com/",
        "https://a:b@example.com/", "https://example.com@127.0.0.1/", "https://example.com\\@127.0.0.1/",
        "https://127.0.0.1\t/", "https://exa mple.com/", "https://example.com/\r\nHost: x",
        "https://example.com/#here\x00", "https://example.com:0/", "https://example.com:99999/",
        "https://example.com:port/", "https://exämple.com/", "https://[::1", "https://[::1%25lo]/",
        "https://[fe80::1%eth0]/", "https://１２７.0.0.1/", "https://-/", "https://./",
        "https://" + "a" * 3_000, "javascript:alert(1)", "HTTPS://EXAMPLE.COM/",
    ],
)  # fmt: skip
def test_what_is_no_plain_https_url_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        target_of(url)


def test_a_url_is_taken_apart() -> None:
    target = target_of("https://hooks.example.com:8443/a/b?c=d&e=f")

    assert (target.scheme, target.host, target.port) == ("https", "hooks.example.com", 8443)
    assert target.target == "/a/b?c=d&e=f"
    assert target.authority == "hooks.example.com:8443"
    assert target_of("https://example.com").authority == "example.com"
    assert target_of("https://example.com?x=1").target == "/?x=1"


def test_only_the_host_that_is_named_is_trusted() -> None:
    allowed = ["127.0.0.1", "Mail.Internal", "::1"]

    assert target_of("http://127.0.0.1:8080/", allow_hosts=allowed).is_trusted
    assert target_of("http://mail.internal/", allow_hosts=allowed).is_trusted
    assert target_of("http://MAIL.internal./", allow_hosts=allowed).is_trusted
    assert target_of("http://[0:0:0:0:0:0:0:1]/", allow_hosts=allowed).is_trusted
    for url in (
        "http://127.0.0.2/", "http://localhost/", "https://10.0.0.1/", "http://mail.internal.evil.com/",
        "https://[::ffff:127.0.0.1]/",
    ):  # fmt: skip
        with pytest.raises(AddressRefused):
            target_of(url, allow_hosts=allowed)


@given(st.text(max_size=60))
def test_no_text_is_anything_but_a_target_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com{text}"):
        try:
            target = target_of(url)
        except AddressRefused:
            continue

        assert target.scheme == "https"
        assert target.target.startswith("/")
        assert not set(target.target + target.host) & set("\r\n\t\0 \\#")


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_judged_as_itself(address: object) -> None:
    is_own = is_public(ip_address(str(address)))

    assert is_public(ip_address(f"::ffff:{address}")) is is_own
    assert is_public(ip_address(f"64:ff9b::{address}")) is is_own
