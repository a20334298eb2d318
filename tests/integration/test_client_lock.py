# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp` and the lock of a home, a daemon beside it, further devices, terminals and pipes (B1, B4, B8)."""

import asyncio
import json
import os
import pty
import re
import signal
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support import homes
from tests.support.first_client import FirstClient
from tests.support.instance import TestInstance, running_instance
from tests.support.terminal import PATIENCE_S, TMTP, Terminal, acquainted, joined, link

CTRL_C = "\x03"
PASSPHRASE = "correct horse battery"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "service") as instance:
        yield instance


@asynccontextmanager
async def daemon(terminal: Terminal) -> AsyncIterator[None]:
    """It runs for the length of the block."""
    process = await terminal.start("daemon", "--json")
    assert process.stdout is not None
    try:
        await asyncio.wait_for(process.stdout.readuntil(b"}\n"), PATIENCE_S)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert (process.returncode, errors) == (0, b"")


async def test_a_locked_home_asks_or_says_what_to_do(service: TestInstance, tmp_path: Path) -> None:
    ada = Terminal(tmp_path / "ada")
    first = await ada.does("join", link(service), "--alias", "Ada Lovelace")
    assert first.err.count("tmtp lock --set-passphrase") == 1  # said once, on one line
    assert (await ada.run("lock", "--set-passphrase", given="short\n")).code == 2
    state = (await ada.does("lock", "--set-passphrase", "--json", given=f"{PASSPHRASE}\n")).json
    assert {slot["kind"] for slot in state["slots"]} == {"passphrase", "recovery"}
    assert state["protected"]

    for command in (("inbox",), ("whoami", "--json"), ("send", "Bob Builder", "x"), ("watch",)):
        refused = await ada.run(*command)
        assert (refused.code, refused.out) == (3, ""), command
        assert "TMTP_PASSPHRASE_FILE" in refused.err
    held = "your passphrase" in (await ada.does("lock")).out  # what opens it may be known
    assert held

    file = tmp_path / "passphrase"
    file.write_text(f"{PASSPHRASE}\n", "utf-8")
    knows = Terminal(ada.home, TMTP_PASSPHRASE_FILE=str(file))
    assert (await knows.does("whoami", "--json")).json["alias"] == "Ada Lovelace"
    file.write_text("another one entirely\n", "utf-8")
    wrong = await knows.run("whoami")
    assert (wrong.code, PASSPHRASE in wrong.err) == (1, False)
    missing = await Terminal(ada.home, TMTP_PASSPHRASE_FILE=str(tmp_path / "none")).run("whoami")
    assert (missing.code, "cannot be read" in missing.err) == (2, True)
    words = " ".join(re.findall(r"\b\d+ ([a-z]+)", first.out))
    assert "That opens it" in (await ada.does("unlock", given=f"{words}\n")).out  # the recovery sheet does, too


async def test_a_daemon_is_unlocked_once_and_locked_again(service: TestInstance, tmp_path: Path) -> None:
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    await ada.does("lock", "--set-passphrase", given=f"{PASSPHRASE}\n")
    async with daemon(ada):
        assert (await ada.run("inbox")).code == 3
        assert (await ada.run("unlock", given="not it, not it\n")).code == 1
        assert not (await ada.does("unlock", "--json", given=f"{PASSPHRASE}\n")).json["locked"]
        assert (await ada.does("inbox")).code == 0
        assert "after 5 minutes" in (await ada.does("lock", "--after", "5")).out
        assert (await ada.does("lock", "--json")).json["locked"]
        assert (await ada.run("inbox")).code == 3
        await ada.does("unlock", given=f"{PASSPHRASE}\n")
        assert (await ada.run("lock", "--no-passphrase")).code == 2
        bare = await ada.does("lock", "--no-passphrase", "--yes")
        assert "The history is not locked" in bare.out
    assert (await ada.does("inbox")).code == 0


async def on_a_terminal(terminal: Terminal, *arguments: str, typed: str) -> tuple[int, str]:
    """A command on a terminal of its own, at which somebody types each line when something is asked."""
    own, its = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *TMTP, *arguments, stdin=its, stdout=its, stderr=its, env=terminal.environment, start_new_session=True
    )
    os.close(its)
    os.set_blocking(own, False)
    shown, lines = b"", typed.splitlines()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    shown += os.read(own, 65_536)
                except BlockingIOError:
                    pass
                except OSError:  # it has closed its end
                    break
                if lines and _asks(own, shown):
                    if (line := lines.pop(0)) == CTRL_C:  # a terminal that controls no process sends no signal
                        process.send_signal(signal.SIGINT)
                    else:
                        os.write(own, line.encode() + b"\n")
                    shown += b"\n"
                await asyncio.sleep(0.02)
            code = await process.wait()
    finally:
        os.close(own)
        if process.returncode is None:
            process.kill()
            await process.wait()
    return code, shown.decode()


def _asks(own: int, shown: bytes) -> bool:
    """Whether something is asked: of a secret only once nothing that is typed is shown any more."""
    hides = not termios.tcgetattr(own)[3] & termios.ECHO
    return shown.endswith((b"]: ", b"sheet: ")) or (hides and shown.endswith(b": "))


async def test_on_a_terminal_it_asks_and_shows_nothing_of_a_secret(service: TestInstance, tmp_path: Path) -> None:
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    code, shown = await on_a_terminal(ada, "lock", "--set-passphrase", typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert (code, PASSPHRASE in shown) == (0, False), shown
    code, shown = await on_a_terminal(ada, "whoami", typed=f"a slip of the pen\n{PASSPHRASE}\n")
    assert (code, "Ada Lovelace on Test Site" in shown, PASSPHRASE in shown) == (0, True, False), shown
    code, shown = await on_a_terminal(ada, "whoami", typed="no\nnor this\nor that\n")
    assert (code, "Ada Lovelace" in shown) == (3, False)
    await Terminal(ada.home).run("lock")
    code, shown = await on_a_terminal(ada, "accounts", "leave", "default", typed="n\n")
    assert code != 0


async def test_ctrl_c_ends_a_question_at_once(service: TestInstance, tmp_path: Path) -> None:
    """And the terminal shows again what is typed."""
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    for command in (("lock", "--set-passphrase"), ("recovery", "check"), ("accounts", "leave", "default")):
        assert (await on_a_terminal(ada, *command, typed=CTRL_C))[0] == 130, command
    code, shown = await on_a_terminal(ada, "lock", "--set-passphrase", typed=f"one of them\nanother\n{CTRL_C}")
    assert (code, "two different" in shown) == (130, True), shown
    await ada.does("lock", "--set-passphrase", given=f"{PASSPHRASE}\n")
    assert (await on_a_terminal(ada, "whoami", typed=CTRL_C))[0] == 130
    code, shown = await on_a_terminal(ada, "whoami", typed="\x04")
    assert (code, "Nothing was done" in shown) == (1, True), shown


async def test_who_reads_only_the_beginning_breaks_nothing(service: TestInstance, tmp_path: Path) -> None:
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    reading, writing = os.pipe()
    os.close(reading)  # it has seen enough already
    process = await asyncio.create_subprocess_exec(
        *TMTP, "settings", "--json", stdout=writing, stderr=asyncio.subprocess.PIPE, env=ada.environment
    )
    os.close(writing)
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert (process.returncode, errors) == (1, b"")


async def test_commands_wait_for_one_another_and_for_a_daemon(service: TestInstance, tmp_path: Path) -> None:
    """Whoever has the home does his work; the others wait for him, or ask the daemon as soon as there is one."""
    ada, bob = await acquainted(service, tmp_path)
    async with daemon(ada):
        sent = await asyncio.gather(*(ada.run("send", "Bob Builder", f"number {n}") for n in range(3)))
        assert [ran.code for ran in sent] == [0] * 3
        assert (await ada.run("daemon")).code == 3
    ends = await asyncio.gather(ada.run("send", "Bob Builder", "one"), ada.run("inbox"), ada.run("people"))
    assert [ran.code for ran in ends] == [0] * 3
    texts = {one["text"] for one in (await bob.does("inbox", "--json")).json}
    assert {"number 0", "number 1", "number 2", "one"} <= texts


async def test_a_further_device_is_linked_confirmed_and_barred(service: TestInstance, tmp_path: Path) -> None:
    ada, bob = await acquainted(service, tmp_path)
    phone = Terminal(tmp_path / "phone")
    offer = (await ada.does("link", "start", "--json")).json["text"]
    answering = await phone.start("link", "answer", offer, "--label", "phone", "--account", "ada")
    assert answering.stdout is not None
    try:
        said = ""
        while "same number" not in said:
            said += (await asyncio.wait_for(answering.stdout.readline(), PATIENCE_S)).decode()
        answer = next(line for line in said.splitlines() if line.isascii() and " " not in line and len(line) > 50)
        number = said.rpartition(": ")[2].strip()
        unsure = await ada.run("link", "finish", answer)
        assert (unsure.code, "--fingerprint" in unsure.err) == (2, True)
        assert (await ada.run("link", "finish", answer, "--fingerprint", "00000 00000")).code != 0
        await ada.does("link", "finish", answer, "--fingerprint", number)
        out, _ = await asyncio.wait_for(answering.communicate(), PATIENCE_S)
        assert (answering.returncode, b"one of Ada Lovelace on Test Site" in out) == (0, True)
    finally:
        if answering.returncode is None:
            answering.kill()
            await answering.wait()
    assert (await phone.does("whoami", "--json")).json["alias"] == "Ada Lovelace"
    assert [one["label"] for one in (await phone.does("devices", "--json")).json["devices"] if one["this"]] == ["phone"]
    listed = (await ada.does("devices", "--json")).json
    (new,) = [one for one in listed["devices"] if not one["this"]]
    named = (await ada.does("devices", "name", new["key"][-8:], "the phone", "--json")).json
    assert "the phone" in [one["label"] for one in named["devices"]]
    assert "the phone" in (await ada.does("devices")).out
    assert (await ada.run("devices", "suspend", "no such device")).code == 1
    suspended = (await ada.does("devices", "suspend", "the phone", "--json")).json
    assert "provisional suspended" in [one["stands"] for one in suspended["devices"]]
    assert (await phone.run("inbox")).code == 1
    assert (await ada.run("devices", "revoke", "the phone")).code == 2  # it has to be meant

    # What changed of Ada's devices is to be seen by Bob before anything more is sealed to her.
    held = await bob.run("send", "Ada Lovelace", "for your eyes only")
    if held.code == 3:
        assert "tmtp keys" in held.err
        shown = (await bob.does("keys", "Ada Lovelace", "--json")).json
        assert shown["devices"]["unseen"]
        await bob.does("keys", "Ada Lovelace", "--seen")
    assert "for your eyes only" in (await ada.does("inbox")).out
    compared = await bob.does("keys", "Ada Lovelace", "--compared", "--yes", "--json")
    assert compared.json["person"]["keys"] == "compared"


async def test_who_is_linked_to_something_else_is_told_so(service: TestInstance, tmp_path: Path) -> None:
    """The first text was changed on its way: the new device waits no longer, and says why (B4)."""
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    offer = (await ada.does("link", "start", "--json")).json["text"]
    phone = Terminal(tmp_path / "phone")
    answering = await phone.start("link", "answer", homes.of_another(offer), "--json")
    assert answering.stdout is not None
    try:
        said = json.loads(await asyncio.wait_for(answering.stdout.readline(), PATIENCE_S))
        await ada.does("link", "finish", said["text"], "--fingerprint", said["fingerprint"])
        _, errors = await asyncio.wait_for(answering.communicate(), PATIENCE_S)
    finally:
        if answering.returncode is None:
            answering.kill()
            await answering.wait()
    assert answering.returncode == 1
    assert b"added by another device than the one that offered it" in errors
    assert b"tmtp link start" in errors
    assert (await phone.run("link", "answer", "tmtp-link:nonsense")).code == 2


async def test_the_recovery_sheet_is_checked_and_replaced(service: TestInstance, tmp_path: Path) -> None:
    ada = Terminal(tmp_path / "ada")
    words = (await ada.does("join", link(service), "--alias", "Ada Lovelace", "--json")).json["recovery"]
    assert (await ada.does("recovery", "check", "--json", given=words)).json == {"right": True}
    new = (await ada.does("recovery", "new", "--yes", "--json", given=words)).json["recovery"]
    assert len(new.split()) == 24
    assert (await ada.run("recovery", "check", given=words)).code == 1
    assert "are the words" in (await ada.does("recovery", "check", given=new)).out
    assert (await ada.run("recovery", "check", given="twenty-four of them")).code == 2


async def test_a_history_of_the_first_clients_is_there_with_the_first_command(tmp_path: Path) -> None:
    """The plain one is taken over once, and names in it steer no terminal."""
    old = FirstClient(tmp_path / "home" / "default")
    old.add("contact", alias="\x1b[2J", uid="X" * 32)
    old.close() if hasattr(old, "close") else None
    shown = await Terminal(tmp_path / "home").does("whoami")
    assert "Ada Lovelace on Test Site" in shown.out
    assert "knows \\u001b[2J" in shown.out
    assert not (tmp_path / "home" / "default" / "history.sqlite3").exists()
    assert (await Terminal(tmp_path / "home").does("inbox", "--offline", "--json")).json == json.loads("[]")
