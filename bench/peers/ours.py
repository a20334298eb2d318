# SPDX-License-Identifier: AGPL-3.0-or-later
"""This server, measured in the same way as the others."""

import asyncio
import os
import signal
from importlib.metadata import version

from bench.member import Member, Tally
from bench.peers.process import PeerServer
from bench.peers.work import Client, Part
from bench.server import BenchServer
from bench.worker import Place
from tmtp_core.wire import messages as m


class Ours(PeerServer):
    """A gateway with one open instance, and clients of revision 1."""

    name = "tmtp"
    promise = "on the disk (fsync) for all devices of every recipient"

    def __init__(self) -> None:
        super().__init__()
        self._server = BenchServer()
        self.place = Place("127.0.0.1", self._server.port)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._server.__exit__(*error)

    def prepare(self) -> None:
        """It has its settings."""

    def commands(self) -> list[list[str]]:
        """It is started otherwise."""
        return []

    def start(self) -> None:
        """Start it, or start it again."""
        self._server.start()

    def kill(self) -> None:
        """End it at once."""
        os.kill(self._server.pid, signal.SIGKILL)
        self._server.stop()

    def roots(self) -> list[int]:
        """Its one process."""
        return [self._server.pid]

    def version(self) -> str:
        """Of the package."""
        return f"TMTP Gateway {version('tmtp-gateway')}"

    def client(self, part: Part, tally: Tally) -> Client:
        """A member."""
        return _OurClient(self, part, tally)


class _Link(Member):
    """The bench's member, whose deliveries are checked as those of the other servers are."""

    def __init__(self, client: "_OurClient") -> None:
        super().__init__(client.part.number, client.tally)
        self._client = client
        self.on_ack = lambda _: client.go_on()

    def take_delivery(self, stamp: bytes, now: int) -> None:
        """A post came with this stamp."""
        self._client.took(stamp)


class _OurClient(Client):
    def __init__(self, server: Ours, part: Part, tally: Tally) -> None:
        super().__init__(part, tally)
        self._server = server
        self._member: _Link | None = None
        self.uid = ""

    async def open(self) -> None:
        """Register; later, log in."""
        place, context = self._server.place, self._server.context
        if self._member is None:
            self._member = _Link(self)
            await self._member.connect(place.host, place.port, context)
            await self._member.register(f"Member {self.part.number:06d}")
            self.uid = self._member.uid
        else:
            await self._member.connect(place.host, place.port, context)
            await self._member.log_in()

    async def close(self) -> None:
        """Drop the link."""
        if self._member is not None:
            self._member.leave()
            await asyncio.sleep(0)

    def address(self, everybody: dict[int, Client]) -> None:
        """To whom it posts."""
        assert self._member is not None
        others = [everybody[number] for number in self.part.to]
        uids = [other.uid for other in others if isinstance(other, _OurClient)]
        self._member.address(tuple(m.Recipient(uid, m.TO_UID) for uid in uids), self.part.size)

    def send(self, stamp: bytes, due_ns: int) -> None:
        """Post, with a stamp and a tally of the same kind as ours."""
        assert self._member is not None
        self._member.post(due_ns)
