# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a page shows of many messages, and what another device shows to this one, by the local API (B6, B9, D2)."""

import dataclasses
import os
from pathlib import Path

import pytest

from gateway.app import Gateway
from tests.integration.test_local_api_operations import ADA, World, problem
from tests.integration.test_local_api_operations import gateway as gateway  # noqa: PLC0414 - a fixture
from tests.integration.test_local_api_operations import world as world  # noqa: PLC0414 - a fixture
from tests.support.client_engine import device
from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.safety_number import decode_code, encode_code


async def test_a_page_of_a_conversation_is_rendered_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bob = world.ada, world.bob
    await world.talk("**one**")
    await world.talk("<b>two</b> https://example.org/")
    shown = [one for one in await bob("messages.latest", o.Latest("work")) if not one.plain]
    ids = (*(one.id for one in shown), "not here")
    assert len(ids) == 3
    got = await bob("messages.render", o.RenderMessages("work", ids))
    for one in shown:
        assert got.html[one.id] == (await bob("render", o.Render(one.text))).html
    assert (len(got.html), got.left) == (len(ids) - 1, ())
    assert (await problem(bob("messages.render", o.RenderMessages("work", ("x",) * 201)))).field == "messages"
    assert await bob("messages.render", o.RenderMessages("work", ())) == m.Renderings({}, ())
    assert await ada("messages.render", o.RenderMessages("work", ("x", "x"))) == m.Renderings({}, ())

    for limit, value in (("RENDER_MANY_TEXT_CHARACTERS", 1), ("RENDER_MANY_BYTES", 1), ("RENDER_MANY_S", -1.0)):
        monkeypatch.setattr(limits, limit, value)
        asked, turns = ids, 0
        html: dict[str, str] = {}
        while asked:
            some = await bob("messages.render", o.RenderMessages("work", asked))
            assert len(some.html) <= 1
            html, asked, turns = html | some.html, some.left, turns + 1
        assert (html, turns >= 2) == (got.html, True), limit
        monkeypatch.undo()


async def test_a_first_contact_is_rendered_as_it_was_written(gateway: Gateway, tmp_path: Path) -> None:
    """No link, no emphasis, nothing to click in what a stranger says (D2)."""
    async with device(tmp_path / "ada") as ada, device(tmp_path / "eve") as eve:
        await ada.join(gateway, "public", "work", ADA)
        await eve.join(gateway, "public", "work", "Eve Dropper")
        await eve("people.ping", o.SendPing("work", ADA, "**Win** at https://evil.example/ [now](http://evil.example)"))
        ping = await ada.message("work", "**Win**")
        html = (await ada("messages.render", o.RenderMessages("work", (ping.id,)))).html[ping.id]
        assert html == '<p dir="auto">**Win** at https://evil.example/ [now](http://evil.example)</p>'


async def test_what_the_other_device_shows_is_compared(world: World, tmp_path: Path) -> None:
    """The code for the camera says what differs, the digits only that something does (B9)."""
    ada, bob = world.ada, world.bob
    await world.talk("Are you it?")
    theirs = await bob("keys.safety", o.OfPerson("work", world.ada_uid))
    for shown in (theirs.code, theirs.digits, theirs.digits.replace(" ", "-"), f" {theirs.code}\n"):
        compared = await ada("keys.compare", o.CompareKeys("work", world.bob_uid, shown))
        assert (compared.same, compared.wrong) == (True, ()), shown
    seen = await ada("keys.seen", o.SeenKeys("work", world.bob_uid, compared.head, compared=True))
    assert seen.keys == "compared"
    other = theirs.digits.translate(str.maketrans("0123456789", "1234567890"))
    wrong = await ada("keys.compare", o.CompareKeys("work", world.bob_uid, other))
    assert not wrong.same
    assert "other digits" in wrong.wrong[0]
    mine = await ada("keys.safety", o.OfPerson("work", world.bob_uid))
    wrong = await ada("keys.compare", o.CompareKeys("work", world.bob_uid, mine.code))  # of the wrong device
    assert "somebody else" in wrong.wrong[0]
    for nonsense in ("", "12345", "TMTP-SAFETY:1:AAAA", "hello"):
        refused = await problem(ada("keys.compare", o.CompareKeys("work", world.bob_uid, nonsense)))
        assert (refused.code, refused.field) == ("usage", "shown"), nonsense
    assert (await problem(ada("keys.compare", o.CompareKeys("work", "B" * 32, theirs.code)))).code == "not_found"


async def test_a_service_that_shows_another_list_of_devices_is_found_by_comparing(world: World) -> None:
    ada, bob = world.ada, world.bob
    await world.talk("Are you it?")
    theirs = await bob("keys.safety", o.OfPerson("work", world.ada_uid))
    code = decode_code(theirs.code)
    forked = dataclasses.replace(code, other=dataclasses.replace(code.other, head=to_text(os.urandom(32))))
    wrong = await ada("keys.compare", o.CompareKeys("work", world.bob_uid, encode_code(forked)))
    assert wrong.wrong == ("The service shows them another list of your devices than this device has.",)


async def test_a_device_is_called_what_its_person_said_when_it_joined(world: World) -> None:
    [mine] = (await world.ada("devices.list", o.OfAccount("work"))).devices
    assert mine.label == "laptop"
