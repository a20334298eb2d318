# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses of peers, as what they may do is counted by them (C1)."""

import ipaddress
from typing import Final

_IPV6_PREFIX: Final = 64  # one customer has it, or more


def counted_as(address: str) -> str:
    """An IPv4 address, or the network that one IPv6 customer has; what is no address stays as it is."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
    return str(parsed)
