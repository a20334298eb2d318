# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sending, by real accounts over a real service: undo, schedule, offline, forwards, people asked in, large files (B3)."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from gateway.app import Gateway
from tests.support.gateway import SETTINGS, running_gateway
from tests.support.homes import (
    connected,
    has_text,
    joined,
    look_until,
    now_ms,
    ping,
    running_home,
    send,
    texts,
    until,
)
from tmtp_client import limits
from tmtp_client.api import models, operations
from tmtp_client.api.problems import ProblemError
from tmtp_client.engine import acquaintance, staging
from tmtp_client.engine.account import Account
from tmtp_client.engine.composing import Composing
from tmtp_client.engine.home import Home
from tmtp_client.store import changes, messages, outbox, threads
from tmtp_client.store.tables import attachment, heard, message
from tmtp_client.sync import registers, settings
from tmtp_client.trust import logs

SMALL = SETTINGS.replace("acquaintance: everyone,", "acquaintance: everyone, limits: {message_max_bytes: 400000},")


@dataclass
class World:
    """A service, and people on it who know one another."""

    gateway: Gateway
    homes: list[Home]
    ada: Account
    bob: Account
    eve: Account


@asynccontextmanager
async def people(tmp_path: Path, text: str = SETTINGS) -> AsyncIterator[World]:
    """Ada, Bob and Eve, all acquainted, with keys."""
    async with (
        running_gateway(tmp_path, text) as gateway,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "b") as b,
        running_home(tmp_path / "e") as e,
    ):
        ada = await joined(a, gateway, "public", "Ada Lovelace")
        bob = await joined(b, gateway, "public", "Bob Builder")
        eve = await joined(e, gateway, "public", "Eve Example")
        for one, other, alias in ((ada, bob, "Bob Builder"), (ada, eve, "Eve Example"), (bob, eve, "Eve Example")):
            await met(one, other, alias)
        yield World(gateway, [a, b, e], ada, bob, eve)


async def met(one: Account, other: Account, alias: str) -> None:
    """The one pings, the other answers."""
    text = f"It is me, {one.context.identity.alias}"
    await ping(one, alias, text)
    await has_text(other, text)
    back = f"Good to hear from you, {one.context.identity.alias}, says {alias}"
    await acquaintance.answer(other.context, one.context.uid, "accept", back)
    await has_text(one, back)


async def nothing_waits(account: Account) -> None:
    await look_until(account, lambda c: not outbox.count(c))


async def written(
    account: Account, to: str, text: str, *files: str, delay_s: int = 0, due_ms: int = 0
) -> models.Waiting:
    asked = operations.Send(account.context.name, (to,), "Plans", text, files=files, delay_s=delay_s, due_ms=due_ms)
    return await Composing(account.context).send(asked)


async def staged(account: Account, folder: Path, name: str, size: int) -> tuple[str, str]:
    """A file that is handed over and then vanishes; its name in the vault, its digest."""
    path = folder / name
    octets = os.urandom(size)
    path.write_bytes(octets)
    one = await staging.stage(account.context, path)
    path.unlink()
    assert (one.name, one.size) == (name, size)
    return one.file, blake2b(octets).hexdigest()


async def digest(account: Account, id: str, place: int = 0) -> str:
    """Of an attachment, as it is in the vault."""
    file = await look_until(
        account,
        lambda c: c.scalar(select(attachment.c.file).where(attachment.c.message == id, attachment.c.place == place)),
    )
    hashed = blake2b()
    for piece in account.context.files.read(file):
        hashed.update(piece)
    return hashed.hexdigest()


async def encrypt(account: Account, value: bool) -> None:
    """The person's setting."""
    context, register = account.context, (settings.KIND, "encrypt", {settings.FIELD: value})
    await context.database.write(lambda c: registers.set(c, context.at(), *register))


async def test_a_message_can_be_taken_back_sent_at_once_or_scheduled(tmp_path: Path) -> None:
    async with people(tmp_path) as world:
        ada, composing = world.ada, Composing(world.ada.context)
        regretted = await written(ada, "Bob Builder", "I resign", delay_s=60)
        assert regretted.state == "undo"
        hasty = await written(ada, "Eve Example", "Lunch?", delay_s=60)
        later = await written(ada, "Bob Builder", "Happy new year", due_ms=now_ms() + 1_500)
        assert later.state == "scheduled"
        await composing.act(regretted.request, "undo")
        await composing.act(hasty.request, "now")
        await has_text(world.eve, "Lunch?")
        await has_text(world.bob, "Happy new year")
        assert "I resign" not in await texts(world.bob)
        assert "I resign" not in await texts(ada)
        with pytest.raises(ProblemError, match="nothing of this name waits"):
            await composing.act(hasty.request, "undo")


async def test_what_is_written_offline_leaves_in_its_order(tmp_path: Path) -> None:
    async with people(tmp_path) as world:
        await world.ada.stop()
        for number in range(20):
            await written(world.ada, "Bob Builder", f"number {number}")
        waiting = await world.ada.context.database.read(outbox.waiting)
        assert [one.state for one in waiting] == ["waiting"] * 20
        await world.ada.start()
        await has_text(world.bob, "number 19")
        got = [text for text in await texts(world.bob) if text.startswith("number")]
        assert got == [f"number {number}" for number in range(20)]
        await nothing_waits(world.ada)
        assert [text for text in await texts(world.ada) if text.startswith("number")] == got


async def test_what_the_service_refuses_says_what_to_do_and_can_be_tried_again(tmp_path: Path) -> None:
    async with people(tmp_path) as world:
        await ping(world.ada, "Nobody At All", "Hello?")
        stopped = await look_until(
            world.ada, lambda c: next((one for one in outbox.waiting(c) if one.state == "refused"), None)
        )
        assert "not found" in stopped.error
        assert "look at how the name is written" in stopped.error
        await Composing(world.ada.context).act(stopped.request, "drop")
        await nothing_waits(world.ada)


async def test_a_forward_has_the_originals_and_copies_no_file(tmp_path: Path) -> None:
    async with people(tmp_path) as world:
        file, hashed = await staged(world.ada, tmp_path, "plan.txt", 70_000)
        await written(world.ada, "Bob Builder", "*Here* is the plan", file)
        got = await has_text(world.bob, "*Here* is the plan")
        assert await digest(world.bob, got.id) == hashed
        asked = operations.Forward(world.bob.context.name, got.thread, (got.id,), ("Eve Example",), "Look at this")
        waiting = await Composing(world.bob.context).forward(asked)
        await Composing(world.bob.context).act(waiting.request, "now")
        handed = await look_until(
            world.eve, lambda c: next((one for one in messages.latest(c, 9) if one.subject == "Fwd: Plans"), None)
        )
        assert handed.thread == handed.id != got.thread
        assert handed.text.startswith("Look at this\n\n---\n\n**Ada Lovelace**, ")
        assert handed.text.endswith("*Here* is the plan")
        assert await digest(world.eve, handed.id) == hashed
        await nothing_waits(world.bob)
        files = await world.bob.context.database.read(
            lambda c: c.execute(select(func.count(), func.count(attachment.c.file.distinct()))).one()
        )
        assert tuple(files) == (2, 1)


@pytest.mark.parametrize("encrypted", [True, False], ids=["sealed", "plain"])
async def test_who_is_asked_in_sees_the_thread_and_each_author_confirms_his_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    monkeypatch.setattr(limits, "CONFIRM_WITHIN_S", 0.1)
    async with people(tmp_path) as world:
        for one in (world.ada, world.bob, world.eve):
            await encrypt(one, encrypted)
        file, hashed = await staged(world.ada, tmp_path, "plan.txt", 1_000)
        await written(world.ada, "Bob Builder", "What do you think?", file)
        got = await has_text(world.bob, "What do you think?")
        await send(world.bob, text="Eve should see this", reply=got.id)
        await has_text(world.ada, "Eve should see this")
        asked = operations.AddReaders(world.bob.context.name, got.thread, ("Eve Example",), "Please help us")
        assert (await Composing(world.bob.context).add(asked)).kind == "note"
        for text, author in (("What do you think?", world.ada), ("Eve should see this", world.bob)):
            confirmed = await look_until(
                world.eve,
                lambda c, text=text: next(
                    (one for one in messages.latest(c, 50) if one.text == text and one.state == "received"), None
                ),
            )
            assert (confirmed.author, confirmed.thread) == (author.context.uid, got.thread)
            assert bool(confirmed.suite) is encrypted
            if author is world.ada:
                assert await digest(world.eve, confirmed.id) == hashed
        for one in (world.ada, world.bob, world.eve):
            assert (await has_text(one, "Please help us")).kind == "note"
            await nothing_waits(one)
            thread = await one.context.database.read(lambda c: threads.view(c, got.thread))
            assert thread is not None
            names = {"Ada Lovelace", "Bob Builder", "Eve Example"}
            assert {reader.alias for reader in thread.readers} == names
        state = select(message.c.id).where(message.c.state == "unconfirmed")
        assert await world.eve.context.database.read(lambda c: c.scalars(state).all()) == []
        now = await has_text(world.eve, "What do you think?")
        await send(world.eve, text="I have seen it", reply=now.id)
        for one in (world.ada, world.bob):
            answer = await has_text(one, "I have seen it")
            assert answer.thread == got.thread


async def test_a_file_that_is_larger_than_the_service_takes_goes_in_parts(tmp_path: Path) -> None:
    async with people(tmp_path, SMALL) as world:
        file, hashed = await staged(world.ada, tmp_path, "film.mkv", 1_500_000)
        await written(world.ada, "Bob Builder", "Look at this", file)
        got = await has_text(world.bob, "Look at this")
        assert await digest(world.bob, got.id) == hashed
        whole = await look_until(
            world.bob, lambda c: (one := messages.view(c, got.id)) and one.state == "received" and one
        )
        assert whole
        assert [(one.name, one.size, one.have) for one in whole.attachments] == [("film.mkv", 1_500_000, 1_500_000)]
        await nothing_waits(world.ada)


async def test_a_file_that_is_too_large_for_who_has_no_keys_is_refused_in_words(tmp_path: Path) -> None:
    async with people(tmp_path, SMALL) as world:
        context = world.ada.context
        monkeyed = context.trust
        file, _ = await staged(world.ada, tmp_path, "film.mkv", 1_500_000)
        await context.database.write(lambda c: monkeyed.logs.forget(c, world.bob.context.uid))
        await encrypt(world.ada, False)
        context.trust = _Blind(monkeyed)
        await written(world.ada, "Bob Builder", "Look at this", file)
        stopped = await look_until(
            world.ada, lambda c: next((one for one in outbox.waiting(c) if one.state == "refused"), None)
        )
        assert "the service takes 400000 in one message" in stopped.error


class _Blind:
    """Trust that is shown nobody's log."""

    def __init__(self, trust: object) -> None:
        self._trust = trust

    def __getattr__(self, name: str) -> object:
        return getattr(self._trust, name)

    async def look_at(self, *_: object, **__: object) -> None:
        """Nothing is seen."""


async def test_a_thread_that_was_encrypted_does_not_become_plain_by_itself(tmp_path: Path) -> None:
    async with people(tmp_path) as world:
        await written(world.ada, "Bob Builder", "Between us")
        got = await has_text(world.bob, "Between us")
        assert got.suite == 2
        context = world.bob.context
        await context.database.write(lambda c: context.trust.logs.forget(c, world.ada.context.uid))
        context.trust = _Blind(context.trust)
        await send(world.bob, text="Surely", reply=got.id)
        stopped = await look_until(
            world.bob, lambda c: next((one for one in outbox.waiting(c) if one.state in {"refused", "held"}), None)
        )
        assert stopped.error
        assert "Surely" not in await texts(world.ada)


async def test_a_setting_for_new_threads_does_not_open_an_encrypted_one(tmp_path: Path) -> None:
    async with people(tmp_path) as world:
        await written(world.ada, "Bob Builder", "Between us")
        got = await has_text(world.bob, "Between us")
        await encrypt(world.bob, False)
        await send(world.bob, text="Surely", reply=got.id)
        assert (await has_text(world.ada, "Surely")).suite == 2
        await send(world.bob, "Ada Lovelace", text="The weather")
        assert (await has_text(world.ada, "The weather")).suite == 0


async def test_a_thread_is_plain_once_a_person_says_so(tmp_path: Path) -> None:
    async with people(tmp_path) as world:
        await written(world.ada, "Bob Builder", "Between us")
        got = await has_text(world.bob, "Between us")
        context = world.bob.context
        await context.database.write(
            lambda c: registers.set(c, context.at(), "thread", got.thread, {"encryption": "off"})
        )
        await send(world.bob, text="In the open", reply=got.id)
        assert (await has_text(world.ada, "In the open")).suite == 0


async def test_an_upload_goes_on_where_it_was_when_its_engine_is_killed(tmp_path: Path) -> None:
    size, part = 3_000_000, 100_000
    async with people(tmp_path) as world:
        home, *_ = world.homes
        name = world.ada.context.name
        await home.close()
        path = tmp_path / "film.mkv"
        octets = os.urandom(size)
        path.write_bytes(octets)
        arguments = (str(tmp_path / "a"), name, str(path), str(part))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.sending_process", *arguments, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        async with asyncio.timeout(180):
            while (line := await process.stdout.readline()) and int(line) < size // 4:
                pass
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await process.stdout.read()
        async with running_home(tmp_path / "a") as again:
            ada = again.account(name)
            waiting = await ada.context.database.read(outbox.waiting)
            assert [one.text for one in waiting] == ["Here is the film"]
            assert size // 4 <= waiting[0].sent < size
            await until(lambda: connected(ada))
            got = await has_text(world.bob, "Here is the film")
            assert await digest(world.bob, got.id) == blake2b(octets).hexdigest()
            await nothing_waits(ada)
            assert (await texts(ada)).count("Here is the film") == 1
        came = await world.bob.context.database.read(lambda c: c.scalar(select(func.count()).select_from(heard)))
        assert came is not None
        assert came >= size // part
        assert (await texts(world.bob)).count("Here is the film") == 1


async def test_changed_keys_hold_a_message_until_the_person_has_seen_them(tmp_path: Path) -> None:
    async with people(tmp_path) as world:
        context, bob = world.ada.context, world.bob.context.uid
        known = await context.database.read(lambda c: logs.standing(c, bob))
        assert known.seen_head
        await context.database.write(lambda c: logs.keep(c, known, seen_head="of another log"))
        await written(world.ada, "Bob Builder", "Can you read this?")
        stopped = await look_until(
            world.ada, lambda c: next((one for one in outbox.waiting(c) if one.state == "held"), None)
        )
        assert stopped.error
        told = await context.database.read(lambda c: changes.since(c, "ada", 0, limits.CHANGES_MAX))
        assert [one.data.uid for one in told if one.type == "keys"][-1:] == [bob]
        await send(world.ada, "Eve Example", text="Meanwhile")
        await has_text(world.eve, "Meanwhile")
        assert "Can you read this?" not in await texts(world.bob)

        def seen(c: Connection) -> None:
            assert context.trust.seen(c, bob, context.trust.following.shown(c, bob))
            assert outbox.release_held(c, now_ms()) == 1

        await context.database.write(seen)
        context.to_send.set()
        assert (await has_text(world.bob, "Can you read this?")).suite == 2
