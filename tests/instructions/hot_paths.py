# SPDX-License-Identifier: AGPL-3.0-or-later
"""The hot paths of a post of 1 KB to two members, each driven by itself, with the instructions it takes counted.

Runs under Cachegrind only (`tests.instructions.counting`). All of it is the product's own code, on one thread and with
a clock and random bytes that are the same every time: only the sockets are missing, and the turns of the writer and of
the loop come when this module says so. Prints the instructions of each path for one post, as JSON.
"""

import asyncio
import gc
import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from gateway.listeners.tcp import TcpLink, TcpListener
from tmtp_core.crypto.possession import NO_TLS
from tmtp_core.crypto.signing import SEED_BYTES
from tmtp_core.domain.admission import Registration
from tmtp_core.domain.policy import Acquaintance, Policy
from tmtp_core.domain.registering import RegistrationLimits
from tmtp_core.service import Service, ServiceSettings
from tmtp_core.wire import messages as m

POST: Final = "post: bytes read to decision submitted"
COMMIT: Final = "commit: decided and committed, in batches"
DELIVERY: Final = "delivery: ack and two deliveries sent, their acks read"

_LINKS: Final = 64
_WARM_UP_ROUNDS: Final = 5
_ROUNDS: Final = 5
_DATA: Final = bytes(1024)
_TAIL_BYTES: Final = 64  # the sum stands in the last line of what Cachegrind writes
_MESSAGE_ID: Final = re.compile(rb'"id":"([0-9a-f]{16})"')
_UID: Final = re.compile(rb'"uid":"([^"]+)"')


class Clock:
    """Goes on by a millisecond each time it is looked at."""

    def __init__(self) -> None:
        self._now_ms = 1_790_000_000_000

    def wall_ns(self) -> int:
        """Nanoseconds since 1970."""
        self._now_ms += 1
        return self._now_ms * 1_000_000

    def monotonic_s(self) -> float:
        """Seconds since some moment."""
        return 1.0


class Transport:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(bytes(data))

    def taken(self) -> bytes:
        """What was sent since this was asked last."""
        sent = b"".join(self.sent)
        self.sent.clear()
        return sent

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 40_000) if name == "peername" else None

    def set_write_buffer_limits(self, high: int | None = None) -> None: ...


class Counter:
    """Sums up the instructions of several stretches under one name."""

    def __init__(self, out_file: str) -> None:
        """`out_file`: where Cachegrind writes, with `%p` for the process."""
        self._out_file = out_file
        self.counts: dict[str, int] = {}
        self._own = 0  # what counting itself takes
        for _ in range(3):
            begin = self._so_far()
            self._own = self._so_far() - begin

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        """Count what the block takes."""
        begin = self._so_far()
        yield
        self.counts[name] = self.counts.get(name, 0) + self._so_far() - begin - self._own

    def _so_far(self) -> int:
        """What this process has executed until now: a copy of it ends at once, whereupon its sum is written."""
        copy = os.fork()
        if not copy:
            os._exit(0)
        os.waitpid(copy, 0)
        path = Path(self._out_file.replace("%p", str(copy)))
        with path.open("rb") as written:
            written.seek(-_TAIL_BYTES, os.SEEK_END)
            total = int(written.read().rpartition(b"summary:")[2])
        path.unlink()
        return total


class Instance:
    """A service whose writer and whose loop take their turns when they are told to."""

    def __init__(self, folder: Path) -> None:
        settings = ServiceSettings(
            name="counted",
            title="Counted",
            folder=folder,
            registration=Registration.OPEN,
            registrations=RegistrationLimits(per_minute=0),
            credential_key=bytes(32),
            signing_seed=bytes(SEED_BYTES),
            policy=Policy(members=False, acquaintance=Acquaintance.EVERYONE),
        )
        self._in_loop: list[Callable[[], None]] = []
        chance = random.Random(0)
        self._service = Service(settings, Clock(), chance.randbytes, self._in_loop.append, self._reported)
        self._listener = TcpListener(self._service, "", 0, None, (NO_TLS,))
        self._links: list[TcpLink] = []
        self._transports: list[Transport] = []
        self._uids: list[str] = []
        self._posted = 0

    def close(self) -> None:
        """Give the database back."""
        self._service.abandon()

    async def register(self, number: int) -> None:
        """One more member, whose link stays."""
        link, transport = TcpLink(self._listener), Transport()
        link.connection_made(transport)  # type: ignore[arg-type]
        link.data_received(m.encode_head(m.TmtpRev("1")) + m.encode_head(m.Register("n", f"Member {number:06d}")))
        while not (uid := _UID.search(b"".join(transport.sent))):
            self.commit()
            await self.finish()
        self._links.append(link)
        self._transports.append(transport)
        self._uids.append(uid[1].decode())

    async def acknowledge_everything(self) -> None:
        """Nothing is on its way to anybody."""
        while acks := self.acks():
            self.read(acks)
            self.commit()
            await self.finish()

    def posts(self) -> list[tuple[TcpLink, bytes]]:
        """What each member sends for a post to the next two."""
        self._posted += 1
        frames = []
        for number, link in enumerate(self._links):
            recipients = tuple(m.Recipient(self._uids[(number + step) % len(self._uids)], m.TO_UID) for step in (1, 2))
            post = m.Post(f"{self._posted}", recipients, len(_DATA))
            frames.append((link, m.encode_frame(post, _DATA)))
        return frames

    def acks(self) -> list[tuple[TcpLink, bytes]]:
        """What each member sends for the deliveries that it got."""
        frames = []
        for link, transport in zip(self._links, self._transports, strict=True):
            for found in _MESSAGE_ID.finditer(transport.taken()):
                frames.append((link, m.encode_head(m.Ack(found[1].decode(), "ok"))))
        return frames

    def read(self, frames: list[tuple[TcpLink, bytes]]) -> None:
        """This comes in, each piece by itself."""
        for link, frame in frames:
            link.data_received(frame)

    def commit(self) -> None:
        """The writer's turn: one batch."""
        self._service._writer._commit_what_waits()

    async def finish(self) -> None:
        """The loop's turn: what was committed takes effect, and is sent."""
        turns = self._in_loop[:]
        self._in_loop.clear()
        for turn in turns:
            turn()
        await asyncio.sleep(0)

    def _reported(self, event: str, fields: dict[str, object]) -> None:
        raise AssertionError(event, fields)


async def count(counter: Counter, folder: Path) -> dict[str, int]:
    """Instructions of each path, for one post."""
    instance = Instance(folder)
    for number in range(_LINKS):
        await instance.register(number)
    await instance.acknowledge_everything()
    for _ in range(_WARM_UP_ROUNDS):
        await one_round(instance, counter)
    counter.counts.clear()
    for _ in range(_ROUNDS):
        await one_round(instance, counter)
    instance.close()
    return {name: round(sum_ / (_ROUNDS * _LINKS)) for name, sum_ in counter.counts.items()}


async def one_round(instance: Instance, counter: Counter) -> None:
    """Everybody posts to two others; in the same commit are the acks of the round before."""
    frames = instance.posts()
    with counter.counted(POST):
        instance.read(frames)
    with counter.counted(COMMIT):
        instance.commit()
    with counter.counted(DELIVERY):
        await instance.finish()
    frames = instance.acks()
    assert len(frames) == 2 * _LINKS
    with counter.counted(DELIVERY):
        instance.read(frames)


def main(out_file: str) -> None:
    """Print the counts."""
    gc.disable()  # the product freezes what is there at its start and looks for cycles rarely: not in so few posts
    with tempfile.TemporaryDirectory() as folder:
        counts: dict[str, Any] = asyncio.run(count(Counter(out_file), Path(folder)))
    print(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1])
