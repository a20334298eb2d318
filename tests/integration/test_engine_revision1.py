# SPDX-License-Identifier: AGPL-3.0-or-later
"""An account of revision 1 at a service that knows no other (Prove 6): all that this revision has works, unsealed."""

from pathlib import Path

from tests.support.gateway import endpoint, running_gateway
from tests.support.homes import (
    has_text,
    joined_at_service,
    look_until,
    ping,
    running_home,
    send,
    texts,
)
from tests.support.revision1 import only_revision_1
from tmtp_client.engine import groups as group_acts
from tmtp_client.engine.composing import Composing
from tmtp_client.store import groups, people


async def test_two_people_meet_write_and_found_a_group(tmp_path: Path) -> None:
    gid = "The Chess Club"
    async with (
        running_gateway(tmp_path) as gateway,
        only_revision_1(endpoint(gateway, "public"), tmp_path / "front") as old,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "b") as b,
    ):
        ada = await joined_at_service(a, "old", old, "Ada Lovelace")
        bob = await joined_at_service(b, "old", old, "Bob Builder")
        assert (ada.context.revision, ada.context.trust) == (1, None)
        await ping(ada, "Bob Builder", "hello")
        first = await has_text(bob, "hello")
        assert (first.kind, first.alias, first.verified) == ("ping", "Ada Lovelace", True)
        await ping(bob, "Ada Lovelace", "hello to you")
        await has_text(ada, "hello to you")
        await send(ada, "Bob Builder", text="a message", subject="Plans")
        got = await has_text(bob, "a message")
        assert (got.alias, got.verified, got.suite, got.subject) == ("Ada Lovelace", True, 0, "Plans")
        await send(bob, text="an answer", reply=got.id)
        assert (await has_text(ada, "an answer")).thread == got.thread
        await Composing(ada.context).invite(gid, "Bob Builder", "Do you play?")
        await has_text(bob, "Do you play?")
        await group_acts.act(bob.context, gid, "join")
        await look_until(ada, lambda c: bob.context.uid in groups.joined(c, gid))
        await send(ada, gid, text="to the club", subject="Evening")
        await has_text(bob, "to the club")
        assert (await ada.view()).revision == 1
        known = await bob.context.database.read(lambda c: people.view(c, ada.context.uid))
        assert known is not None
        assert known.stands == "contact"


async def test_an_account_that_is_stopped_and_started_has_all_that_came_meanwhile(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        only_revision_1(endpoint(gateway, "public"), tmp_path / "front") as old,
        running_home(tmp_path / "b") as b,
    ):
        async with running_home(tmp_path / "a") as a:
            ada = await joined_at_service(a, "old", old, "Ada Lovelace")
            bob = await joined_at_service(b, "old", old, "Bob Builder")
            await ping(ada, "Bob Builder", "hello")
            await has_text(bob, "hello")
        for number in range(40):
            await send(bob, ada.context.uid, text=f"message {number}")
        await has_text(bob, "message 39")
        async with running_home(tmp_path / "a") as a:
            ada = a.account("old")
            await has_text(ada, "message 39")
            assert await texts(ada) == ["hello", *(f"message {number}" for number in range(40))]
