# SPDX-License-Identifier: AGPL-3.0-or-later
"""A copy of a sealed thread that waits until it is known who signed it, and what comes meanwhile (B3, B9): the
newcomer has the thread once, confirmed, with the note and its readers.
"""

from pathlib import Path

import pytest
from sqlalchemy import select

from tests.support.sealed_engine import Engine, delivery
from tests.support.trust_world import Post, World
from tmtp_client.engine import arriving, forwarding
from tmtp_client.store import people, tables, threads
from tmtp_core.wire.payload import PostHead, Subscriber


class Asked:
    """Ada wrote to Bob, he answered and asked Eve in; she knows neither of their logs."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.ada = Engine(world.account(), folder / "a")
        self.bob = Engine(world.account(), folder / "b", "Bob Builder")
        self.eve = Engine(world.account(), folder / "e", "Eve Example")
        self.first: Post
        self.copy: Post
        self.posts: dict[str, Post] = {}

    async def told(self) -> None:
        """All posts, in none of Eve's hands yet."""
        ada, bob, eve = self.ada, self.bob, self.eve
        for one in (ada, bob, eve):
            for other in (ada, bob, eve):
                if one is not other:
                    alias = other.context.identity.alias
                    one.do(lambda c, uid=other.uid, alias=alias: people.learn(c, uid, alias, "ping", 0))
        cc = tuple(_subscriber(one, ada, note) for one, note in ((ada, "author"), (bob, "")))
        self.first = ada.post(PostHead(subject="Plans", cc=cc), b"What do you think?", bob.uid)
        await bob.take()
        text = bob.do(lambda c: forwarding.copy_of(c, self.first.id, bob.uid)).encode()
        thread = self.first.id
        self.copy = bob.post(PostHead(thread, alias="Bob Builder", copies=True), text, eve.uid)
        added = (_subscriber(eve, bob, "Please help us"),)
        adds = PostHead(thread, alias="Bob Builder", cc=added, adds=self.copy.id)
        confirms = PostHead(
            thread, "Ada Lovelace", "Plans", confirmid=thread, confirmposted=self.first.posted, confirmfor=self.copy.id
        )
        self.posts = {
            "copy": self.copy,
            "note": bob.post(adds, b"", eve.uid, ada.uid),
            "confirmation": ada.post(confirms, b"What do you think?", eve.uid),
        }
        eve.device.queue.clear()

    async def hear(self, name: str) -> None:
        post = self.posts[name]
        await self.eve.hear(delivery(post), post.outer + post.stream)

    async def look_at(self, *of: Engine) -> None:
        """Eve's device looks at logs; what waited for that is not acted on yet."""
        await self.eve.device.trust.look_at(self.eve.device, self.eve.context.database, {one.uid for one in of})

    def acts_on_what_waited(self) -> None:
        self.eve.do(lambda c: arriving.again(c, self.eve.context))


@pytest.mark.parametrize("knows_bob_after", [0, 1, 2, 3])
@pytest.mark.parametrize("knows_ada_after", [0, 1, 2, 3])
async def test_a_newcomer_has_the_thread_once_whenever_the_logs_are_looked_at(
    world: World, tmp_path: Path, knows_ada_after: int, knows_bob_after: int
) -> None:
    asked = Asked(world, tmp_path)
    await asked.told()
    for place, name in enumerate(("", "copy", "note", "confirmation")):
        if name:
            await asked.hear(name)
        for one, after in ((asked.ada, knows_ada_after), (asked.bob, knows_bob_after)):
            if place == after:
                await asked.look_at(one)
    asked.acts_on_what_waited()
    eve, thread = asked.eve, asked.first.id
    rows = eve.do(lambda c: c.execute(select(tables.message).where(tables.message.c.thread == thread)).all())
    found = sorted((row.kind, row.author, row.text, row.state) for row in rows)
    assert found == [
        ("message", asked.ada.uid, "What do you think?", "received"),
        ("note", asked.bob.uid, "Please help us", "received"),
    ]
    readers = {one.uid for one in eve.do(lambda c: threads.readers(c, thread))}
    assert readers == {asked.ada.uid, asked.bob.uid, eve.uid}
    assert eve.deferred() == 0


@pytest.fixture
def world() -> World:
    return World()


def _subscriber(one: Engine, by: Engine, note: str) -> Subscriber:
    return Subscriber(one.context.identity.alias, one.uid, "", by.uid, "", note, subscribe=True)
