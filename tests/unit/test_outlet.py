# SPDX-License-Identifier: AGPL-3.0-or-later
"""How frames leave: what is ready in one turn of the loop in few writes, and none cut by a TLS record (wire.md §1.8)."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.listeners.link import Link
from tmtp_core import limits
from tmtp_core.domain.port import Body

RECORD = limits.TLS_RECORD_MAX_BYTES


class Service:
    """Knows no sessions."""

    def connect(self, outlet: Link, spki_hashes: tuple[bytes, ...]) -> None:
        return None


class Transport:
    """Keeps what is written, and takes no more when the test says so."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.link: Link
        self.most = 1_000

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        if len(self.writes) == self.most:
            self.link.pause_writing()

    def set_write_buffer_limits(self, high: int) -> None: ...

    def is_closing(self) -> bool:
        return False


def a_link(transport: Any) -> Link:
    link = Link(Service())  # type: ignore[arg-type]
    transport.link = link
    link._begin(transport, ())
    return link


async def a_turn() -> None:
    """Of the loop."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


sizes = st.one_of(st.integers(1, 3_000), st.integers(1, RECORD + 10), st.integers(1, limits.PAYLOAD_INLINE_MAX_BYTES))


@settings(max_examples=500)
@given(st.lists(st.tuples(st.integers(1, 300), sizes), max_size=60), st.integers(1, 20))
def test_no_small_frame_is_cut_and_nothing_is_lost_or_out_of_order(frames: list[tuple[int, int]], most: int) -> None:
    async def run() -> list[bytes]:
        transport = Transport()
        transport.most = most
        link = a_link(transport)
        for number, (head, size) in enumerate(frames):
            link.send(bytes([number]) * head, Body(size, bytes([number]) * size))
        await a_turn()
        assert len(transport.writes) <= most
        transport.most = 0
        link.resume_writing()
        await a_turn()
        assert not link._frames
        assert link._queued_bytes == 0
        return transport.writes

    writes = asyncio.run(run())
    assert b"".join(writes) == b"".join(bytes([number]) * (head + size) for number, (head, size) in enumerate(frames))
    for write in writes:
        start = 0
        while start < len(write):
            end = start + frames[write[start]][0] + frames[write[start]][1]
            if end - start <= RECORD:
                assert start // RECORD == (end - 1) // RECORD
            start = end


async def test_what_fits_one_record_leaves_in_one_write() -> None:
    transport = Transport()
    link = a_link(transport)
    for _ in range(10):
        link.send(b"head", Body(1_024, bytes(1_024)))
    assert transport.writes == []
    await a_turn()
    assert [len(write) for write in transport.writes] == [10 * 1_028]
