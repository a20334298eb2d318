# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes wrong with devices, keys and locks, as a page of the local API hears of it (B1, B4, B8, B9)."""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.app import Gateway
from tests.integration.test_local_api_operations import ADA, BOB, WORK, World, problem
from tests.integration.test_local_api_operations import gateway as gateway  # noqa: PLC0414 - a fixture
from tests.integration.test_local_api_operations import world as world  # noqa: PLC0414 - a fixture
from tests.support import homes
from tests.support.client_engine import Person, acquainted, device, until
from tests.support.terminal import Terminal
from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.engine.home import Home


# -- a device that is to be added ------------------------------------------------------------------------------------
async def _answered(ada: Person, tablet: Person, offer: str) -> m.Link:
    answer = await tablet("devices.answer_link", o.AnswerLink("mine", offer, "tablet"))
    assert isinstance(answer, m.Link)
    return answer


async def _coming(tablet: Person) -> m.Coming | None:
    found = (await tablet("home.state")).coming
    return found[0] if found else None


async def test_a_link_that_turns_out_to_be_another_one_is_said(world: World) -> None:
    """The first text was changed on its way: the device that offered is not the one that signed."""
    ada, tablet = world.ada, await world.device("tablet")
    offer = (await ada("devices.start_link", o.StartLink("work"))).text
    answer = await _answered(ada, tablet, homes.of_another(offer))
    waits = await _coming(tablet)
    assert waits is not None
    assert (waits.account, waits.fingerprint, waits.trouble) == ("mine", answer.fingerprint, "")
    told = asyncio.create_task(_event_with_trouble(tablet))
    await ada("devices.finish_link", o.FinishLink("work", answer.text, answer.fingerprint))
    assert "another device" in await told
    assert await tablet("accounts.list") == []
    assert "another device" in (await tablet("home.state")).coming[0].trouble

    # What was added is suspended, and the same tablet is linked, under the same name.
    listed = await ada("devices.list", WORK)
    [added] = [one for one in listed.devices if not one.this]
    await ada("devices.act", o.OnDevice("work", "suspend", added.key))
    again = await _answered(ada, tablet, (await ada("devices.start_link", o.StartLink("work"))).text)
    await ada("devices.finish_link", o.FinishLink("work", again.text, again.fingerprint))
    await until(lambda: tablet("accounts.list"))
    await tablet.online("mine")
    assert (await tablet("home.state")).coming == ()


async def test_a_link_to_a_service_that_nobody_vouches_for_is_given_up_at_once(world: World) -> None:
    """It was polled for an hour, and nothing was said."""
    tablet = await world.device("tablet")
    offer = (await world.ada("devices.start_link", o.StartLink("work"))).text
    told = asyncio.create_task(_event_with_trouble(tablet))
    await _answered(world.ada, tablet, homes.without_its_pin(offer))
    assert "cannot be trusted" in await told


async def _event_with_trouble(tablet: Person) -> str:
    async with asyncio.timeout(30):
        async for event in tablet.client.events():
            if isinstance(event.data, m.HomeEvent) and event.data.home.coming and event.data.home.coming[0].trouble:
                return event.data.home.coming[0].trouble
    raise AssertionError


async def test_a_link_that_nobody_finishes_is_given_up_in_words(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINK_PATIENCE_S", 0.5)
    tablet = await world.device("tablet")
    await _answered(world.ada, tablet, (await world.ada("devices.start_link", o.StartLink("work"))).text)

    async def given_up() -> bool:
        coming = await _coming(tablet)
        return coming is not None and "in time" in coming.trouble

    await until(given_up)


async def test_a_device_that_locks_while_it_waits_is_added_all_the_same(world: World) -> None:
    ada, tablet = world.ada, await world.device("tablet")
    await tablet("home.passphrase", o.SetPassphrase("correct horse battery"))
    answer = await _answered(ada, tablet, (await ada("devices.start_link", o.StartLink("work"))).text)
    assert (await tablet("home.lock")).coming == ()
    await ada("devices.finish_link", o.FinishLink("work", answer.text, answer.fingerprint))
    await asyncio.sleep(2 * limits.LINK_POLL_S)
    await tablet("home.unlock", o.Unlock("correct horse battery"))

    async def runs() -> bool:
        return [one.name for one in await tablet("accounts.list")] == ["mine"] and await _coming(tablet) is None

    await until(runs)


# -- keys ------------------------------------------------------------------------------------------------------------
async def wished(world: World, tablet: Person, monkeypatch: pytest.MonkeyPatch) -> m.KeyWish:
    """Bob's tablet asks Ada for what she wrote when she did not know of it yet."""
    ada, bob = world.ada, world.bob
    await world.talk("Before")
    # Ada's device hears nothing of Bob's log for now, as if the service were slow.
    context = ada.engine.home.account("work").context
    assert context.trust is not None
    with monkeypatch.context() as slow:
        slow.setattr(type(context.trust), "heard", lambda self, *args: None)
        slow.setattr(type(context.trust), "look_at", _nothing)
        answer = await _answered(bob, tablet, (await bob("devices.start_link", o.StartLink("work"))).text)
        await bob("devices.finish_link", o.FinishLink("work", answer.text, answer.fingerprint))
        await until(lambda: tablet("accounts.list"))
        await tablet.online("mine")
        await world.talk("Only for the laptop")

    async def sealed() -> m.Message | None:
        found = [one for one in await tablet("messages.latest", o.Latest("mine")) if one.state == "sealed"]
        return found[0] if found else None

    waits = await until(sealed)
    assert (waits.text, waits.author) == ("", world.ada_uid)
    assert (await tablet("messages.ask_key", o.OfMessage("mine", waits.id))).done

    async def wish() -> m.KeyWish | None:
        found = await ada("keys.wishes", WORK)
        return found[0] if found else None

    asked = await until(wish)
    assert isinstance(asked, m.KeyWish)
    return asked


async def test_a_device_that_came_later_asks_for_a_key_and_gets_it_when_the_sender_agrees(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, tablet = world.ada, await world.device("tablet")
    asked = await wished(world, tablet, monkeypatch)
    assert (asked.uid, asked.alias) == (world.bob_uid, BOB)
    assert "asks to read" in asked.text
    wrong = o.GrantKey("work", asked.message, asked.uid, "A" * 43, agreed=True)
    assert (await problem(ada("keys.grant", wrong))).code == "not_found"
    grant = o.GrantKey("work", asked.message, asked.uid, asked.device, agreed=True)
    assert (await problem(ada("keys.grant", grant))).code == "unseen_keys"  # Bob has a device that Ada has not seen
    devices = await ada("devices.of", o.OfPerson("work", world.bob_uid))
    shown = await ada("people.show", o.OfPerson("work", world.bob_uid))
    assert (shown.keys, shown.keys_changed, shown.keys_head) == ("unseen", devices.unseen, devices.head)
    [listed] = [one for one in await ada("people.list", WORK) if one.uid == world.bob_uid]
    assert listed == shown
    await ada("keys.seen", o.SeenKeys("work", world.bob_uid, devices.head))
    assert (await ada("keys.grant", grant)).done
    opened = await tablet.message("mine", "Only for the laptop")
    assert (opened.state, opened.alias) == ("received", ADA)
    assert await ada("keys.wishes", WORK) == []


async def test_on_the_command_line_a_wish_is_shown_and_granted(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        world = World(gateway, tmp_path, stack)
        world.bob = await world.device("bob")
        tablet = await world.device("tablet")
        async with device(tmp_path / "ada") as world.ada:
            await world.ada.join(gateway, "public", "work", ADA)
            await world.bob.join(gateway, "public", "work", BOB)
            world.ada_uid, world.bob_uid = await acquainted(world.ada, world.bob, "work", (ADA, BOB))
            asked = await wished(world, tablet, monkeypatch)
        ada = Terminal(tmp_path / "ada")
        shown = await ada.does("wishes")
        assert asked.message[-8:] in shown.out
        assert "asks to read" in shown.out
        assert [one["device"] for one in (await ada.does("wishes", "--json")).json] == [asked.device]
        assert (await ada.run("wishes", "grant", "ffffffff")).code == 1
        unseen = await ada.run("wishes", "grant", asked.message[-8:])
        assert (unseen.code, f"tmtp keys '{BOB}'" in unseen.err) == (3, True)
        await ada.does("keys", BOB, "--seen")
        granted = await ada.does("wishes", "grant", f"#{asked.message[-8:]}", "--device", asked.device[-6:], "--json")
        assert [one["granted"] for one in granted.json] == [True]
        assert (await tablet.message("mine", "Only for the laptop")).state == "received"
        assert (await ada.does("wishes")).out == "Nobody asks.\n"


async def test_who_is_refused_cannot_read_it(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, tablet = world.ada, await world.device("tablet")
    asked = await wished(world, tablet, monkeypatch)
    refusal = o.GrantKey("work", asked.message, asked.uid, asked.device, agreed=False)
    assert not (await ada("keys.grant", refusal)).done
    assert await ada("keys.wishes", WORK) == []
    [sealed] = [one for one in await tablet("messages.latest", o.Latest("mine")) if one.id == asked.message]
    assert sealed.state == "sealed"


async def _nothing(*args: object, **more: object) -> None:
    """Nobody answers."""


# -- locks -----------------------------------------------------------------------------------------------------------
async def test_a_laptop_that_slept_is_locked_when_it_wakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B8: while it sleeps only the wall clock goes on. What a page asks first after that does not keep it open."""
    monkeypatch.setattr(limits, "IDLE_LOOK_S", 0.1)
    ahead_ms = 0
    home = Home(homes.vault(tmp_path), lambda: homes.now_ms() + ahead_ms, os.urandom)
    await home.open()
    try:
        await asyncio.to_thread(home.vault.set_passphrase, "correct horse battery")
        await home.set_idle_lock(600)
        home.stir()
        await asyncio.sleep(0.3)
        assert not home.locked
        ahead_ms = 601_000
        assert home.locked
        home.stir()
        assert home.locked
        assert (await home.state()).locked
        async with asyncio.timeout(60):
            while not home.vault.locked:
                await asyncio.sleep(0.01)
        await home.unlock("correct horse battery")
        await asyncio.sleep(0.3)
        assert not home.locked
        ahead_ms = -3_600_000  # put back: nobody is kept out, and the other clock still counts
        assert not home.locked
    finally:
        await home.close()


# -- events ----------------------------------------------------------------------------------------------------------
async def test_events_go_on_after_a_lock_and_after_a_restart_none_lost_and_none_twice(
    gateway: Gateway, tmp_path: Path
) -> None:
    """B3, B8: as far as a page that keeps the last number of each account."""
    heard: list[str] = []
    numbers = {"work": 0}
    async with device(tmp_path / "ada") as ada:
        async with device(tmp_path / "bob") as bob:
            await ada.join(gateway, "public", "work", ADA)
            await bob.join(gateway, "public", "work", BOB)
            await acquainted(ada, bob, "work", (ADA, BOB))
            await bob("home.passphrase", o.SetPassphrase("correct horse battery"))
            await _say(ada, "first")
            await _listen(bob, numbers, heard, "first")
            listening = asyncio.create_task(_listen(bob, numbers, heard, "second"))
            await bob("home.lock")
            await _say(ada, "second")
            await ada.sent("work")
            assert heard == ["first"]
            await bob("home.unlock", o.Unlock("correct horse battery"))
            await listening
            await _say(ada, "third")
            await bob.message("work", "third")
        await _say(ada, "fourth")
        async with device(tmp_path / "bob") as bob:
            assert (await bob("home.state")).locked
            listening = asyncio.create_task(_listen(bob, numbers, heard, "fourth"))
            await asyncio.sleep(0.2)
            await bob("home.unlock", o.Unlock("correct horse battery"))
            await listening
    assert heard == ["first", "second", "third", "fourth"]


async def _say(person: Person, text: str) -> None:
    await person("messages.send", o.Send("work", (BOB,), text=text, delay_s=0))


async def _listen(person: Person, numbers: dict[str, int], heard: list[str], last: str) -> None:
    async with asyncio.timeout(30):
        async for event in person.client.events(numbers):
            numbers["work"] = max(numbers["work"], event.number)
            if isinstance(event.data, m.MessageEvent) and event.data.new and event.data.message.kind == "message":
                heard.append(event.data.message.text)
                if heard[-1] == last:
                    return
