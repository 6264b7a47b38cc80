"""Networks that keys are used from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.key_networks import network_of


@pytest.mark.parametrize(("address", "network"), [
    ("203.0.113.77", "203.0.113.0/24"),
    ("10.1.2.3", "10.1.2.0/24"),
    ("::ffff:203.0.113.77", "203.0.113.0/24"),
    ("2001:db8:1:2::3", "2001:db8:1::/48"),
    ("2001:DB8:1:ffff:1::3", "2001:db8:1::/48"),
    ("fe80::1%eth0", "fe80::/48"),
    ("127.0.0.1", "local"),
    ("127.8.0.1", "local"),
    ("::1", "local"),
    ("::ffff:127.0.0.1", "local"),
    ("unknown", "local"),
    ("", None),
    ("testclient", None),
    ("203.0.113", None),
])  # fmt: skip
def test_neighbours_are_one_network_and_the_host_itself_is_one(
    address: str, network: str | None
) -> None:
    assert network_of(address) == network


@given(st.text(max_size=80) | st.ip_addresses().map(str))
def test_any_text_is_of_a_network_or_of_none(text: str) -> None:
    found = network_of(text)

    assert found is None or len(found) <= 43
