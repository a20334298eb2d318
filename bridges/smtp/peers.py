# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose an address is, by which peers are told apart and counted (C2)."""

import ipaddress


def customer_of(peer: str) -> str:
    """All that one customer has: an address, or the /64 of one of IPv6; "" for a socket of this machine."""
    if ":" not in peer:
        return peer
    ip = _ip_of(peer)
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))


def network_of(peer: str) -> str:
    """Whose neighbours count as one: a /24, a /48 of IPv6, "unix" for a socket of this machine."""
    if not peer:
        return "unix"
    ip = _ip_of(peer)
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


def _ip_of(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    ip = ipaddress.ip_address(peer)
    return getattr(ip, "ipv4_mapped", None) or ip
