# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses of peers: which networks they are in, and whose they are, by which they are told apart and counted (C2)."""

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

from bridges import limits

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Networks:
    """Addresses of peers, and "unix": a socket of this machine, which only its users reach."""

    networks: tuple[Network, ...] = ()
    unix: bool = False

    def __contains__(self, peer: str) -> bool:
        if not peer:
            return self.unix
        try:
            ip = _ip_of(peer)
        except ValueError:
            return False
        return any(ip in network for network in self.networks)


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


@lru_cache(limits.ADDRESSES_REMEMBERED_MAX)
def _ip_of(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """A peer's address, asked for several times a mail. Raises ValueError where it has none that can be read."""
    ip = ipaddress.ip_address(peer)
    return getattr(ip, "ipv4_mapped", None) or ip
