"""What counts as one caller's address."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.hub.addresses import network_of, parse_address


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:4711", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:DB8:0:0:ffff::1", "2001:db8::/64"),
        ("[2001:db8::1]:4711", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("10.0.0.7", "10.0.0.7"),
    ],
)
def test_one_caller_is_an_ipv4_address_or_the_network_of_an_ipv6_one(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.1.2.3:80", "::1", "[::1]:80", "::ffff:127.0.0.1", "", "memory", "testclient", "1.2.3", "a:b:c"],
)
def test_without_a_network_in_between_all_may_look_the_same(address: str) -> None:
    assert network_of(address) is None


HOSTS = st.integers(0, (1 << 64) - 1)


@given(st.integers(1, (1 << 64) - 1), HOSTS, HOSTS)
def test_all_addresses_of_a_host_are_one_caller(prefix: int, one: int, other: int) -> None:
    networks = {network_of(str(IPv6Address(prefix << 64 | host))) for host in (one, other)}
    assert networks == {str(ip_network((prefix << 64, 64)))}


@pytest.mark.parametrize("text", ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1:80"])
def test_an_ipv4_address_is_one_in_all_its_spellings(text: str) -> None:
    assert str(parse_address(text)) == "192.0.2.1"
