# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast large attachments go through the service, and that its memory does not grow with them.

    python -m bench.attachment [--size-mib 64] [--rounds 5]     # one, out, over TLS on TCP and in a WebSocket

A service runs in a process of its own. A member posts the attachment to another one, who then logs in and reads it to
its end from a plain blocking socket, so that the reader costs little. The median of the rounds counts; `cpu_s` is
what the server's process used. `attachments` is the scenario of `bench.suite`: several at once.
"""

import argparse
import json
import os
import socket
import ssl
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import google_crc32c

from bench.scale import MIB, Result, Scale
from bench.server import BenchFailed, BenchServer, forget_rss_max, usage
from tmtp_core.wire import messages as m

_READ_BYTES: Final = 1 << 18
_PATIENCE_S: Final = 120.0
_DIGITS: Final = 4

_UPGRADE = (
    b"GET /tmtp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tmtp\r\n\r\n"
)


class _Peer:
    """A member's connection, of which only the size of what comes is looked at."""

    def __init__(self, port: int, *, websocket: bool) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), _PATIENCE_S))
        self._websocket = websocket
        if websocket:
            self._socket.sendall(_UPGRADE)
            self.until(b"\r\n\r\n")

    def send(self, data: bytes | memoryview) -> None:
        """Send frames, where need be in one frame of WebSocket (RFC 6455 §5.2, with the mask 0)."""
        if self._websocket:
            data = b"\x82\xff" + len(data).to_bytes(8) + bytes(4) + bytes(data)
        self._socket.sendall(data)

    def until(self, what: bytes) -> bytes:
        """Read until this has come."""
        read = b""
        while what not in read:
            piece = self._socket.recv(1 << 16)
            if not piece:
                raise BenchFailed("the server ended the link")
            read += piece
        return read

    def count(self, size: int) -> None:
        """Read this much, and look at nothing."""
        space = bytearray(_READ_BYTES)
        while size > 0:
            size -= self._received(space)

    def delivery(self) -> tuple[str, int]:
        """Read one delivery and acknowledge it: who posted it, the CRC-32C of what came. Other messages are skipped."""
        while True:
            head = json.loads(self._exactly(int(self._exactly(_DIGITS), 16)))
            left, crc, space = head.get("datalen", 0), 0, bytearray(_READ_BYTES)
            while left > 0:
                count = self._received(memoryview(space)[: min(left, _READ_BYTES)])
                crc = google_crc32c.extend(crc, bytes(memoryview(space)[:count]))
                left -= count
            if head["op"] == "delivery":
                self.send(m.encode_head(m.Ack(head["id"], "ok")))
                return head["from"], crc

    def _exactly(self, size: int) -> bytes:
        read = bytearray(size)
        got = 0
        while got < size:
            got += self._received(memoryview(read)[got:])
        return bytes(read)

    def _received(self, space: bytearray | memoryview) -> int:
        count = self._socket.recv_into(space)
        if not count:
            raise BenchFailed("the server ended the link")
        return count

    def close(self) -> None:
        """Drop the connection."""
        self._socket.close()


def measure(size: int, rounds: int) -> dict[str, float]:
    """MiB a second and the server's CPU seconds for one attachment, on each way."""
    with BenchServer() as server:
        figures: dict[str, float] = {}
        for way, port in (("tcp", server.port), ("websocket", server.websocket_port)):
            times, costs = [], []
            for number in range(rounds):
                seconds, cpu = _one(server.port, port, f"{way} Reader {number}", size, server.pid)
                times.append(seconds)
                costs.append(cpu)
            figures[f"{way}_mib_per_s"] = size / statistics.median(times) / (1 << 20)
            figures[f"{way}_cpu_s"] = statistics.median(costs)
        return figures


def _one(tcp: int, port: int, alias: str, size: int, pid: int) -> tuple[float, float]:
    """Seconds and CPU seconds from the log-in to the last octet."""
    reader, uid, node = _registered(tcp, alias)
    reader.close()
    poster = _Peer(tcp, websocket=False)
    poster.send(m.encode_head(m.TmtpRev("1")) + m.encode_head(m.Register("n", f"{alias}'s Friend")))
    poster.until(b"login ok")
    poster.send(m.encode_frame(m.Post("1", (m.Recipient(uid, m.TO_UID),), size), bytes(size)))
    poster.until(b'"op":"ack"')
    poster.close()
    reader = _Peer(port, websocket=port != tcp)
    before, begin = usage(pid).cpu_s, time.perf_counter()
    reader.send(m.encode_head(m.TmtpRev("1")) + m.encode_head(m.Login(uid, node)))
    reader.count(size)
    seconds = time.perf_counter() - begin
    cpu = usage(pid).cpu_s - before
    reader.close()
    return seconds, cpu


def _registered(port: int, alias: str) -> tuple[_Peer, str, str]:
    """A new member's connection, uid and node."""
    peer = _Peer(port, websocket=False)
    peer.send(m.encode_head(m.TmtpRev("1")) + m.encode_head(m.Register("n", alias)))
    registered = peer.until(b"login ok")
    uid, node = (registered.split(b'"%b":"' % name)[1].split(b'"')[0].decode() for name in (b"uid", b"nodeid"))
    return peer, uid, node


def attachments(scale: Scale) -> Result:
    """Several pairs exchange attachments of 100 MB at once: throughput, CPU, and memory, which must not grow."""
    with BenchServer() as server, ThreadPoolExecutor(2 * scale.pairs) as threads:
        posters = [_registered(server.port, f"Poster {number}") for number in range(scale.pairs)]
        readers = [_registered(server.port, f"Reader {number}") for number in range(scale.pairs)]
        data = os.urandom(min(MIB, scale.attachment)) * (scale.attachment // MIB + 1)
        payloads = [memoryview(data)[place : place + scale.attachment] for place in range(scale.attachments)]
        wanted = [google_crc32c.value(bytes(payload)) for payload in payloads]
        forget_rss_max(server.pid)
        before, begin = usage(server.pid), time.monotonic()
        posting = [
            threads.submit(_post, poster, uid, payloads)
            for (poster, _, _), (_, uid, _) in zip(posters, readers, strict=True)
        ]
        reading = [threads.submit(_read, reader, scale.attachments) for reader, _, _ in readers]
        posted_s = max(one.result() for one in posting) - begin
        got = [one.result() for one in reading]
        seconds = time.monotonic() - begin
        after = usage(server.pid)
        for peer, _, _ in (*posters, *readers):
            peer.close()
        expected = [[(uid, crc) for crc in wanted] for _, uid, _ in posters]
        whole = scale.attachment * scale.pairs * scale.attachments
        return {
            "bytes_each": scale.attachment,
            "at_once": scale.pairs,
            "in_mib_per_s": whole / posted_s / MIB,
            "through_mib_per_s": whole / seconds / MIB,
            "cpu_ms_per_mib": (after.cpu_s - before.cpu_s) * 1000 / (whole / MIB),
            "cores": (after.cpu_s - before.cpu_s) / seconds,
            "written_per_byte": (after.written - before.written) / whole,
            "rss_before_mib": before.rss / MIB,
            "rss_max_mib": after.rss_max / MIB,
            "rss_growth_mib": (after.rss_max - before.rss) / MIB,
            "problems": [
                f"reader {number} got not what was posted to it, once and in order"
                for number, (some, right) in enumerate(zip(got, expected, strict=True))
                if some != right
            ],
        }


def _post(poster: _Peer, uid: str, payloads: Sequence[memoryview]) -> float:
    """Post them, each when the one before was acknowledged; when the last one was."""
    for number, payload in enumerate(payloads):
        poster.send(m.encode_head(m.Post(f"{number}", (m.Recipient(uid, m.TO_UID),), len(payload))))
        for start in range(0, len(payload), _READ_BYTES):
            poster.send(payload[start : start + _READ_BYTES])
        acked = poster.until(b'"op":"ack"')
        if b'"error"' in acked:
            raise BenchFailed(f"an attachment was refused: {acked!r}")
    return time.monotonic()


def _read(reader: _Peer, count: int) -> list[tuple[str, int]]:
    return [reader.delivery() for _ in range(count)]


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="How fast one large attachment leaves the service.")
    parser.add_argument("--size-mib", type=int, default=64, help="of the attachment (default: 64)")
    parser.add_argument("--rounds", type=int, default=5, help="on each way (default: 5)")
    given = parser.parse_args()
    figures = measure(given.size_mib << 20, given.rounds)
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
