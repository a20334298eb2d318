# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small authoritative DNS server on loopback, UDP and TCP, whose zone a test changes while it runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rrset

_TTL_S = 0
_UDP_MAX_BYTES = 1_232  # as most resolvers have it; more is asked for again over TCP


@dataclass
class Zone:
    """Names to TXT texts or IPv4 addresses. `broken` names are answered with SERVFAIL, `silent` ones not at all."""

    texts: dict[str, bytes | list[bytes]] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def answer(self, wire: bytes, over_tcp: bool) -> bytes | None:
        """The answer to one question, or None to say nothing."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append(name)
        if name in self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if name in self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif question.rdtype == dns.rdatatype.TXT and name in self.texts:
            found = self.texts[name]
            lines = [_txt(text) for text in ([found] if isinstance(found, bytes) else found)]
            response.answer.append(dns.rrset.from_text(question.name, _TTL_S, "IN", "TXT", *lines))
        elif question.rdtype == dns.rdatatype.A and name in self.addresses:
            response.answer.append(dns.rrset.from_text(question.name, _TTL_S, "IN", "A", self.addresses[name]))
        elif name not in self.texts and name not in self.addresses:
            response.set_rcode(dns.rcode.NXDOMAIN)
        whole = response.to_wire()
        if over_tcp or len(whole) <= _UDP_MAX_BYTES:
            return whole
        response.answer.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()


def _txt(text: bytes) -> str:
    """In strings of 255 octets, as DNS has long texts."""
    pieces = [text[place : place + 255] for place in range(0, len(text), 255)] or [b""]
    return " ".join('"' + piece.decode().replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        answer = self._zone.answer(data, over_tcp=False)
        if answer is not None:
            self._transport.sendto(answer, address)


@asynccontextmanager
async def dns_server(zone: Zone) -> AsyncIterator[Zone]:
    """Answer on `zone.port` of 127.0.0.1 for the length of the block."""

    async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while size := await reader.read(2):
                answer = zone.answer(await reader.readexactly(int.from_bytes(size)), over_tcp=True)
                if answer is not None:
                    writer.write(len(answer).to_bytes(2) + answer)
                    await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(over_tcp, "127.0.0.1", 0)
    zone.port = server.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Udp(zone), local_addr=("127.0.0.1", zone.port)
    )
    try:
        yield zone
    finally:
        transport.close()
        server.close()
        await server.wait_closed()
