# SPDX-License-Identifier: AGPL-3.0-or-later
"""A further device knows whom its account knows, whom it blocks, and which groups it is in (B3): over a real service."""

from pathlib import Path

from tests.integration.test_sending import met
from tests.support.gateway import running_gateway
from tests.support.homes import has_text, joined, linked, look_until, running_home, send
from tmtp_client.api import models
from tmtp_client.api.rooms import changed
from tmtp_client.engine import acquaintance, meeting
from tmtp_client.engine import groups as group_acts
from tmtp_client.engine.composing import Composing
from tmtp_client.store import groups, people
from tmtp_client.sync import handing_on


async def test_a_further_device_writes_to_whom_its_account_knows(tmp_path: Path) -> None:
    gid = "The Chess Club"
    async with (
        running_gateway(tmp_path) as gateway,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "a2") as a2,
        running_home(tmp_path / "b") as b,
    ):
        ada = await joined(a, gateway, "public", "Ada Lovelace")
        bob = await joined(b, gateway, "public", "Bob Builder")
        eve = await joined(b, gateway, "public", "Eve Example")
        await met(ada, bob, "Bob Builder")
        await met(ada, eve, "Eve Example")
        await Composing(ada.context).invite(gid, "Bob Builder", "Do you play?")
        await look_until(bob, lambda c: groups.view(c, gid))
        await group_acts.act(bob.context, gid, "join")
        await look_until(ada, lambda c: len(groups.joined(c, gid)) == 2)
        await acquaintance.answer(ada.context, eve.context.uid, "block")
        await acquaintance.introductions(ada.context, False)

        phone = await linked(ada, a2)
        await changed(ada.context, handing_on.tell_everything)
        blocked = await look_until(phone, lambda c: _of(people.view(c, eve.context.uid)))
        assert blocked.blocked
        known = await look_until(phone, lambda c: _of(people.view(c, bob.context.uid)))
        assert (known.stands, known.alias) == ("contact", "Bob Builder")
        assert not await phone.context.database.read(meeting.introductions)
        await send(phone, "Bob Builder", text="From my telephone")
        assert (await has_text(bob, "From my telephone")).suite == 2
        await send(phone, gid, text="Who plays tonight?")
        assert (await has_text(bob, "Who plays tonight?")).suite == 2


def _of(person: models.Person | None) -> models.Person | None:
    return person
