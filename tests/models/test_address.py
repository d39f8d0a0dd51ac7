"""Which addresses others may have us send to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from planstore.models.address import address_in, is_public

PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "169.253.255.255"),
    *("2606:4700:4700::1111", "2a00:1450:4001::200e", "64:ff9b::808:808"),
]

PRIVATE = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3"),
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "192.0.0.192", "192.0.2.1"),
    *("198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1"),
    *("169.254.0.1", "169.254.169.254", "168.63.129.16"),
    *("100.64.0.1", "100.100.100.200", "100.127.255.255"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "::8.8.8.8"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8"),
    *("fe80::1", "fe80::1%1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1"),
    *("2001:db8::1", "2001::1", "2001:0:7f00:1::", "2002:7f00:1::", "2002:a00:1::1", "3fff::1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "5f00::1"),
]


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", PRIVATE)
def test_any_other_address_is_not(text: str) -> None:
    assert not is_public(ip_address(text))


def test_a_host_is_an_address_or_a_name() -> None:
    assert address_in("[::1]") == ip_address("::1")
    assert address_in("127.0.0.1") == ip_address("127.0.0.1")
    # What reads as a number to some is resolved as a name, and checked then.
    for name in ("localhost", "2130706433", "0x7f.1", "127.1", "example.com"):
        assert address_in(name) is None
