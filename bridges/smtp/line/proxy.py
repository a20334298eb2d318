# SPDX-License-Identifier: AGPL-3.0-or-later
"""The PROXY protocol, versions 1 and 2: whose connection a listed proxy hands on."""

import ipaddress
from dataclasses import dataclass
from typing import Final

_V1_MAX_BYTES: Final = 107  # as the protocol has it
_V2_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD_BYTES: Final = 16
_V2_MAX_BYTES: Final = _V2_HEAD_BYTES + 1_024  # addresses and a few additions; nothing of them is used
_ADDRESS_BYTES: Final = {0x11: 4, 0x21: 16}  # TCP over IPv4, over IPv6


class ProxyHeaderWrong(Exception):
    """A listed proxy did not say whose connection this is."""


@dataclass(frozen=True, slots=True)
class Announced:
    """`peer`: the address of the client; None where the proxy speaks for itself. `rest`: what came after the header."""

    peer: str | None
    rest: bytes


def read_proxy_header(data: bytes) -> Announced | None:
    """The header at the beginning of a connection; None while it is not whole. Raises `ProxyHeaderWrong`."""
    if data.startswith(_V2_SIGNATURE[: len(data)]) and data[:1] == b"\r":
        return _version_2(data)
    if data.startswith(b"PROXY "[: len(data)]):
        return _version_1(data)
    raise ProxyHeaderWrong


def _version_1(data: bytes) -> Announced | None:
    line, end, rest = data.partition(b"\r\n")
    if not end:
        if len(data) >= _V1_MAX_BYTES:
            raise ProxyHeaderWrong
        return None
    words = line.split(b" ")
    if words[:2] == [b"PROXY", b"UNKNOWN"]:
        return Announced(None, rest)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyHeaderWrong
    try:
        peer = ipaddress.ip_address(words[2].decode())
    except ValueError:
        raise ProxyHeaderWrong from None
    if peer.version != int(words[1][3:]):
        raise ProxyHeaderWrong
    return Announced(_written(peer), rest)


def _version_2(data: bytes) -> Announced | None:
    if len(data) < _V2_HEAD_BYTES:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16])
    end = _V2_HEAD_BYTES + length
    if command not in (0x20, 0x21) or end > _V2_MAX_BYTES:
        raise ProxyHeaderWrong
    if len(data) < end:
        return None
    if command == 0x20:  # LOCAL: the proxy's own, to see whether we live
        return Announced(None, data[end:])
    size = _ADDRESS_BYTES.get(family)
    if size is None or length < 2 * size + 4:
        raise ProxyHeaderWrong
    return Announced(_written(ipaddress.ip_address(data[_V2_HEAD_BYTES : _V2_HEAD_BYTES + size])), data[end:])


def _written(peer: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """As SPF and bounds have it: a proxy that listens on both families announces IPv4 within IPv6."""
    return str(getattr(peer, "ipv4_mapped", None) or peer)
