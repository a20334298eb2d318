# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mosquitto: MQTT 3.1.1, QoS 1 both ways, persistent sessions (OASIS MQTT 3.1.1).

A client publishes to a topic of its own, to which its recipients subscribe: one PUBLISH for all of them, as one post.
"""

import re
import subprocess
from typing import ClassVar, Final

from bench.member import Tally
from bench.peers.link import Link
from bench.peers.process import PeerServer
from bench.peers.work import Client, Part

_SETTINGS: Final = """\
listener {port} 127.0.0.1
certfile {certificate}
keyfile {key}
allow_anonymous true
log_dest none
persistence true
persistence_location {folder}/
# The strictest that there is: the whole database is written anew, and synced, once any change has been counted.
autosave_on_changes true
autosave_interval 1
max_queued_messages 0
set_tcp_nodelay true
"""
_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBSCRIBE, _SUBACK = 0x10, 0x20, 0x30, 0x40, 0x82, 0x90
_QOS_1: Final = 0x02
_KEEP_ALIVE_S: Final = 600
_PACKET_IDS: Final = 0xFFFF


class Mosquitto(PeerServer):
    """The broker."""

    name = "mosquitto"
    promise = "in memory; the database is saved after the ack, not for each message"
    packages = ("mosquitto",)
    programs = ("mosquitto",)
    account: ClassVar[str] = "mosquitto"

    def prepare(self) -> None:
        """Write its settings."""
        certificate, key = self.certificate()
        (self.folder / "mosquitto.conf").write_text(
            _SETTINGS.format(port=self.port, certificate=certificate, key=key, folder=self.folder), "utf-8"
        )

    def commands(self) -> list[list[str]]:
        """One process."""
        return [["/usr/sbin/mosquitto", "-c", str(self.folder / "mosquitto.conf")]]

    def version(self) -> str:
        """From its help."""
        said = subprocess.run(["/usr/sbin/mosquitto", "-h"], capture_output=True, text=True, check=False).stdout
        found = re.search(r"version (\S+)", said)
        return f"Mosquitto {found[1] if found else '?'}"

    def client(self, part: Part, tally: Tally) -> Client:
        """A user."""
        return _MqttClient(self, part, tally)


class _MqttClient(Client):
    def __init__(self, server: Mosquitto, part: Part, tally: Tally) -> None:
        super().__init__(part, tally)
        self._server = server
        self._link: Link | None = None
        self._due: dict[int, int] = {}
        self._topic = _text(f"from/{part.number}")
        self._filler = bytes(part.size)
        self._subscribed = False

    async def open(self) -> None:
        """Connect to the session that is kept, and the first time subscribe."""
        self._link = Link(self._take_all, self.problem)
        await self._link.connect(self._server.place, self._server.context)
        head = _text("MQTT") + b"\x04\x00" + _KEEP_ALIVE_S.to_bytes(2)  # CleanSession is 0
        answer = await self._link.ask(_packet(_CONNECT, head + _text(f"client-{self.part.number}")))
        if answer[1:2] != b"\0":
            raise ConnectionRefusedError(f"CONNACK {answer.hex()}")
        if self.part.hears and not self._subscribed:
            topics = b"".join(_text(f"from/{poster}") + b"\x01" for poster in self.part.hears)
            answer = await self._link.ask(_packet(_SUBSCRIBE, b"\0\x01" + topics))
            if set(answer[2:]) != {1}:
                raise ConnectionRefusedError(f"SUBACK {answer.hex()}")
            self._subscribed = True

    async def close(self) -> None:
        """DISCONNECT."""
        if self._link is not None:
            self._link.write(b"\xe0\x00")
            await self._link.leave()

    def send(self, stamp: bytes, due_ns: int) -> None:
        """PUBLISH."""
        assert self._link is not None
        packet_id = self.posted % _PACKET_IDS or _PACKET_IDS
        self._due[packet_id] = due_ns
        payload = stamp + self._filler[len(stamp) :]
        self._link.write(_packet(_PUBLISH | _QOS_1, self._topic + packet_id.to_bytes(2) + payload))

    def _take_all(self, data: bytes) -> int:
        at = 0
        while len(data) - at >= 2:
            size, body = 0, at + 1
            for shift in (0, 7, 14, 21):  # §2.2.3
                if body >= len(data):
                    return at
                size |= (data[body] & 0x7F) << shift
                body += 1
                if data[body - 1] < 0x80:
                    break
            if len(data) < body + size:
                break
            self._take(data[at], data[body : body + size])
            at = body + size
        return at

    def _take(self, kind: int, body: bytes) -> None:
        assert self._link is not None
        if kind & 0xF0 == _PUBLISH:
            start = 2 + int.from_bytes(body[:2])
            self.took(body[start + 2 :])
            self._link.write(b"\x40\x02", body[start : start + 2])
        elif kind == _PUBACK:
            self.acknowledged(self._due.pop(int.from_bytes(body)))
        elif kind in {_CONNACK, _SUBACK}:
            self._link.answer(body)


def _text(text: str) -> bytes:
    """A string with its length (§1.5.3)."""
    return len(text).to_bytes(2) + text.encode()


def _packet(kind: int, body: bytes) -> bytes:
    """A control packet with its remaining length (§2.2.3)."""
    size, length = len(body), b""
    while True:
        size, digit = size >> 7, size & 0x7F
        length += bytes([digit | 0x80 if size else digit])
        if not size:
            return bytes([kind]) + length + body
