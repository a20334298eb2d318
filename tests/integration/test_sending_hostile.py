# SPDX-License-Identifier: AGPL-3.0-or-later
"""What must not leave, or not so, whatever a service does meanwhile (B9): by real accounts over a real service."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.integration.test_sending import SMALL, digest, encrypt, met, nothing_waits, people, staged, written
from tests.support.gateway import endpoint, running_gateway
from tests.support.homes import has_text, joined, joined_at_service, look_until, running_home, send
from tests.support.revision1 import only_revision_1
from tmtp_client import limits
from tmtp_client.api import models, operations
from tmtp_client.api.problems import ProblemError
from tmtp_client.connection import Connection as Link
from tmtp_client.engine import arriving, posting, thread_copy
from tmtp_client.engine import groups as group_acts
from tmtp_client.engine.account import Account
from tmtp_client.engine.arrival import Arrival
from tmtp_client.engine.composing import Composing
from tmtp_client.engine.sending import Sending
from tmtp_client.store import groups, messages, outbox, threads
from tmtp_client.store.tables import outbox as outbox_table
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import PostHead, Subscriber

POSTED = "2027-01-01T12:00:00.000Z"


async def readers(account: Account, thread: str) -> set[str]:
    """Who reads it, as far as this account knows."""
    found = await account.context.database.read(lambda c: threads.view(c, thread))
    assert found is not None
    return {one.uid for one in found.readers}


async def kinds(account: Account) -> list[str]:
    """What is in the outbox, of any kind."""
    return await account.context.database.read(
        lambda c: list(c.execute(outbox_table.select().with_only_columns(outbox_table.c.kind)).scalars())
    )


@pytest.mark.parametrize("how", ["note", "copy"])
async def test_a_service_cannot_ask_anybody_into_an_encrypted_thread(tmp_path: Path, how: str) -> None:
    """It makes up an unsigned note of Bob's that asks Eve in: she would be confirmed all that Ada wrote."""
    async with people(tmp_path) as world:
        ada, bob, eve = world.ada, world.bob.context.uid, world.eve.context.uid
        await send(ada, "Bob Builder", text="Between us")
        got = await has_text(world.bob, "Between us")
        await send(world.bob, text="Surely", reply=got.id)
        await has_text(ada, "Surely")
        await nothing_waits(ada)
        asked_in = Subscriber("Eve Example", eve, "Bob Builder", bob, ".", "", subscribe=True)
        number = "00000000f0000001"
        if how == "note":
            event: m.Notify | m.Delivery = m.Notify(
                id=number, from_=bob, posted=POSTED, datalen=0, postid="00000000f0000000"
            )
            forged = Arrival(event, 1, PostHead(threadid=got.thread, alias="Bob Builder", cc=(asked_in,)))
        else:
            event = m.Delivery(id=number, from_=bob, posted=POSTED, datalen=0)
            text = thread_copy.write(got.thread, [], [asked_in]).decode()
            forged = Arrival(event, 1, PostHead(threadid=got.thread, alias="Bob Builder", copies=True), text)
        await ada.context.database.write(lambda c: arriving.arrive(c, ada.context, forged))
        assert eve not in await readers(ada, got.thread)
        assert "confirmation" not in await kinds(ada)


async def test_a_message_to_one_reader_alone_is_not_handed_to_who_is_asked_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONFIRM_WITHIN_S", 0.1)
    async with people(tmp_path) as world:
        ada, bob, eve = world.ada, world.bob, world.eve
        frank = await joined(world.homes[0], world.gateway, "public", "Frank Furter")
        await met(ada, frank, "Frank Furter")
        await met(bob, frank, "Frank Furter")
        await send(ada, "Bob Builder", "Frank Furter", text="A party for everybody")
        got = await has_text(bob, "A party for everybody")
        await has_text(frank, "A party for everybody")
        await send(bob, text="Whom else?", reply=got.id)
        question = await has_text(ada, "Whom else?")
        aside = operations.Send(
            ada.context.name, text="Not Eve, please", reply=question.id, only_author=True, delay_s=0
        )
        await Composing(ada.context).send(aside)
        await has_text(bob, "Not Eve, please")
        asked = operations.AddReaders(frank.context.name, got.thread, ("Eve Example",), "You should come")
        with pytest.raises(Exception, match="Eve Example"):  # Frank has not met her
            await Composing(frank.context).add(asked)
        asked = operations.AddReaders(ada.context.name, got.thread, ("Eve Example",), "You should come")
        await Composing(ada.context).add(asked)
        await look_until(
            eve,
            lambda c: next(
                (
                    one
                    for one in messages.latest(c, 50)
                    if one.text == "A party for everybody" and one.state == "received"
                ),
                None,
            ),
        )
        await nothing_waits(ada)
        await look_until(ada, lambda c: not c.execute(outbox_table.select()).all())
        texts = await eve.context.database.read(lambda c: [one.text for one in messages.latest(c, 50)])
        assert "Not Eve, please" not in texts


async def test_a_group_is_asked_who_is_in_it_before_anything_is_sent_there(tmp_path: Path) -> None:
    gid = "The Chess Club"
    async with people(tmp_path) as world:
        ada, bob, eve = world.ada, world.bob, world.eve
        for account in (bob, eve):
            await Composing(ada.context).invite(gid, account.context.identity.alias, "Do you play?")
            await look_until(account, lambda c: groups.view(c, gid))
            await group_acts.act(account.context, gid, "join")
        for account in (ada, bob, eve):
            await look_until(account, lambda c: len(groups.joined(c, gid)) == 3)
        for known in ([], [(bob.context.uid, "Bob Builder")]):
            text = f"To all of you, of whom I know {len(known)}"

            def forget(c, known=known):  # type: ignore[no-untyped-def]
                groups.replace_members(c, gid, [models.Member(uid, name, "joined", False) for uid, name in known])

            await bob.context.database.write(forget)
            await bob.stop()  # what the sender has asked before is forgotten
            await bob.start()
            await send(bob, gid, text=text)
            for reader in (ada, eve):
                assert (await has_text(reader, text)).suite == 2


async def test_what_was_tried_in_plain_text_is_not_sealed_under_the_same_id(tmp_path: Path) -> None:
    """The service may have it: what a later try says instead is never read, and leaves a gap in the chain."""
    async with people(tmp_path) as world:
        ada = world.ada
        await encrypt(ada, False)
        await ada.stop()
        await send(ada, "Bob Builder", text="The weather")
        assert await ada.context.database.write(lambda c: Sending(ada.context)._begin(c, {})) is None
        ada.context.caught_up.set()
        job = await ada.context.database.write(lambda c: Sending(ada.context)._begin(c, {}))
        assert job is not None
        assert job.sealed is None
        await encrypt(ada, True)
        ada.context.caught_up.clear()
        await ada.start()
        assert (await has_text(world.bob, "The weather")).suite == 0
        assert (await has_text(ada, "The weather")).suite == 0


async def test_nothing_is_sealed_before_what_was_queued_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may say that somebody has left, or that a device was barred."""
    async with people(tmp_path) as world:
        ada = world.ada
        await ada.stop()
        for number in range(30):
            await send(world.bob, "Ada Lovelace", text=f"number {number}")
        await has_text(world.bob, "number 29")
        await send(ada, "Bob Builder", text="Are you there?")
        begun: list[bool] = []
        begin = outbox.begin

        def noted(c: Connection, request_id: str, prepared: bytes = b"") -> None:
            begun.append(ada.context.caught_up.is_set())
            begin(c, request_id, prepared)

        monkeypatch.setattr(outbox, "begin", noted)
        await ada.start()
        assert (await has_text(world.bob, "Are you there?")).suite == 2
        assert begun
        assert all(begun)


async def test_an_account_of_revision_1_sends_all_that_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files whole, people asked in by a note, confirmations; what the service does not take is refused in words."""
    monkeypatch.setattr(limits, "CONFIRM_WITHIN_S", 0.1)
    async with (
        running_gateway(tmp_path, SMALL) as gateway,
        only_revision_1(endpoint(gateway, "public"), tmp_path / "front") as old,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "b") as b,
        running_home(tmp_path / "e") as e,
    ):
        ada = await joined_at_service(a, "old", old, "Ada Lovelace")
        bob = await joined_at_service(b, "old", old, "Bob Builder")
        eve = await joined_at_service(e, "old", old, "Eve Example")
        for one, other, alias in ((ada, bob, "Bob Builder"), (ada, eve, "Eve Example"), (bob, eve, "Eve Example")):
            await met(one, other, alias)
        small, hashed = await staged(ada, tmp_path, "plan.txt", 100_000)
        await written(ada, "Bob Builder", "Here is the plan", small)
        got = await has_text(bob, "Here is the plan")
        assert (got.suite, await digest(bob, got.id)) == (0, hashed)
        forward = operations.Forward("old", got.thread, (got.id,), ("Eve Example",), "See here")
        waiting = await Composing(bob.context).forward(forward)
        await Composing(bob.context).act(waiting.request, "now")
        handed = await look_until(
            eve, lambda c: next((one for one in messages.latest(c, 9) if one.subject == "Fwd: Plans"), None)
        )
        assert await digest(eve, handed.id) == hashed
        asked = operations.AddReaders("old", got.thread, ("Eve Example",), "Please help us")
        await Composing(bob.context).add(asked)
        await look_until(
            eve,
            lambda c: next(
                (one for one in messages.latest(c, 50) if one.text == "Here is the plan" and one.state == "received"),
                None,
            ),
        )
        assert (await has_text(ada, "Please help us")).kind == "note"
        large, _ = await staged(ada, tmp_path, "film.mkv", 1_500_000)
        await written(ada, "Bob Builder", "Look at this", large)
        stopped = await look_until(
            ada, lambda c: next((one for one in outbox.waiting(c) if one.state == "refused"), None)
        )
        assert "takes no message as long as this" in stopped.error
        await written(ada, "Bob Builder", "Never mind")
        await has_text(bob, "Never mind")
        link = await ada.context.current()
        again, _ = await staged(ada, tmp_path, "film.mkv", 1_500_000)
        await written(ada, "Bob Builder", "And then at this, please", again)
        await look_until(ada, lambda c: len([1 for one in outbox.waiting(c) if one.state == "refused"]) == 2)
        assert await ada.context.current() is link, "it is not tried again: that costs the connection"


@pytest.mark.parametrize("encrypted", [True, False], ids=["sealed", "plain"])
async def test_a_file_on_its_way_can_be_taken_back_until_all_of_it_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    async with people(tmp_path) as world:
        ada = world.ada
        await encrypt(ada, encrypted)
        reached, go_on = asyncio.Event(), asyncio.Event()
        slice_pieces = posting.slice_pieces

        async def slow(one: posting.Slice, files: posting.ReadsFiles) -> AsyncIterator[bytes]:
            async for piece in slice_pieces(one, files):
                yield piece
                reached.set()
                await go_on.wait()

        monkeypatch.setattr(posting, "slice_pieces", slow)
        file, _ = await staged(ada, tmp_path, "film.mkv", 2_000_000)
        waiting = await written(ada, "Bob Builder", "Look at this", file)
        async with asyncio.timeout(90):
            await reached.wait()
            await Composing(ada.context).act(waiting.request, "drop")
        await nothing_waits(ada)
        go_on.set()
        await send(ada, "Bob Builder", text="Never mind")
        got = await has_text(world.bob, "Never mind")
        assert got.doubts == (), "what was taken back is not missed"
        texts = await world.bob.context.database.read(lambda c: [one.text for one in messages.latest(c, 50)])
        assert "Look at this" not in texts


async def test_what_was_said_cannot_be_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with people(tmp_path) as world:
        ada = world.ada
        reached, go_on = asyncio.Event(), asyncio.Event()
        post = Link.post

        async def slow(self: Link, *arguments: Any, **named: Any) -> m.Acked:
            answer = await post(self, *arguments, **named)
            reached.set()
            await go_on.wait()
            return answer

        monkeypatch.setattr(Link, "post", slow)
        waiting = await written(ada, "Bob Builder", "Look at this")
        async with asyncio.timeout(90):
            await reached.wait()
            with pytest.raises(ProblemError, match="may have it already"):
                await Composing(ada.context).act(waiting.request, "drop")
        go_on.set()
        await nothing_waits(ada)
        await has_text(ada, "Look at this")
        await has_text(world.bob, "Look at this")
