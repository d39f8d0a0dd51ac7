"""Which addresses of the network anybody may be sent to by others."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

_UNICAST: Final = IPv6Network("2000::/3")
"""What is given out of the IPv6 addresses for use across the internet (RFC 4291, section 2.4)."""

_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""What stands for an IPv4 address, its last 32 bits, where a network has none (RFC 6052)."""

_NOWHERE: Final = tuple(
    map(
        ip_network,
        (
            "2001::/23",  # for protocols, Teredo among them, which leads to IPv4 addresses
            "2001:db8::/32",  # for documentation
            "2002::/16",  # 6to4: it leads to IPv4 addresses
            "3fff::/20",  # for documentation
            "192.0.0.0/24",  # for protocols
            "192.88.99.0/24",  # 6to4
            "168.63.129.16/32",  # what a cloud tells its machines, though the address looks public
        ),
    )
)
"""What may look public and isn't, or leads elsewhere."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the internet.

    Not: this machine, private and shared networks, links, groups, and what is set apart or stands
    for any of these in another form.
    """
    if isinstance(address, IPv6Address):
        if address in _TRANSLATED:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address not in _UNICAST:
            return False
    if any(address in network for network in _NOWHERE if network.version == address.version):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def address_in(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host of a URL is; None where it is a name."""
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None
