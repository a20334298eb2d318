# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every operation of the local API against real engines, a real gateway and two services (B1 to B9)."""

import asyncio
import json
import mailbox
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gateway.app import Gateway
from tests.support.api_world import ADA, BOB, WORK, World, acquainted_world, problem, send_now
from tests.support.client_engine import Person, acquainted, device, until
from tests.support.gateway import endpoint, running_gateway
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.entrance import Entrance
from tmtp_client.api.problems import ProblemError
from tmtp_client.api.server import Server
from tmtp_core.store.reports import ReportsWanted

CHRIS = "Chris Strachey"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    (tmp_path / "gateway").mkdir()
    async with running_gateway(tmp_path / "gateway") as made:
        yield made


@pytest.fixture
async def world(gateway: Gateway, tmp_path: Path) -> AsyncIterator[World]:
    async with acquainted_world(gateway, tmp_path) as made:
        yield made


async def threads(person: Person, **more: Any) -> list[m.Thread]:
    page = await person("threads.list", o.ListThreads(**{"account": "work", **more}))
    return list(page.threads)


# -- the home --------------------------------------------------------------------------------------------------------
async def test_home(tmp_path: Path) -> None:
    async with device(tmp_path) as one:
        state = await one("home.state")
        assert (state.locked, state.protected, state.accounts) == (False, False, ())
        assert (await one("home.lock")).locked
        assert (await problem(one("accounts.list"))).code == "locked"
        assert (await problem(one("home.unlock", o.Unlock("nothing like it")))).code == "refused"


async def test_passphrase_lock_and_unlock(world: World) -> None:
    ada = world.ada
    assert (await problem(ada("home.passphrase", o.SetPassphrase("short")))).field == "new"
    state = await ada("home.passphrase", o.SetPassphrase("correct horse battery"))
    assert state.protected
    assert {slot.kind for slot in state.slots} == {"passphrase", "recovery"}
    assert (await ada("home.lock")).locked
    assert (await problem(ada("messages.latest", o.Latest("work")))).code == "locked"
    opened = await ada("home.unlock", o.Unlock("correct horse battery"))
    assert [account.name for account in opened.accounts] == ["work"]
    await ada.online("work")
    assert (await ada("home.idle_lock", o.SetIdleLock(600))).idle_lock_s == 600
    assert (await problem(ada("home.idle_lock", o.SetIdleLock(-1)))).field == "idle_s"
    assert (await problem(ada("home.keyring"))).code == "refused"  # this machine has none
    assert not any(slot.kind == "keyring" for slot in (await ada("home.forget_keyring")).slots)


async def test_the_idle_lock_closes_the_home_and_watchers_hear_of_it(world: World) -> None:
    ada = world.ada
    await ada("home.passphrase", o.SetPassphrase("correct horse battery"))
    events = ada.client.events()
    listening = asyncio.create_task(_until(events, lambda event: event.type == "home" and event.data.home.locked))
    await ada("home.idle_lock", o.SetIdleLock(1))
    await listening
    assert (await ada("home.state")).locked


async def _until(events: AsyncIterator[m.Event], wanted: Any) -> m.Event:
    async with asyncio.timeout(120):
        async for event in events:
            if wanted(event):
                return event
    raise AssertionError


async def test_what_is_asked_while_the_home_locks_is_answered_in_words(world: World) -> None:
    ada = world.ada
    calls = [ada.client.call("threads.list", o.ListThreads()) for _ in range(30)]
    calls += [ada.client.call("drafts.save", o.SaveDraft("work", m.Draft(f"new-{n}", text="x"))) for n in range(30)]
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    await ada("home.lock")
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    problems = [one.problem.code for one in ended if isinstance(one, ProblemError)]
    assert all(not isinstance(one, Exception) or isinstance(one, ProblemError) for one in ended)
    assert set(problems) <= {"locked", "not_now", "not_found"}


async def test_a_listener_that_comes_and_goes_hears_of_every_message_once(world: World) -> None:
    """With the engine's own events: B3 as far as windows go."""
    ada, bob = world.ada, world.bob
    heard: list[str] = []
    numbers: dict[str, int] = {"work": 0}
    for lot in range(3):
        for n in range(5):
            await ada("messages.send", o.Send("work", (BOB,), text=f"Lot {lot}, number {n}", delay_s=0))
        await bob.message("work", f"Lot {lot}, number 4")
        async with asyncio.timeout(120):
            async for event in bob.client.events(numbers):
                numbers["work"] = max(event.number, numbers["work"])
                if isinstance(event.data, m.MessageEvent) and event.data.new and event.data.message.kind == "message":
                    heard.append(event.data.message.text)
                    if len(heard) == 5 * (lot + 1):
                        break
    # One that changed before it was told of is told in the place of its change.
    assert sorted(heard) == [f"Lot {lot}, number {n}" for lot in range(3) for n in range(5)]


# -- accounts --------------------------------------------------------------------------------------------------------
async def test_a_person_has_accounts_on_two_services_and_leaves_one(world: World) -> None:
    ada, where = world.ada, endpoint(world.gateway, "members")
    joined = await ada.join(world.gateway, "members", "club", "Countess Lovelace")
    assert len(joined.recovery.split()) == 24
    assert joined.recovery_qr.startswith("<svg")
    assert [one.name for one in await ada("accounts.list")] == ["club", "work"]
    assert (await ada("accounts.alias", o.SetAlias("club", "Augusta Ada King"))).alias == "Augusta Ada King"
    skin = await ada("accounts.skin", o.OfAccount("club"))
    assert skin.revised == {}
    revised = await ada("accounts.revise_skin", o.ReviseSkin("club", {"font": "serif"}))
    assert revised.revised == {"font": "serif"}
    again = o.Join("club", f"{where.host}:{where.port}", "Some Body Else", pin=where.pin or "")
    assert (await problem(ada("accounts.join", again))).field == "account"
    assert (await problem(ada("accounts.sign_in", WORK))).code == "refused"  # the service asks no provider
    await world.talk("Here, not there")
    assert {one.account for one in await threads(ada, account="")} == {"work"}
    assert (await ada("accounts.leave", o.OfAccount("club"))).done
    assert [one.name for one in await ada("accounts.list")] == ["work"]
    assert not (world.folder / "ada" / "accounts" / "club").exists()
    assert (await problem(ada("people.list", o.OfAccount("club")))).field == "account"


async def test_an_account_whose_history_is_damaged_can_still_be_left(gateway: Gateway, tmp_path: Path) -> None:
    async with device(tmp_path / "ada") as ada:
        await ada.join(gateway, "public", "work", ADA)
    (tmp_path / "ada" / "accounts" / "work" / "history.db").write_bytes(os.urandom(8192))
    async with device(tmp_path / "ada") as ada:
        assert await ada("accounts.list") == []
        assert (await problem(ada("people.list", WORK))).code == "not_found"
        assert (await ada("accounts.leave", WORK)).done
        assert not (tmp_path / "ada" / "accounts" / "work").exists()
        assert (await problem(ada("accounts.leave", WORK))).field == "account"


async def test_a_join_that_is_refused_leaves_nothing(world: World) -> None:
    where = endpoint(world.gateway, "members")
    join = o.Join("club", f"{where.host}:{where.port}", "Countess Lovelace", pin=where.pin or "")
    assert "invitation" in (await problem(world.ada("accounts.join", join))).text
    assert [one.name for one in await world.ada("accounts.list")] == ["work"]
    assert not (world.folder / "ada" / "accounts" / "club").exists()
    assert (
        await problem(world.ada("accounts.join", o.Join("../x", join.address, "Countess Lovelace")))
    ).field == "account"
    assert (
        await problem(world.ada("accounts.join", o.Join("club", "http://x", "Countess Lovelace")))
    ).field == "address"
    assert (await problem(world.ada("accounts.join", o.Join("club", join.address, "x")))).field == "alias"


async def test_a_sheet_that_nobody_wrote_down_is_shown_again(gateway: Gateway, tmp_path: Path) -> None:
    where = endpoint(gateway, "public")
    join = o.Join("work", f"{where.host}:{where.port}", ADA, pin=where.pin or "")
    async with device(tmp_path / "ada") as ada:
        first = await ada("accounts.join", join)
    async with device(tmp_path / "ada") as ada:
        again = await ada("accounts.join", join)
        assert again.recovery == first.recovery != ""
        assert (await ada("devices.check_recovery", o.CheckRecovery("work", first.recovery))).done
        await ada("accounts.told", WORK)
        assert (await problem(ada("accounts.join", join))).field == "account"


async def test_coming_back_by_the_recovery_sheet(gateway: Gateway, tmp_path: Path) -> None:
    where = endpoint(gateway, "public")
    async with device(tmp_path / "lost") as lost:
        joined = await lost.join(gateway, "public", "work", ADA)
    async with device(tmp_path / "new") as ada:
        back = o.Recover(
            "mine",
            f"{where.host}:{where.port}",
            joined.account.uid,
            ADA,
            joined.recovery,
            pin=where.pin or "",
            revoke_others=True,
        )
        came = await ada("accounts.recover", back)
        assert (came.account.uid, came.account.alias, came.error) == (joined.account.uid, ADA, "")
        devices = (await ada("devices.list", o.OfAccount("mine"))).devices
        assert sorted(one.stands for one in devices) == ["full", "revoked"]
        wrong = o.Recover("other", back.address, back.uid, ADA, "some words", pin=back.pin)
        assert (await problem(ada("accounts.recover", wrong))).field == "words"
        assert (await ada("home.unlock", o.Unlock(joined.recovery))).accounts


# -- people and groups -----------------------------------------------------------------------------------------------
async def test_people(world: World) -> None:
    ada, bob = world.ada, world.bob
    shown = await bob("people.show", o.OfPerson("work", world.ada_uid))
    assert (shown.alias, shown.stands) == (ADA, "contact")
    assert [one.alias for one in await ada("people.find", o.Find("work", "bab"))] == [BOB]
    chris = await world.device("chris")
    await chris.join(world.gateway, "public", "work", CHRIS)
    await chris("people.ping", o.SendPing("work", ADA, "Buy my watches"))
    await ada.message("work", "Buy my watches")
    [stranger] = [one for one in await ada("people.list", WORK) if one.alias == CHRIS]
    assert stranger.stands == "asks"
    assert (await ada("people.answer", o.AnswerPing("work", stranger.uid, "ignore"))).stands == "ignored"
    assert (await ada("people.answer", o.AnswerPing("work", stranger.uid, "block"))).blocked
    assert not (await ada("people.answer", o.AnswerPing("work", stranger.uid, "unblock"))).blocked
    [account] = [one for one in (await ada("accounts.list", o.Nothing())) if one.name == "work"]
    assert account.reports
    reported = await ada("people.report", o.ReportPerson("work", stranger.uid, "impersonation", " not Chris "))
    assert (reported.stands, reported.blocked) == ("ignored", False)
    service = world.gateway.instances["public"].service
    assert [one.words for one in await service.list_reports(ReportsWanted())] == ["not Chris"]
    for uid, words, code in (
        (stranger.uid, "x" * 501, "usage"),
        (stranger.uid, "\ud800", "usage"),
        (world.ada_uid, "", "usage"),
        ("nobody", "", "not_found"),
    ):
        assert (await problem(ada("people.report", o.ReportPerson("work", uid, "spam", words)))).code == code
    assert not (await ada("people.introductions", o.SetIntroductions("work", wanted=False))).introductions
    assert (await ada("people.introductions", o.SetIntroductions("work", wanted=True))).introductions
    assert (await problem(ada("people.show", o.OfPerson("work", "nobody")))).code == "not_found"
    assert (await problem(ada("people.ping", o.SendPing("work", BOB, "x" * 141)))).field == "text"


async def test_numbers_and_names_beyond_all_bounds_are_answered_in_words(world: World) -> None:
    ada, far = world.ada, 2**63
    mine, _ = await world.talk()
    asked = [
        ada("messages.send", o.Send("work", (BOB,), text="x", due_ms=far)),
        ada("messages.fill", o.FillForm("work", mine.id, far, {})),
        ada("forms.answers", o.OfForm("work", "dinner", mine.id, far)),
        ada("files.save", o.SaveFile("work", mine.id, far, "/")),
        ada("files.stage", o.Stage("work", "/tmp/\0")),
        ada("files.save", o.SaveFile("work", mine.id, 0, "/tmp/\0")),
        ada("history.export", o.Export("work", "/tmp/\0", "mbox")),
        ada("codes.read", o.ReadCode("/tmp/\0", "link")),
        ada("groups.act", o.ActOnGroup("work", "Analytical Engine", "join", "x" * 300_000)),
        ada("groups.act", o.ActOnGroup("work", "Analytical Engine", "drop", "x" * 300_000)),
    ]
    for one in asked:
        assert (await problem(one)).code in {"usage", "not_found"}
    assert await ada("people.find", o.Find("work", "x" * 300_000)) == []


async def test_groups(world: World) -> None:
    ada, bob = world.ada, world.bob
    await ada("groups.invite", o.InviteToGroup("work", "Analytical Engine", BOB, "Join us"))

    async def invited() -> bool:
        return any(one.stands == "invited" for one in await bob("groups.list", WORK))

    await until(invited)
    await bob("groups.act", o.ActOnGroup("work", "Analytical Engine", "join"))

    async def both() -> bool:
        group = await ada("groups.show", o.OfGroup("work", "Analytical Engine"))
        return {one.alias for one in group.members if one.stands == "joined"} == {ADA, BOB}

    await until(both)

    async def joined() -> bool:
        return (await bob("groups.show", o.OfGroup("work", "Analytical Engine"))).stands == "joined"

    await until(joined)
    await ada("messages.send", o.Send("work", ("Analytical Engine",), "To all", "Hello everybody", delay_s=0))
    there = await bob.message("work", "Hello everybody")
    [thread] = [one for one in await threads(bob) if one.id == there.thread]
    assert thread.gid == "Analytical Engine"
    await bob("groups.act", o.ActOnGroup("work", "Analytical Engine", "leave"))

    async def left() -> bool:
        return (await bob("groups.show", o.OfGroup("work", "Analytical Engine"))).stands == "left"

    await until(left)
    assert (await problem(bob("groups.show", o.OfGroup("work", "Nobody's Group")))).code == "not_found"


# -- conversations ---------------------------------------------------------------------------------------------------
async def test_writing_replying_marking_and_finding(world: World) -> None:
    ada, bob = world.ada, world.bob
    mine, there = await world.talk("The engine weaves algebraical patterns")
    assert (there.suite, there.doubts, there.alias) == (2, (), ADA)
    await bob("messages.send", o.Send("work", text="Just as the loom", reply=there.id, delay_s=0))
    reply = await ada.message("work", "Just as the loom")
    assert reply.thread == mine.thread
    page = await ada("threads.read", o.ReadThread("work", mine.thread))
    assert [one.text for one in page.messages] == ["The engine weaves algebraical patterns", "Just as the loom"]
    assert (await ada("messages.show", o.OfMessage("work", reply.id[-6:]))).id == reply.id
    [thread] = [one for one in await threads(ada) if one.id == mine.thread]
    assert thread.unseen == 1
    await ada("messages.seen", o.MarkSeen("work", thread=mine.thread))
    assert (await ada("messages.show", o.OfMessage("work", reply.id))).seen
    await ada("messages.seen", o.MarkSeen("work", messages=(reply.id,), seen=False))
    assert not (await ada("messages.show", o.OfMessage("work", reply.id))).seen
    marked = await ada("threads.mark", o.MarkThread("work", mine.thread, muted=True, tag="engines"))
    assert (marked.muted, marked.tags) == (True, ("engines",))
    assert await ada("tags.list", WORK) == [m.Tag("engines", 1)]
    assert [one.id for one in await threads(ada, of="tag", tag="engines")] == [mine.thread]
    assert (await ada("threads.mark", o.MarkThread("work", mine.thread, archived=True))).archived
    assert mine.thread not in [one.id for one in await threads(ada)]
    assert (await problem(ada("threads.mark", o.MarkThread("work", "none", muted=True)))).code == "not_found"
    results = await ada("search", o.Search('"algebraical patterns" weav* from:Ada', "work"))
    assert [one.message.id for one in results.found] == [mine.id]
    assert "\ue000" in results.found[0].snippet
    assert [one.account for one in (await ada("search", o.Search("loom"))).found] == ["work"]
    assert (await problem(ada("search", o.Search("x", limit=0)))).field == "limit"


async def test_undoing_scheduling_dropping(world: World) -> None:
    ada = world.ada
    waiting = await ada("messages.send", o.Send("work", (BOB,), text="Too hasty"))
    assert waiting.state == "undo"
    assert [one.request for one in await ada("outbox.list", WORK)] == [waiting.request]
    await ada("outbox.act", o.OfWaiting("work", waiting.request, "undo"))
    assert await ada("outbox.list", WORK) == []
    assert (await problem(ada("outbox.act", o.OfWaiting("work", waiting.request, "undo")))).code == "not_found"
    later = await ada(
        "messages.send", o.Send("work", (BOB,), text="Tomorrow", due_ms=time.time_ns() // 1_000_000 + 86_400_000)
    )
    assert later.state == "scheduled"
    await ada("outbox.act", o.OfWaiting("work", later.request, "now"))
    assert (await world.bob.message("work", "Tomorrow")).alias == ADA
    assert (await problem(ada("messages.send", o.Send("work", ("Nobody Known",), text="x")))).code == "not_found"
    assert (await problem(ada("messages.send", o.Send("work", (BOB,))))).field == "text"


async def test_files_go_with_a_message_and_come_out_of_the_vault(world: World, tmp_path: Path) -> None:
    ada, bob = world.ada, world.bob
    octets = os.urandom(300_000)
    (tmp_path / "engine.bin").write_bytes(octets)
    staged = await ada("files.stage", o.Stage("work", str(tmp_path / "engine.bin")))
    assert (staged.name, staged.size) == ("engine.bin", 300_000)
    spare = await ada("files.stage", o.Stage("work", str(tmp_path / "engine.bin")))
    await ada("files.drop", o.OfStaged("work", spare.file))
    assert (await problem(ada("files.stage", o.Stage("work", "engine.bin")))).field == "path"
    assert (await problem(ada("files.stage", o.Stage("work", str(tmp_path / "none"))))).field == "path"
    _, there = await world.talk("With a file", files=(staged.file,))
    [attached] = there.attachments
    assert (attached.name, attached.size, attached.have) == ("engine.bin", 300_000, 300_000)
    (tmp_path / "kept").mkdir()
    saved = [
        await bob("files.save", o.SaveFile("work", there.id, attached.place, str(tmp_path / "kept"))) for _ in range(2)
    ]
    assert [Path(one.path).name for one in saved] == ["engine.bin", "engine (2).bin"]
    assert all(Path(one.path).read_bytes() == octets for one in saved)
    assert Path(saved[0].path).stat().st_mode & 0o777 == 0o600
    assert (await problem(bob("files.save", o.SaveFile("work", there.id, 7, str(tmp_path))))).code == "not_found"
    assert (await problem(bob("files.save", o.SaveFile("work", there.id, 0, "kept")))).field == "folder"


async def test_a_page_hands_a_file_in_and_another_takes_a_piece_of_it_out(world: World) -> None:
    """The same by the local server, with the engine's own vault behind it."""
    octets = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\1\0\0\0\1" + os.urandom(200_000 - 24)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        urls, keys = [], []
        for person in (world.ada, world.bob):
            engine, entrance = person.engine, Entrance(time.monotonic, os.urandom)
            server = Server(engine.dispatcher, engine.home, engine.files, entrance)
            await stack.enter_async_context(server.listening(server.bound()))
            urls.append(server.url)
            keys.append({"Authorization": f"Bearer {entrance.key}"})
        headers = keys[0] | {"Content-Type": "application/octet-stream"}
        name = "../a%20b%E2%80%AE.png"  # turned round from there on, as a person would see it
        async with http.post(f"{urls[0]}/files/work?name={name}", data=octets, headers=headers) as answer:
            staged = msgspec.json.decode(await answer.read(), type=m.Staged)
        assert (staged.name, staged.size) == ("a b_.png", 200_000)
        _, there = await world.talk("A picture", files=(staged.file,))
        url = f"{urls[1]}/files/work/{there.id}/{there.attachments[0].place}"
        async with http.get(url, headers=keys[1] | {"Range": "bytes=65000-66999"}) as answer:
            assert (answer.status, await answer.read()) == (206, octets[65_000:67_000])
        async with http.get(f"{url}?inline=1", headers=keys[1]) as answer:
            assert answer.content_type == "image/png"
            assert await answer.read() == octets
        async with http.get(f"{url}9", headers=keys[1]) as answer:
            assert answer.status == 404
        await world.bob("home.lock")
        async with http.get(url, headers=keys[1]) as answer:
            assert answer.status == 423


async def test_forwarding_and_asking_in(world: World) -> None:
    ada, bob = world.ada, world.bob
    chris = await world.device("chris")
    await chris.join(world.gateway, "public", "work", CHRIS)
    await acquainted(bob, chris, "work", (BOB, CHRIS))
    await acquainted(ada, chris, "work", (ADA, CHRIS))
    _, there = await world.talk("A secret of ours")
    await bob("messages.forward", o.Forward("work", there.thread, (there.id,), (CHRIS,), "Look at this"))
    await send_now(bob)
    [settled] = await bob("accounts.settle", o.Settle("work"))
    assert settled.waiting == 0
    assert "A secret of ours" in (await chris.message("work", "Look at this")).text
    await bob("threads.add", o.AddReaders("work", there.thread, (CHRIS,), "Chris knows looms"))
    assert (await chris.message("work", "A secret of ours")).author == world.ada_uid
    page = await chris("threads.list", o.ListThreads("work"))
    assert any(CHRIS in {reader.alias for reader in one.readers} for one in page.threads)


async def test_drafts_settings_and_rendering(world: World) -> None:
    ada = world.ada
    draft = await ada("drafts.save", o.SaveDraft("work", m.Draft("new-1", to=(BOB,), text="Dear Bo")))
    assert (draft.text, draft.changed_ms > 0) == ("Dear Bo", True)
    assert [one.key for one in await ada("drafts.list", WORK)] == ["new-1"]
    await ada("drafts.drop", o.OfDraft("work", "new-1"))
    assert await ada("drafts.list", WORK) == []
    await ada("drafts.save", o.SaveDraft("work", m.Draft("new-2", to=(BOB,), text="Dear Bob")))
    await world.talk("Dear Bob", draft="new-2")
    assert await ada("drafts.list", WORK) == []
    assert (await ada("settings.list", WORK)).values["undo_s"] == 10
    assert (await ada("settings.set", o.SetSetting("work", "undo_s", 0))).values["undo_s"] == 0
    assert (await problem(ada("settings.set", o.SetSetting("work", "undo_s", "x")))).code == "usage"
    rendered = await ada("render", o.Render("**bold** <script>alert(1)</script> ![x](http://evil.example/x.png)"))
    assert "<strong>bold</strong>" in rendered.html
    assert "<script" not in rendered.html
    assert "<img" not in rendered.html


async def test_export(world: World, tmp_path: Path) -> None:
    await world.talk("Worth keeping")
    mbox = await world.ada("history.export", o.Export("work", str(tmp_path / "all.mbox"), "mbox"))
    assert mbox.messages >= 2
    letters = mailbox.mbox(tmp_path / "all.mbox")
    assert any("Worth keeping" in str(letter) for letter in letters)
    letters.close()
    folder = await world.ada("history.export", o.Export("work", str(tmp_path / "all"), "json"))
    assert folder.messages == mbox.messages
    assert "Worth keeping" in json.dumps(json.loads((tmp_path / "all" / "history.json").read_text("utf-8")))
    again = o.Export("work", str(tmp_path / "all.mbox"), "mbox")
    assert (await problem(world.ada("history.export", again))).code == "conflict"


# -- devices and keys ------------------------------------------------------------------------------------------------
async def test_a_further_device_is_linked_and_shares_what_devices_agree_about(world: World) -> None:
    ada = world.ada
    tablet = await world.device("tablet")
    offer = await ada("devices.start_link", o.StartLink("work"))
    assert offer.qr.startswith("<svg")
    answer = await tablet("devices.answer_link", o.AnswerLink("mine", offer.text, "tablet"))
    checked = await ada("devices.check_link", o.CheckLink("work", answer.text))
    assert checked.fingerprint == answer.fingerprint
    wrong = o.FinishLink("work", answer.text, "00000 " * 6)
    assert (await problem(ada("devices.finish_link", wrong))).code == "usage"
    devices = await ada("devices.finish_link", o.FinishLink("work", answer.text, answer.fingerprint))
    assert len(devices.devices) == 2

    async def runs() -> bool:
        return [one.name for one in await tablet("accounts.list")] == ["mine"]

    await until(runs)
    await tablet.online("mine")
    await ada("settings.set", o.SetSetting("work", "undo_s", 3))

    async def told() -> bool:
        return (await tablet("settings.list", o.OfAccount("mine"))).values["undo_s"] == 3

    await until(told)
    [other] = [one for one in devices.devices if not one.this]
    named = await ada("devices.name", o.NameDevice("work", other.key, "tablet in the kitchen"))
    assert {one.label for one in named.devices if not one.this} == {"tablet in the kitchen"}
    suspended = await ada("devices.act", o.OnDevice("work", "suspend", other.key))
    assert [one.stands for one in suspended.devices if not one.this] != [other.stands]


async def test_keys_safety_and_recovery(world: World) -> None:
    ada, bob = world.ada, world.bob
    await world.talk("Are you it?")
    number = await ada("keys.safety", o.OfPerson("work", world.bob_uid))
    theirs = await bob("keys.safety", o.OfPerson("work", world.ada_uid))
    assert number.digits == theirs.digits
    seen = await ada("keys.seen", o.SeenKeys("work", world.bob_uid, number.head, compared=True))
    assert seen.keys == "compared"
    stale = o.SeenKeys("work", world.bob_uid, "A" * 43)
    assert (await problem(ada("keys.seen", stale))).code == "conflict"
    assert len((await ada("devices.of", o.OfPerson("work", world.bob_uid))).devices) == 1
    assert (await problem(ada("devices.check_recovery", o.CheckRecovery("work", "one two")))).field == "words"


async def test_a_home_that_is_being_locked_or_opened_says_how_it_is_then(gateway: Gateway, tmp_path: Path) -> None:
    """In between it is neither: open, and without accounts, as if its person had joined nothing."""
    async with device(tmp_path / "ada") as ada:
        words = (await ada.join(gateway, "public", "work", ADA)).recovery
        await ada("home.passphrase", o.SetPassphrase("correct horse"))
        for act, params in (("home.lock", None), ("home.unlock", o.Unlock(words))):
            acting = asyncio.create_task(ada(act, params) if params is not None else ada(act))
            while not acting.done():
                state = await ada("home.state")
                assert state.locked or state.accounts, act
                await asyncio.sleep(0)
            await acting


async def test_a_new_recovery_sheet_replaces_the_old_one(gateway: Gateway, tmp_path: Path) -> None:
    async with device(tmp_path / "ada") as ada:
        old = (await ada.join(gateway, "public", "work", ADA)).recovery
        sheet = await ada("devices.new_recovery", o.NewRecovery("work", old))
        assert await ada("devices.new_recovery", o.NewRecovery("work", old)) == sheet  # who has not seen the answer
        await ada("accounts.told", o.OfAccount("work"))
        assert (await problem(ada("devices.new_recovery", o.NewRecovery("work", old)))).code == "refused"
        assert not (await ada("devices.check_recovery", o.CheckRecovery("work", old))).done
        assert (await ada("devices.check_recovery", o.CheckRecovery("work", sheet.words))).done
        await ada("home.lock")
        assert (await problem(ada("home.unlock", o.Unlock(old)))).code == "refused"
        assert not (await ada("home.unlock", o.Unlock(sheet.words))).locked


async def test_a_conversation_is_sealed_under_a_shared_passphrase(world: World) -> None:
    ada, bob = world.ada, world.bob
    mine, there = await world.talk("Shall we agree on a passphrase?")
    thread = await ada("threads.share_key", o.ShareKey("work", mine.thread, "the difference engine"))
    assert thread.encryption == "shared"
    await ada("messages.send", o.Send("work", text="Under our key", reply=mine.id, delay_s=0))

    async def waits() -> m.Message | None:
        found = [one for one in await bob("messages.latest", o.Latest("work")) if one.state == "sealed"]
        return found[0] if found else None

    sealed = await until(waits)
    assert sealed.suite == 1
    wrong = o.ShareKey("work", there.thread, "another engine")
    assert (await problem(bob("threads.share_key", wrong))).field == "passphrase"
    await bob("threads.share_key", o.ShareKey("work", there.thread, "the difference engine"))
    assert (await bob.message("work", "Under our key")).suite == 1
    await bob("messages.send", o.Send("work", text="And back", reply=there.id, delay_s=0))
    assert (await ada.message("work", "And back")).suite == 1


async def test_a_key_that_is_asked_for_again(world: World) -> None:
    _, there = await world.talk("You can read this")
    assert (await problem(world.bob("messages.ask_key", o.OfMessage("work", there.id)))).code == "refused"
    assert (await problem(world.bob("messages.ask_key", o.OfMessage("work", "none")))).code == "not_found"


def test_every_operation_has_its_test() -> None:
    """What is asked above is all there is: an operation that is added is tested, too."""
    here = Path(__file__).parent
    places = (*here.glob("test_local_api_*.py"), here.parent / "support" / "client_engine.py")
    source = "".join(place.read_text("utf-8") for place in places)
    asked = {operation.name for operation in o.OPERATIONS if f'"{operation.name}"' in source}
    assert asked | {"home.watch"} == o.BY_NAME.keys()
