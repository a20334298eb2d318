# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accounts of the client's engine against real services (B1, B3, A3, A6)."""

from pathlib import Path

from tests.support.gateway import running_gateway
from tests.support.homes import has_text, joined, look_until, ping, running_home, send, texts
from tmtp_client.engine import acquaintance
from tmtp_client.store import people


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
