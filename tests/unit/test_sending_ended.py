# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a service ends the connection at, time after time, stops nothing else (B3): against a scripted peer."""

import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.client_peer import POSTED, PeerLink, ScriptedPeer, scripted_peer
from tests.support.homes import look_until, send
from tests.unit.test_client_kept_and_sent import posted, running
from tmtp_client import limits
from tmtp_client.store import outbox, people
from tmtp_core.wire import messages as m

EVE = "E" * 32
End = Callable[[PeerLink, m.Post], Awaitable[None]]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes back at once."""
    monkeypatch.setattr(limits, "RECONNECT_FIRST_S", 0.001)
    monkeypatch.setattr(limits, "RECONNECT_LONGEST_S", 0.01)
    monkeypatch.setattr(limits, "ENDED_TRIES", 4)


async def tries(peer: ScriptedPeer, link: PeerLink, poison: str, end: End) -> tuple[int, PeerLink, m.Post]:
    """The service ends each connection at this post; how often it came, and the first post that is another."""
    times = 0
    while True:
        post, _ = await posted(link)
        if post.id != poison:
            return times, link, post
        times += 1
        assert times <= limits.ENDED_TRIES, "it stands in the way of all others"
        await end(link, post)
        link = await peer.link()
        await link.greet()


def saying(quit: str) -> End:
    async def end(link: PeerLink, post: m.Post) -> None:
        await link.send(m.QuitNotice(quit))
        link.writer.close()

    return end


async def silently(link: PeerLink, post: m.Post) -> None:
    link.writer.close()


async def in_nonsense(link: PeerLink, post: m.Post) -> None:
    link.writer.write(b"000cnonsense, all")
    await link.writer.drain()
    link.writer.close()


@pytest.mark.parametrize(
    ("end", "words"),
    [(saying("the moon is full"), "the moon is full"), (silently, "closed the connection"), (in_nonsense, "TMTP")],
    ids=["by a quit", "without a word", "in nonsense"],
)
async def test_what_a_service_ends_each_connection_at_is_set_aside_and_the_next_one_goes(
    tmp_path: Path, end: End, words: str
) -> None:
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, first):
        await account.context.database.write(lambda c: people.learn(c, EVE, "Eve Example", "ping", 0))
        poison = await send(account, "Bob Builder", text="Of which it dies")
        await send(account, "Eve Example", text="And you?")
        times, link, post = await tries(peer, first, poison.request, end)
        assert [one.id for one in post.for_] == [EVE]
        await link.send(m.Acked(post.id, f"{5:016x}", POSTED))
        stands = await account.context.database.read(lambda c: outbox.view(c, poison.request))
        assert times == limits.ENDED_TRIES
        assert stands is not None
        assert (stands.state, stands.text) == ("refused", "Of which it dies"), "nothing of it is lost"
        assert words in stands.error
        assert "ask those whom it is for" in stands.error
        await link.close()


async def test_what_a_service_cannot_take_now_lets_others_go_first(tmp_path: Path) -> None:
    end = saying("service temporarily unavailable, try again")
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, first):
        await account.context.database.write(lambda c: people.learn(c, EVE, "Eve Example", "ping", 0))
        poison = await send(account, "Bob Builder", text="Of which it dies")
        behind = await send(account, "Bob Builder", text="And another thing")
        await send(account, "Eve Example", text="And you?")
        _, link, post = await tries(peer, first, poison.request, end)
        await link.send(m.Acked(post.id, f"{5:016x}", POSTED))
        assert [one.id for one in post.for_] == [EVE]
        waiting = await account.context.database.read(outbox.waiting)
        assert [(one.request, one.state) for one in waiting if one.to == ("Bob Builder",)] == [
            (poison.request, "waiting"),
            (behind.request, "waiting"),
        ], "in its order, when it goes"
        await link.close()


async def test_a_network_that_breaks_refuses_nothing(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer) as (account, first):
        one = await send(account, "Bob Builder", text="From a train")
        link = first
        for _ in range(3 * limits.ENDED_TRIES):
            post, _ = await posted(link)
            assert post.id == one.request
            linger = struct.pack("ii", 1, 0)  # what is closed now is reset
            link.writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            link.writer.transport.abort()
            link = await peer.link()
            await link.greet()
        post, _ = await posted(link)
        await link.send(m.Acked(post.id, f"{5:016x}", POSTED))
        assert await look_until(account, lambda c: outbox.count(c) == 0)
        await link.close()
