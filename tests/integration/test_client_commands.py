# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp` as people use it: two of them in two terminals, and scripts that read JSON (B1, B3, B4)."""

import asyncio
import json
import os
import re
import shlex
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.instance import TestInstance, running_instance
from tests.support.terminal import PATIENCE_S, TMTP, Terminal, joined, link
from tmtp_client.vault.recovery import seed_of


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "service") as instance:
        yield instance


async def test_two_people_meet_and_talk(service: TestInstance, tmp_path: Path) -> None:
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    bob = await joined(service, tmp_path / "bob", "Bob Builder")
    stranger = await ada.run("send", "Bob Builder", "Let me in")
    assert stranger.code == 1
    assert "ping them first" in stranger.err
    assert (await ada.run("ping", "Bob Builder", "[bold]It is me[/bold] \x1b[31m")).code == 0
    seen = await bob.run("inbox")
    assert "ping from Ada Lovelace" in seen.out
    assert "[bold]It is me[/bold] \\u001b[31m" in seen.out
    plan = tmp_path / "plan.pdf"
    plan.write_bytes(os.urandom(300_000))
    answer = await bob.run("send", "Ada Lovelace", "Here is the plan.", "-s", "The plan", "-f", str(plan))
    assert (answer.code, answer.out) == (0, "Sent to Ada Lovelace.\n")
    (got,) = [one for one in (await ada.run("inbox", "--json")).json if not one["outgoing"]]
    assert (got["subject"], got["text"]) == ("The plan", "Here is the plan.")
    assert [(one["name"], one["size"]) for one in got["attachments"]] == [("plan.pdf", 300_000)]
    thanks = await ada.run("reply", got["id"][-8:], "It arrived, thank you.")
    assert (thanks.code, thanks.out) == (0, "Sent to Bob Builder.\n")
    assert [one["thread"] for one in (await bob.run("inbox", "--json")).json][1:] == [got["thread"]] * 2
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    for name in ("plan.pdf", "plan (2).pdf"):  # nothing is overwritten
        read = await ada.run("read", got["id"][-8:], "--save", str(downloads))
        assert read.code == 0, read.err
        assert "Here is the plan." in read.out
        assert (downloads / name).read_bytes() == plan.read_bytes()


async def test_what_was_not_delivered_is_shown_with_what_it_was(service: TestInstance, tmp_path: Path) -> None:
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    bob = await joined(service, tmp_path / "bob", "Bob Builder")
    await bob.run("ping", "Ada Lovelace", "write to me")
    await ada.run("inbox")
    sent = await ada.run("send", "Bob Builder", "Here it is.", "-s", "The plan")
    assert sent.code == 0, sent.err
    await service.service.remove_account("Bob Builder")
    await service.settle()
    shown = await ada.run("inbox")
    assert "not delivered to Bob Builder" in shown.out
    assert "the account was removed" in shown.out
    *_, message, returned = (await ada.run("inbox", "--json", "--offline")).json
    assert (returned["kind"], returned["subject"], returned["thread"]) == ("return", "The plan", message["thread"])
    answer = await ada.run("reply", returned["id"][-8:], "Hello?")
    assert (answer.code, "nobody else wrote that" in answer.err) == (2, True)


async def said(watching: asyncio.subprocess.Process) -> str:
    """The text of the next message that a `watch --json` shows."""
    assert watching.stdout is not None
    line = await asyncio.wait_for(watching.stdout.readline(), PATIENCE_S)
    return str(json.loads(line)["text"])


async def interrupted(process: asyncio.subprocess.Process) -> str:
    """Ctrl-C ends it, quietly; what it said on standard error."""
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    return errors.decode()


async def test_watch_shows_what_comes_and_sends_for_other_terminals(service: TestInstance, tmp_path: Path) -> None:
    """Other commands use its engine as they would a daemon's; another watch, too, and it goes on when the first ends."""
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    bob = await joined(service, tmp_path / "bob", "Bob Builder")
    await ada.does("ping", "Bob Builder", "Are you there?")
    first = await bob.start("watch", "--json")
    try:
        assert await said(first) == "Are you there?"  # it came while nobody watched
        assert (tmp_path / "bob" / "daemon.json").exists()
        second = await bob.start("watch", "--json")
        try:
            await bob.does("ping", "Ada Lovelace", "I am")
            await bob.does("send", "Ada Lovelace", "and I can write")
            texts = [one["text"] for one in (await bob.does("inbox", "--json")).json]
            assert texts == ["Are you there?", "I am", "and I can write"]
            await ada.does("inbox")
            await ada.does("send", "Bob Builder", "to whoever watches")
            assert await said(first) == "to whoever watches"
            await interrupted(first)
            await ada.does("send", "Bob Builder", "and who still does")
            while await said(second) != "and who still does":
                pass
        finally:
            await interrupted(second)
    finally:
        if first.returncode is None:
            await interrupted(first)
    assert [one["text"] for one in (await ada.does("inbox", "--json")).json][1:3] == ["I am", "and I can write"]


async def test_joining_with_an_invitation(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "service", registration="invite") as service:
        ada = Terminal(tmp_path / "ada")
        refused = await ada.run("join", link(service), "--alias", "Ada Lovelace")
        assert refused.code == 1
        assert "This takes an invitation" in refused.err
        void = await ada.run("join", link(service, "x" * 27), "--alias", "Ada Lovelace")
        assert "it was used, revoked, or has expired" in void.err
        token = await service.new_invitation()
        short = await ada.run("join", link(service, token), "--alias", "Ada")
        assert short.code == 2  # and the invitation is not spent
        assert "shorter than 8 bytes" in short.err
        ran = await ada.run("join", link(service, token), "--alias", "Ada Lovelace", "--json")
        assert ran.code == 0, ran.err
        assert ran.json["service"] == "Test Site"
        assert (await ada.run("whoami", "--json")).json["uid"] == ran.json["uid"]
        again = await ada.run("join", link(service, token), "--alias", "Ada the Second")
        assert again.code == 2
        assert "choose another name" in again.err
        bob = Terminal(tmp_path / "bob")
        plain = f"{service.host}:{service.port}"
        token = await service.new_invitation()
        ran = await bob.run("join", plain, "--pin", service.spki_pin, "--invite", token, "--alias", "Bob Builder")
        assert ran.code == 0, ran.err


async def test_the_way_back_when_every_device_is_lost(service: TestInstance, tmp_path: Path) -> None:
    lost, bob = Terminal(tmp_path / "lost"), await joined(service, tmp_path / "bob", "Bob Builder")
    ada = (await lost.run("join", link(service), "--alias", "Ada Lovelace", "--json")).json
    words = ada["recovery"]
    assert len(words.split()) == 24
    kept = b"".join(path.read_bytes() for path in (tmp_path / "lost").rglob("*") if path.is_file())
    assert seed_of(words) not in kept  # whoever steals the device has not the sheet
    assert seed_of(words).hex().encode() not in kept

    new = Terminal(tmp_path / "new")
    back = ("recover", link(service), "--uid", ada["uid"], "--alias", "Ada Lovelace", "--revoke-others")
    wrong = await new.run(*back, given=words.rsplit(" ", 1)[0])
    assert (wrong.code, "these are 23" in wrong.err) == (2, True)
    other = (await Terminal(tmp_path / "x").run("join", link(service), "--alias", "Eve Dropper", "--json")).json
    strangers = await new.run(*back, given=other["recovery"])
    assert (strangers.code, "login failed" in strangers.err) == (1, True)
    done = await new.run(*back, given=words.upper() + "\n")
    assert done.code == 0, done.err
    assert "You are Ada Lovelace on Test Site again." in done.out
    assert "other device" not in done.out
    await bob.run("ping", "Ada Lovelace", "are you back?")
    assert "are you back?" in (await new.run("inbox")).out
    assert "login failed" in (await lost.run("inbox")).err
    again = await new.run(*back, given=words)
    assert (again.code, "choose another name" in again.err) == (2, True)


async def test_beginning_anew_with_an_administrators_leave(service: TestInstance, tmp_path: Path) -> None:
    lost = await joined(service, tmp_path / "lost", "Ada Lovelace")
    uid = (await lost.run("whoami", "--json")).json["uid"]
    reset = link(service, await service.service.reset_account("Ada Lovelace"))
    new = await Terminal(tmp_path / "new").run("join", reset, "--alias", "Ada Lovelace", "--json")
    assert (new.code, new.json["uid"]) == (0, uid)
    assert len(new.json["recovery"].split()) == 24
    assert "login failed" in (await lost.run("inbox")).err


async def test_the_recovery_sheet_is_shown_once(service: TestInstance, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "ada")
    ran = await terminal.run("join", link(service), "--alias", "Ada Lovelace")
    assert "it is shown only now" in ran.out
    words = re.findall(r"\b\d+ ([a-z]+)", ran.out)
    assert len(seed_of(" ".join(words))) == 32
    uid = (await terminal.run("whoami", "--json")).json["uid"]
    assert f"--uid '{uid}' --alias 'Ada Lovelace'" in ran.out


async def test_a_sheet_that_could_not_be_written_out_is_told_again(service: TestInstance, tmp_path: Path) -> None:
    """A disk that is full, say: this device may forget the sheet only once somebody has it (B4)."""
    terminal = Terminal(tmp_path / "ada", PYTHONUNBUFFERED="")  # as a shell has it
    command = f"{shlex.join(TMTP)} join '{link(service)}' --alias 'Ada Lovelace' --json > /dev/full"
    process = await asyncio.create_subprocess_shell(command, env=terminal.environment)
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 1
    again = await terminal.does("join", link(service), "--alias", "Ada Lovelace", "--json")
    assert len(seed_of(again.json["recovery"])) == 32


async def test_others_letters_are_no_trouble_to_a_terminal_that_has_not_got_them(
    service: TestInstance, tmp_path: Path
) -> None:
    """Programs get all of them: JSON is UTF-8 everywhere (RFC 8259 §8.1)."""
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    await ada.does("drafts", "edit", "--text", "Привет, Ada")
    plain = Terminal(tmp_path / "ada", PYTHONIOENCODING="ascii")
    for arguments, said in ((("drafts",), "??????, Ada"), (("drafts", "--json"), "Привет, Ada")):
        process = await plain.start(*arguments)
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert (process.returncode, said in out.decode()) == (0, True), err.decode()


async def test_whose_alias_is_taken_has_the_sheet_all_the_same(service: TestInstance, tmp_path: Path) -> None:
    await joined(service, tmp_path / "ada", "Ada Lovelace")
    for arguments in ((), ("--json",)):
        eve = Terminal(tmp_path / f"eve{len(arguments)}")
        ran = await eve.run("join", link(service), "--alias", "Ada Lovelace", *arguments)
        assert ran.code == 1
        assert "already taken. Your account exists; choose another name" in ran.err
        words = ran.json["recovery"] if arguments else " ".join(re.findall(r"\b\d+ ([a-z]+)", ran.out))
        assert len(seed_of(words)) == 32
        assert (await eve.run("alias", f"Eve Dropper {len(arguments)}")).code == 0


async def test_one_home_holds_several_accounts(service: TestInstance, tmp_path: Path) -> None:
    home = Terminal(tmp_path / "home")
    for profile, alias in (("work", "Ada Lovelace"), ("club", "Countess of L.")):
        ran = await home.run("join", link(service), "--alias", alias, "--profile", profile)
        assert ran.code == 0, ran.err
    assert (await home.run("ping", "Countess of L.", "hello me", "-p", "work")).code == 0
    assert "hello me" in (await home.run("inbox", "-p", "club")).out
