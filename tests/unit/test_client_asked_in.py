# SPDX-License-Identifier: AGPL-3.0-or-later
"""A copy of a sealed thread that waits until it is known who signed it, and what comes meanwhile (B3, B9): the
newcomer has the thread once, confirmed, with the note and its readers.
"""

from itertools import permutations
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import LargeBinary, cast, func, select

from tests.support.sealed_engine import Engine, delivery
from tests.support.trust_world import Post, World, posted_text
from tmtp_client import limits
from tmtp_client.engine import arriving, forwarding
from tmtp_client.store import people, tables, threads, transfers
from tmtp_core.crypto.manifest import digest
from tmtp_core.wire.payload import Attached, Part, PostHead, Subscriber, Transfer


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


def thread_of(asked: Asked) -> list[tuple[str, str, str, str]]:
    """What Eve has of it."""
    t = tables.message.c
    rows = asked.eve.do(lambda c: c.execute(select(tables.message).where(t.thread == asked.first.id)).all())
    return sorted((row.kind, row.author, row.text, row.state) for row in rows)


def confirming(asked: Asked, by: Engine, text: bytes) -> Post:
    """This account says to Eve that it is what Ada wrote."""
    head = PostHead(
        asked.first.id, confirmid=asked.first.id, confirmposted=asked.first.posted, confirmfor=asked.copy.id
    )
    post = by.post(head, text, asked.eve.uid)
    asked.eve.device.queue.clear()
    return post


async def hear(engine: Engine, post: Post) -> None:
    await engine.hear(delivery(post), post.outer + post.stream)


@pytest.mark.parametrize("knows_him", [True, False])
async def test_nobody_else_confirms_what_an_author_wrote(world: World, tmp_path: Path, knows_him: bool) -> None:
    """He is quicker than the copy: neither it nor the author's own words are lost for that."""
    asked = Asked(world, tmp_path)
    await asked.told()
    mallory = Engine(world.account(), tmp_path / "m", "Mallory Marlowe")
    asked.eve.do(lambda c: people.learn(c, mallory.uid, "Mallory Marlowe", "ping", 0))
    if knows_him:
        await asked.look_at(mallory)
    await asked.hear("copy")
    await hear(asked.eve, confirming(asked, mallory, b"Wire him the money"))
    await asked.look_at(mallory, asked.bob)
    asked.acts_on_what_waited()
    await asked.hear("note")
    await asked.look_at(asked.ada)
    await asked.hear("confirmation")
    asked.acts_on_what_waited()
    found = thread_of(asked)
    assert [one for one in found if one[1] != mallory.uid] == [
        ("message", asked.ada.uid, "What do you think?", "received"),
        ("note", asked.bob.uid, "Please help us", "received"),
    ]
    readers = {one.uid for one in asked.eve.do(lambda c: threads.readers(c, asked.first.id))}
    assert readers == {asked.ada.uid, asked.bob.uid, asked.eve.uid}


async def test_what_a_barred_device_confirms_takes_no_authors_words_away(world: World, tmp_path: Path) -> None:
    """B4: a thief's device, which the service lets in, is quicker than everybody, and Eve does not know Ada's log yet."""
    asked = Asked(world, tmp_path)
    await asked.told()
    thief = Engine(world.add(asked.ada.device.account, asked.ada.device), tmp_path / "t")
    forged = confirming(asked, thief, b"Wire him the money")
    world.pass_ms(1_000)
    world.act(asked.ada.device.account, "revoke", target=thief.device.name)
    asked.eve.device.queue.clear()
    await asked.hear("copy")
    world.pass_ms(10 * 60_000)
    await asked.eve.hear(replace(delivery(forged), posted=posted_text(world.now_ms)), forged.outer + forged.stream)
    await asked.look_at(asked.ada, asked.bob)
    asked.acts_on_what_waited()
    for name in ("note", "confirmation"):
        await asked.hear(name)
    asked.acts_on_what_waited()
    assert ("message", asked.ada.uid, "What do you think?", "received") in thread_of(asked)
    t = tables.message.c
    confirmed = asked.eve.do(lambda c: list(c.scalars(select(t.text).where(t.confirms != ""))))
    assert confirmed == ["What do you think?"]


@pytest.mark.parametrize("knows_ada_after", [0, 1, 2])
async def test_what_an_author_confirms_twice_is_there_once(world: World, tmp_path: Path, knows_ada_after: int) -> None:
    """Two of her devices were equally quick."""
    asked = Asked(world, tmp_path)
    await asked.told()
    again = confirming(asked, asked.ada, b"What do you think?")
    await asked.look_at(asked.bob)
    for name in ("copy", "note"):
        await asked.hear(name)
    for place, post in enumerate((asked.posts["confirmation"], again, None)):
        if place == knows_ada_after:
            await asked.look_at(asked.ada)
        if post is not None:
            await hear(asked.eve, post)
    asked.acts_on_what_waited()
    assert thread_of(asked) == [
        ("message", asked.ada.uid, "What do you think?", "received"),
        ("note", asked.bob.uid, "Please help us", "received"),
    ]
    assert asked.eve.deferred() == 0


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize("order", [*permutations(("copy", "note", "confirmation"))], ids="-".join)
async def test_a_service_that_turns_posts_round_takes_nothing_away_by_it(
    world: World, tmp_path: Path, knows: bool, order: tuple[str, ...]
) -> None:
    asked = Asked(world, tmp_path)
    await asked.told()
    if knows:
        await asked.look_at(asked.ada, asked.bob)
    for name in order:
        await asked.hear(name)
    await asked.look_at(asked.ada, asked.bob)
    asked.acts_on_what_waited()
    assert thread_of(asked) == [
        ("message", asked.ada.uid, "What do you think?", "received"),
        ("note", asked.bob.uid, "Please help us", "received"),
    ]
    readers = {one.uid for one in asked.eve.do(lambda c: threads.readers(c, asked.first.id))}
    assert readers == {asked.ada.uid, asked.bob.uid, asked.eve.uid}
    assert asked.eve.deferred() == 0


@pytest.mark.parametrize("knows", [True, False])
async def test_a_confirmations_large_file_is_put_together_and_its_small_one_is_here(
    world: World, tmp_path: Path, knows: bool
) -> None:
    """Its parts have come ahead of it: nothing else would have them looked at."""
    asked = Asked(world, tmp_path)
    await asked.told()
    ada, eve = asked.ada, asked.eve
    await asked.look_at(asked.bob, *((ada,) if knows else ()))
    for name in ("copy", "note"):
        await asked.hear(name)
    film, plan = b"0123456789", b"a plan"
    for place in (0, 1):
        head = PostHead(attach=(Attached("u:part", 5),), part=Part("film", place, 10, 2))
        await hear(eve, ada.post(head, b"", eve.uid, files=[film[5 * place : 5 * place + 5]]))
    files = (
        Attached("u:film.mkv", 0, transfer=Transfer("film", 10, digest(film), 2)),
        Attached("u:plan.txt", len(plan)),
    )
    head = PostHead(asked.first.id, confirmid=asked.first.id, confirmfor=asked.copy.id, attach=files)
    post = ada.post(head, b"What do you think?", eve.uid, files=[b"", plan])
    eve.device.queue.clear()
    eve.afters.clear()
    await hear(eve, post)
    assert any(after.parts for after in eve.afters)
    await asked.look_at(ada)
    asked.acts_on_what_waited()
    (whole,) = eve.do(transfers.whole)
    assert b"".join(eve.octets(one) for one in whole.files) == film
    message = eve.message(post.id)
    assert message is not None
    assert [(one.name, one.have) for one in message.attachments] == [("film.mkv", 10), ("plan.txt", len(plan))]
    assert ("message", ada.uid, "What do you think?", "partial") in thread_of(asked)
    assert len([one for one in thread_of(asked) if one[1] == ada.uid]) == 1


async def test_who_posts_much_that_waits_pushes_out_no_others_copy(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DEFERRED_MAX", 5)
    asked = Asked(world, tmp_path)
    await asked.told()
    mallory = Engine(world.account(), tmp_path / "m", "Mallory Marlowe")
    asked.eve.do(lambda c: people.learn(c, mallory.uid, "Mallory Marlowe", "ping", 0))
    await asked.hear("copy")
    for number in range(9):
        await hear(asked.eve, confirming(asked, mallory, b"%d" % number))
    assert asked.eve.deferred() == limits.DEFERRED_MAX
    await asked.look_at(asked.bob)
    asked.acts_on_what_waited()
    assert ("message", asked.ada.uid, "What do you think?", "unconfirmed") in thread_of(asked)


async def test_what_waits_takes_so_many_octets_and_no_more(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever posts as much pushes out nobody else's."""
    monkeypatch.setattr(limits, "DEFERRED_SMALL_CHARACTERS", 500)
    monkeypatch.setattr(limits, "DEFERRED_MAX_BYTES", 3_000)
    asked = Asked(world, tmp_path)
    await asked.told()
    mallory = Engine(world.account(), tmp_path / "m", "Mallory Marlowe")
    asked.eve.do(lambda c: people.learn(c, mallory.uid, "Mallory Marlowe", "ping", 0))
    await asked.hear("copy")
    for _ in range(5):
        copy = mallory.post(PostHead("0" * 16, alias="Mallory Marlowe", copies=True), "ß".encode() * 501, asked.eve.uid)
        await hear(asked.eve, copy)
    d = tables.deferred.c
    kept = asked.eve.do(lambda c: c.execute(select(d.author, func.length(cast(d.text, LargeBinary)))).all())
    assert sum(size for _, size in kept) <= limits.DEFERRED_MAX_BYTES
    assert [author for author, _ in kept].count(mallory.uid) == 2
    await asked.look_at(asked.bob)
    asked.acts_on_what_waited()
    assert ("message", asked.ada.uid, "What do you think?", "unconfirmed") in thread_of(asked)


async def test_nobody_takes_the_place_of_a_message_that_is_to_come(world: World, tmp_path: Path) -> None:
    """A note names the copy that it goes with: whichever id its author says, what comes under it is no other's."""
    asked = Asked(world, tmp_path)
    await asked.told()
    mallory = Engine(world.account(), tmp_path / "m", "Mallory Marlowe")
    eve = asked.eve
    eve.do(lambda c: people.learn(c, mallory.uid, "Mallory Marlowe", "ping", 0))
    await asked.look_at(mallory, asked.ada)
    cc = tuple(_subscriber(one, mallory, "") for one in (mallory, eve))
    own = mallory.post(PostHead(subject="Hello", cc=cc), b"Hello", eve.uid)
    victim = asked.ada.post(PostHead(subject="Beware", cc=cc[1:]), b"Beware of Mallory", eve.uid)
    claims = mallory.post(
        PostHead(own.id, alias="Mallory Marlowe", cc=(_subscriber(asked.bob, mallory, "Hi"),), adds=victim.id),
        b"",
        eve.uid,
    )
    eve.device.queue.clear()
    for post in (own, claims, victim):
        await hear(eve, post)
    assert "Beware of Mallory" in eve.texts()


@pytest.fixture
def world() -> World:
    return World()


def _subscriber(one: Engine, by: Engine, note: str) -> Subscriber:
    return Subscriber(one.context.identity.alias, one.uid, "", by.uid, "", note, subscribe=True)
