# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accounts of the client's engine against real services (B1, B3, A3, A6)."""

import asyncio
import os
from pathlib import Path

import pytest
from sqlalchemy import Connection as Rows
from sqlalchemy import select

from tests.support.gateway import running_gateway
from tests.support.homes import (
    has_text,
    joined,
    linked,
    look_at_keys,
    look_until,
    ping,
    running_home,
    send,
    texts,
    until,
)
from tmtp_client.api import models, operations
from tmtp_client.engine import acquaintance, staging
from tmtp_client.engine import groups as group_acts
from tmtp_client.engine.composing import Composing
from tmtp_client.engine.home import HomeBusy, owned
from tmtp_client.store import groups, messages, people, threads
from tmtp_client.store.tables import attachment
from tmtp_client.sync import state
from tmtp_client.vault.vault import WrongSecret


async def test_two_people_meet_and_write(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "b") as b,
    ):
        ada = await joined(a, gateway, "public", "Ada Lovelace")
        bob = await joined(b, gateway, "public", "Bob Builder")
        await ping(ada, "Bob Builder", "May I write to you?")
        first = await has_text(bob, "May I write to you?")
        assert (first.kind, first.alias, first.verified, first.seen) == ("ping", "Ada Lovelace", True, False)
        person = await bob.context.database.read(lambda c: people.view(c, ada.context.uid))
        assert person is not None
        assert person.stands == "asks"
        answered = await acquaintance.answer(bob.context, ada.context.uid, "accept", "You may")
        assert answered.stands == "contact"
        back = await has_text(ada, "You may")
        assert back.kind == "ping"
        met = await look_until(ada, lambda c: people.view(c, bob.context.uid))
        assert met.stands == "contact"
        await send(ada, "Bob Builder", text="Here it is", subject="Plans")
        got = await has_text(bob, "Here it is")
        assert (got.subject, got.alias, got.outgoing) == ("Plans", "Ada Lovelace", False)
        await send(bob, text="Thank you", reply=got.id)
        answer = await has_text(ada, "Thank you")
        assert answer.thread == got.thread == got.id
        assert await texts(ada) == ["May I write to you?", "You may", "Here it is", "Thank you"]


async def test_one_home_has_accounts_on_two_services(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "b") as b,
    ):
        ada = await joined(a, gateway, "public", "Ada Lovelace")
        inside = await joined(a, gateway, "members", "Ada Lovelace")
        bob = await joined(b, gateway, "members", "Bob Builder")
        await ping(bob, "Ada Lovelace", "inside")
        await has_text(inside, "inside")
        assert await texts(ada) == []
        state = await a.state()
        assert [(one.name, one.state, one.pings) for one in state.accounts] == [
            ("members-ada", "online", 1),
            ("public-ada", "online", 0),
        ]


async def test_locking_ends_connections_and_unlocking_takes_them_up(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "b") as b,
    ):
        ada = await joined(a, gateway, "public", "Ada Lovelace")
        bob = await joined(b, gateway, "public", "Bob Builder")
        await asyncio.to_thread(a.vault.set_passphrase, "correct horse")
        heard: list[models.Event | None] = []
        a.listen(heard.append)
        await a.lock()
        assert a.locked
        assert list(a.accounts()) == []
        assert await a.latest() == {}
        with pytest.raises(LookupError):
            a.account("public-ada")
        with pytest.raises(OSError, match="closed"):
            await ada.context.database.read(lambda c: None)
        await ping(bob, "Ada Lovelace", "while it was locked")
        with pytest.raises(WrongSecret):
            await a.unlock("wrong horse")
        await a.unlock("correct horse")
        await has_text(a.account("public-ada"), "while it was locked")
        homes = [event.data.home.locked for event in heard if event is not None and event.type == "home"]
        assert homes[0] is True
        assert homes[-1] is False


async def test_a_home_locks_itself_when_nobody_does_anything(tmp_path: Path) -> None:
    async with running_home(tmp_path / "a") as home:
        await home.set_idle_lock(1)
        await until(lambda: home.locked)
        await home.set_idle_lock(0)
    async with running_home(tmp_path / "a") as home:
        assert not home.locked
        assert (await home.state()).idle_lock_s == 0
        with pytest.raises(ValueError, match="from 0 to"):
            await home.set_idle_lock(-1)


async def test_leaving_destroys_what_an_account_has_here(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, running_home(tmp_path / "a") as home:
        await joined(home, gateway, "public", "Ada Lovelace")
        folder = tmp_path / "a" / "accounts" / "public-ada"
        assert folder.exists()
        await home.leave("public-ada")
        assert not folder.exists()
        assert list(home.accounts()) == []
        with pytest.raises(LookupError):
            await home.leave("public-ada")


def test_one_process_runs_a_home(tmp_path: Path) -> None:
    with owned(tmp_path / "a"), pytest.raises(HomeBusy, match="another process"), owned(tmp_path / "a"):
        pass
    with owned(tmp_path / "a"):
        pass


async def test_groups_from_founding_to_leaving(tmp_path: Path) -> None:
    """A6."""
    gid = "The Chess Club"
    async with (
        running_gateway(tmp_path) as gateway,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "b") as b,
    ):
        ada = await joined(a, gateway, "public", "Ada Lovelace")
        bob = await joined(b, gateway, "public", "Bob Builder")
        await Composing(ada.context).invite(gid, "Bob Builder", "Do you play?")
        asked = await has_text(bob, "Do you play?")
        assert (asked.kind, asked.gid) == ("invitation", gid)
        assert (await look_until(bob, lambda c: groups.view(c, gid))).stands == "invited"
        founded = await look_until(ada, lambda c: groups.view(c, gid))
        assert (founded.stands, founded.alias) == ("joined", "Ada Lovelace")
        await group_acts.act(bob.context, gid, "join")
        for account in (ada, bob):
            group = await look_until(account, lambda c: _with_members(c, gid, 2))
            assert {one.alias: one.owner for one in group.members} == {"Ada Lovelace": True, "Bob Builder": False}
            assert group.stands == "joined"
        await send(ada, gid, text="to the club", subject="Evening")
        got = await has_text(bob, "to the club")
        thread = await bob.context.database.read(lambda c: threads.view(c, got.thread))
        assert thread is not None
        assert thread.gid == gid
        await group_acts.act(bob.context, gid, "leave")
        await look_until(ada, lambda c: _with_members(c, gid, 1))
        left = await look_until(bob, lambda c: next((one for one in groups.listed(c) if one.stands == "left"), None))
        assert left.gid == gid


def _with_members(c: Rows, gid: str, count: int) -> models.Group | None:
    group = groups.view(c, gid)
    joined_ones = [one for one in group.members if one.stands == "joined"] if group is not None else []
    return group if len(joined_ones) == count else None


async def test_blocks_reach_all_that_one_hears_of(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "b") as b,
    ):
        ada = await joined(a, gateway, "public", "Ada Lovelace")
        bob = await joined(b, gateway, "public", "Bob Builder")
        await ping(bob, "Ada Lovelace", "one")
        await has_text(ada, "one")
        blocked = await acquaintance.answer(ada.context, bob.context.uid, "block")
        assert blocked.blocked
        await ping(bob, "Ada Lovelace", "two")
        await has_text(bob, "two")
        freed = await acquaintance.answer(ada.context, bob.context.uid, "unblock")
        assert not freed.blocked
        await ping(bob, "Ada Lovelace", "three")
        await has_text(ada, "three")
        assert await texts(ada) == ["one", "three"]


async def test_contacts_see_who_is_there(tmp_path: Path) -> None:
    """A6."""
    async with running_gateway(tmp_path) as gateway, running_home(tmp_path / "a") as a:
        ada = await joined(a, gateway, "public", "Ada Lovelace")
        heard: list[models.Event | None] = []
        a.listen(heard.append)
        async with running_home(tmp_path / "b") as b:
            bob = await joined(b, gateway, "public", "Bob Builder")
            uid = bob.context.uid
            await ping(ada, "Bob Builder", "hello")
            await has_text(bob, "hello")
            await acquaintance.answer(bob.context, ada.context.uid, "accept", "hello")
            await look_until(ada, lambda c: _is_there(c, uid) is True)
        await look_until(ada, lambda c: _is_there(c, uid) is False)
        came = [event.data.present for event in heard if event is not None and event.type == "presence"]
        assert came[-1] is False
        assert True in came


def _is_there(c: Rows, uid: str) -> bool | None:
    person = people.view(c, uid)
    return None if person is None else person.present


async def test_large_files_arrive_whole(tmp_path: Path) -> None:
    octets = os.urandom(3 << 20)
    source = tmp_path / "film.mp4"
    source.write_bytes(octets)
    async with (
        running_gateway(tmp_path) as gateway,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "b") as b,
    ):
        ada = await joined(a, gateway, "public", "Ada Lovelace")
        bob = await joined(b, gateway, "public", "Bob Builder")
        await ping(bob, "Ada Lovelace", "send it")
        await has_text(ada, "send it")
        staged = await staging.stage(ada.context, source)
        asked = operations.Send("public-ada", ("Bob Builder",), "", "the film", files=(staged.file,), delay_s=0)
        await Composing(ada.context).send(asked)
        got = await has_text(bob, "the film")
        assert [(one.name, one.size, one.have) for one in got.attachments] == [("film.mp4", len(octets), len(octets))]
        assert got.suite == 2
        assert got.doubts == ()
        stored = await bob.context.database.read(
            lambda c: c.scalar(select(attachment.c.file).where(attachment.c.message == got.id))
        )
        assert b"".join(bob.context.files.read(stored or "")) == octets


async def test_a_persons_devices_have_the_same(tmp_path: Path) -> None:
    """What one device sends the others have, what comes all have; what is seen on one is seen on the other (B3)."""
    async with (
        running_gateway(tmp_path) as gateway,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "a2") as a2,
        running_home(tmp_path / "b") as b,
    ):
        ada = await joined(a, gateway, "public", "Ada Lovelace")
        phone = await linked(ada, a2)
        bob = await joined(b, gateway, "public", "Bob Builder")
        await ping(bob, "Ada Lovelace", "hello")
        for account in (ada, phone):
            await has_text(account, "hello")
        for account in (ada, phone, bob):
            await look_at_keys(account.context)
        await send(phone, "Bob Builder", text="from the phone")
        for account in (bob, ada):
            got = await has_text(account, "from the phone")
            assert got.suite == 2
            assert got.doubts == ()
        assert got.outgoing
        await send(bob, text="an answer", reply=(await has_text(bob, "from the phone")).id)
        for account in (ada, phone):
            answer = await has_text(account, "an answer")
            assert answer.thread == got.thread
        await ada.context.database.write(lambda c: state.mark_seen(c, ada.context.at(), [answer.id], True))
        ada.context.to_sync.set()
        await look_until(phone, lambda c: messages.view(c, answer.id).seen)  # type: ignore[union-attr]
