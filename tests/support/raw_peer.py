# SPDX-License-Identifier: AGPL-3.0-or-later
"""A peer that reads when the test says so, and not a byte earlier: TLS over a socket with small buffers."""

import asyncio
import json
import re
import socket
import ssl
from typing import Any

from tests.support.instance import TestInstance
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.possession import Channel, login_proof
from tmtp_core.crypto.signing import Signer
from tmtp_core.wire import messages as m

PATIENCE_S = 60.0
_BUFFER_BYTES = 8_192
_UPGRADE = (
    b"GET /tmtp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tmtp\r\n\r\n"
)


def framed(header: dict[str, Any], data: bytes = b"") -> bytes:
    """A frame of TMTP."""
    raw = json.dumps(header).encode()
    return b"%04x%b" % (len(raw), raw) + data


def websocket_frame(data: bytes, opcode: int = 2) -> bytes:
    """A frame as a client writes it, with the mask 0 (RFC 6455 §5.2)."""
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xff" + len(data).to_bytes(8)
    return bytes([0x80 | opcode]) + length + bytes(4) + data


class RawPeer:
    """One connection, over TCP or as a WebSocket; `read_bytes` counts what it read of the stream."""

    def __init__(self, *, websocket: bool = False) -> None:
        self.websocket = websocket
        self.read_bytes = 0
        self.unread = bytearray()  # decrypted, and not yet asked for by `read`
        self.pongs: list[bytes] = []
        self.uid = ""
        self.node = ""
        self._framed = bytearray()  # of a WebSocket
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._socket: socket.socket

    @property
    def kernel_bytes(self) -> int:
        """The most that this side's kernel keeps for it."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    async def connect(self, instance: TestInstance) -> "RawPeer":
        """Connect, shake hands, become a WebSocket where it is one. The first listener is TCP, the second WebSocket."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.setblocking(False)
        try:
            await self._enter(instance)
        except BaseException:
            self._socket.close()
            raise
        return self

    async def _enter(self, instance: TestInstance) -> None:
        address = instance.running.listeners[1 if self.websocket else 0].address
        await asyncio.get_running_loop().sock_connect(self._socket, address)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            else:
                await self._flush()
                break
        if self.websocket:
            self._tls.write(_UPGRADE)
            await self._flush()
            head = b""
            while b"\r\n\r\n" not in head:
                head += await self._decrypted()
            head, _, rest = head.partition(b"\r\n\r\n")
            assert b" 101 " in head
            self._framed += rest

    async def register(self, instance: TestInstance, alias: str) -> "RawPeer":
        """Connect as a new member, revision 1."""
        await self.connect(instance)
        await self.send(m.encode_head(m.TmtpRev("1")) + m.encode_head(m.Register("n", alias)))
        read = await self.until(b"login ok")
        self.uid, self.node = (read.split(b'"%b":"' % name)[1].split(b'"')[0].decode() for name in (b"uid", b"nodeid"))
        return self

    async def log_in_by_key(self, instance: TestInstance, uid: str, signer: Signer) -> "RawPeer":
        """Connect as a device with a key; the answer, and what may have come with it, is there to be read."""
        await self.connect(instance)
        await self.send(m.encode_head(m.TmtpRev("2")))
        greeting = json.loads((await self.read(5))[4:])
        (spki, *_) = instance.running.listeners[1 if self.websocket else 0].spki_hashes
        channel = Channel(from_text(greeting["nonce"]), from_text(greeting["service"]["key"]), spki)
        login = {"op": 2, "uid": uid, "device": signer.public, "sig": login_proof(signer, channel, uid)}
        await self.send(framed(login))
        self.unread[:0] = await self.until(b"login ok")
        return self

    async def send(self, data: bytes, opcode: int = 2) -> None:
        """Send a piece of the stream; over WebSocket in one frame."""
        await self.send_raw(websocket_frame(data, opcode) if self.websocket else data)

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, inside TLS."""
        self._tls.write(data)
        await self._flush()

    async def acknowledge(self, read: bytes) -> None:
        """Acknowledge every message in what was read."""
        for message in re.findall(rb'"id":"([0-9a-f]{16})"', read):
            await self.send(framed({"op": 10, "id": message.decode(), "type": "ok"}))

    async def until(self, what: bytes) -> bytes:
        """Read until this has come: all that was read."""
        read = bytearray()
        while what not in read:
            read += await self.read(1)
        return bytes(read)

    async def read(self, size: int) -> bytes:
        """At least `size` bytes of the stream. Raises EOFError at its end."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.unread) < size:
                self._take(await self._decrypted())
        read = bytes(self.unread)
        self.unread.clear()
        return read

    async def pass_on(self) -> None:
        """Take what comes next from the network; `unread` and `pongs` hold what it was."""
        async with asyncio.timeout(PATIENCE_S):
            self._take(await self._decrypted())

    async def read_to_end(self) -> bytes:
        """All that still comes."""
        read = bytearray()
        try:
            while True:
                read += await self.read(1)
        except EOFError:
            return bytes(read)

    def vanish(self) -> None:
        """Reset the connection."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()

    def close(self) -> None:
        """Drop the connection, if there is one."""
        if hasattr(self, "_socket"):
            self._socket.close()

    def _take(self, data: bytes) -> None:
        if not self.websocket:
            self.unread += data
            self.read_bytes += len(data)
            return
        self._framed += data
        while len(self._framed) >= 2:
            opcode, length, start = self._framed[0] & 15, self._framed[1], 2
            if length >= 126:
                start = 4 if length == 126 else 10
                length = int.from_bytes(self._framed[2:start]) if len(self._framed) >= start else 1 << 40
            if len(self._framed) < start + length:
                return
            payload = self._framed[start : start + length]
            del self._framed[: start + length]
            if opcode == 8:
                raise EOFError
            if opcode == 10:
                self.pongs.append(bytes(payload))
            if opcode == 2:
                self.unread += payload
                self.read_bytes += len(payload)

    async def _decrypted(self) -> bytes:
        while True:
            try:
                plain = self._tls.read(1 << 14)
            except ssl.SSLWantReadError:
                await self._feed()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                raise EOFError from None
            else:
                if not plain:
                    raise EOFError
                return plain

    async def _feed(self) -> None:
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, _BUFFER_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            raise EOFError
        self._incoming.write(data)

    async def _flush(self) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, self._outgoing.read())
