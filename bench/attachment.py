# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast one large attachment leaves the service, over TLS on TCP and in a WebSocket.

    python -m bench.attachment [--size-mib 64] [--rounds 5]

A service runs in a process of its own. A member posts the attachment to another one, who then logs in and reads it to
its end from a plain blocking socket, so that the reader costs little. The median of the rounds counts; `cpu_s` is
what the server's process used.
"""

import argparse
import json
import socket
import ssl
import statistics
import time

from bench.server import BenchServer, usage
from tmtp_core.wire import messages as m

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
        self._socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
        self._websocket = websocket
        if websocket:
            self._socket.sendall(_UPGRADE)
            self.until(b"\r\n\r\n")

    def send(self, data: bytes) -> None:
        """Send frames, where need be in one frame of WebSocket (RFC 6455 §5.2, with the mask 0)."""
        if self._websocket:
            data = b"\x82\xff" + len(data).to_bytes(8) + bytes(4) + data
        self._socket.sendall(data)

    def until(self, what: bytes) -> bytes:
        """Read until this has come."""
        read = b""
        while what not in read:
            read += self._socket.recv(1 << 16)
        return read

    def count(self, size: int) -> None:
        """Read this much, and look at nothing."""
        space = bytearray(1 << 18)
        while size > 0:
            size -= self._socket.recv_into(space)

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
    reader = _Peer(tcp, websocket=False)
    reader.send(m.encode_head(m.TmtpRev("1")) + m.encode_head(m.Register("n", alias)))
    registered = reader.until(b"login ok")
    uid, node = (registered.split(b'"%b":"' % name)[1].split(b'"')[0].decode() for name in (b"uid", b"nodeid"))
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
