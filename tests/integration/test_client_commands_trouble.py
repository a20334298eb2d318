# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client on a command line where something is in the way: refusals, what was cut off, several terminals at once."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.test_client_commands import interrupted
from tests.support.instance import TestInstance, running_instance
from tests.support.terminal import PATIENCE_S, Terminal, acquainted, joined


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "service") as instance:
        yield instance


async def test_a_service_that_is_not_the_pinned_one_is_left(service: TestInstance, tmp_path: Path) -> None:
    ada = Terminal(tmp_path / "ada")
    for arguments in (["--pin", "sha256:" + "A" * 43], []):
        ran = await ada.run("join", f"{service.host}:{service.port}", "--alias", "Ada Lovelace", *arguments)
        assert ran.code == 1
        assert "pin" in ran.err


async def test_refusals_end_with_the_words_of_the_service(service: TestInstance, tmp_path: Path) -> None:
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    ran = await ada.run("ping", "Nobody Here", "hello")
    assert ran.code == 1
    assert "nobody here is called so" in ran.err
    assert (await ada.run("send", "B" * 32, "hello")).code == 1
    assert (await ada.run("send", "B" * 32, "hello", "-f", "no such file")).code == 2
    long = await ada.run("send", "B" * 32, "hello", "-f", "x" * 300)
    assert (long.code, long.err) == (2, f"{'x' * 300}: File name too long\n")
    assert (await ada.run("send", "B" * 32, "hello", "--reply", "ffffffff")).code == 1
    assert (await ada.run("read", "ffffffff")).code == 1
    assert "Nothing here yet" in (await ada.run("inbox")).out


async def test_what_was_cut_off_goes_out_with_the_next_command(service: TestInstance, tmp_path: Path) -> None:
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    bob = await joined(service, tmp_path / "bob", "Bob Builder")
    assert (await bob.run("ping", "Ada Lovelace", "Write to me")).code == 0
    assert "Write to me" in (await ada.run("inbox")).out
    plan = tmp_path / "plan.txt"
    plan.write_bytes(b"as it was")
    await service.stop()
    kept = await ada.run("send", "Bob Builder", "Here it is", "-f", str(plan))
    assert kept.code == 3
    assert "is kept and goes out next time" in kept.err
    offline = await ada.run("inbox")
    assert offline.code == 3
    assert "cannot be reached: nothing answers at its address" in offline.err
    assert "Write to me" in offline.out
    plan.write_bytes(b"changed meanwhile")
    await service.start()
    await ada.does("inbox")
    (got,) = [one for one in (await bob.does("inbox", "--json")).json if not one["outgoing"]]
    assert got["text"] == "Here it is"
    await bob.does("read", got["id"], "--save", str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "plan.txt").read_bytes() == b"as it was"


async def test_what_was_refused_when_nobody_waited_is_said_until_it_is_dropped(
    service: TestInstance, tmp_path: Path
) -> None:
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    await service.stop()
    assert (await ada.run("ping", "Nobody Here", "hello")).code == 3
    await service.start()
    for _ in range(2):
        shown = await ada.does("inbox")
        assert "Not sent to Nobody Here" in shown.err
        assert "nobody here is called so" in shown.err
    (refused,) = (await ada.does("outbox", "--json")).json
    assert refused["state"] == "refused"
    await joined(service, tmp_path / "late", "Nobody Here")
    await ada.does("outbox", "--retry", refused["id"])
    assert (await ada.does("inbox")).err == ""
    assert (await ada.does("outbox", "--json")).json == []


async def test_a_key_that_changed_is_said_at_once(service: TestInstance, tmp_path: Path) -> None:
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    await service.stop()
    for name in ("tls.crt", "tls.key"):
        (tmp_path / "service" / name).unlink()
    await service.start()
    ran = await ada.run("ping", "Bob Builder", "hello")
    assert ran.code == 3
    assert "not the one that was pinned" in ran.err


async def test_what_cannot_be_sent_is_said_at_once_and_leaves_nothing(service: TestInstance, tmp_path: Path) -> None:
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    ran = await ada.run("ping", "Ada Lovelace", "\udcff is no UTF-8")
    assert (ran.code, "no valid UTF-8" in ran.err) == (2, True)
    assert (await ada.run("ping", "Ada Lovelace", "x" * 141)).code == 2
    assert (await ada.does("ping", "Ada Lovelace", "hello me")).err == ""
    assert (await ada.does("outbox", "--json")).json == []


async def test_several_terminals_send_at_once(service: TestInstance, tmp_path: Path) -> None:
    """Whoever has the engine sends; when it leaves, the next one takes over."""
    ada, bob = await acquainted(service, tmp_path)
    sent = await asyncio.gather(*(ada.run("send", "Bob Builder", f"number {n}") for n in range(4)))
    assert [(ran.code, ran.err) for ran in sent] == [(0, "")] * 4
    assert not (tmp_path / "ada" / "daemon.json").exists()
    texts = {one["text"] for one in (await bob.run("inbox", "--json")).json}
    assert {f"number {n}" for n in range(4)} <= texts


async def test_each_terminal_says_what_became_of_its_own_message(service: TestInstance, tmp_path: Path) -> None:
    ada, _ = await acquainted(service, tmp_path)
    for _ in range(3):
        sent = await asyncio.gather(
            ada.run("ping", "Nobody Here", "to nobody"),
            ada.run("send", "Bob Builder", "to somebody"),
            ada.run("ping", "Nobody Either", "to nobody either"),
        )
        assert [ran.code for ran in sent] == [1, 0, 1], [ran.err for ran in sent]
        assert "Not sent" not in sent[1].err


async def test_what_was_interrupted_is_kept_shown_and_can_be_dropped(service: TestInstance, tmp_path: Path) -> None:
    ada, bob = await acquainted(service, tmp_path)
    await service.stop()
    with socket.create_server(("127.0.0.1", service.port)):  # somebody who answers nothing
        daemon = await ada.start("daemon")
        assert daemon.stdout is not None
        await asyncio.wait_for(daemon.stdout.readline(), PATIENCE_S)
        sending = await ada.start("send", "Bob Builder", "half a thought")
        while not (listed := (await ada.does("outbox", "--json")).json):
            pass
        assert "The message is kept" in await interrupted(sending)
        daemon.send_signal(signal.SIGINT)
        await asyncio.wait_for(daemon.communicate(), PATIENCE_S)
    (waiting,) = (await ada.does("outbox", "--json")).json
    assert [waiting] == listed
    assert waiting["text"] == "half a thought"
    assert "half a thought" in (await ada.run("outbox")).out
    away = await ada.run("inbox", "--json")
    assert (away.code, "still wait to be sent" in away.err) == (3, True)
    assert (await ada.run("outbox", "--drop", waiting["id"][-8:])).code == 0
    assert "Nothing waits" in (await ada.run("outbox")).out
    assert (await ada.run("outbox", "--drop", "12345678")).code == 1
    named = await ada.run("alias", "Ada the Second")
    assert (named.code, "cannot be reached" in named.err) == (3, True)
    await service.start()
    assert (await ada.run("inbox")).code == 0
    assert [one["text"] for one in (await bob.run("inbox", "--json")).json] == ["Hello", "Hello"]


async def test_the_inbox_says_what_it_does_not_show(service: TestInstance, tmp_path: Path) -> None:
    ada, bob = await acquainted(service, tmp_path)
    for number in range(3):
        assert (await ada.run("send", "Bob Builder", f"number {number}")).code == 0
    ran = await bob.run("inbox", "-n", "1")
    assert "number 2" in ran.out
    assert "more are new and older: tmtp inbox -n" in ran.err
    assert "number 1" in (await bob.run("inbox", "-n", "5")).out
    assert "more are new" not in (await bob.run("inbox", "-n", "1")).err


async def test_a_home_named_from_where_one_stands_is_the_same_from_elsewhere(
    service: TestInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = await acquainted(service, tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.txt").write_text("the plan", "utf-8")
    relative = Terminal(Path("ada"))
    await service.stop()
    assert (await relative.run("send", "Bob Builder", "See there", "-f", "plan.txt")).code == 3
    await service.start()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert (await ada.run("inbox")).code == 0
    (message,) = [one for one in (await bob.run("inbox", "--json")).json if one["text"] == "See there"]
    saved = await bob.run("read", message["id"][-8:], "--save", "new/folder")
    assert saved.code == 0, saved.err
    assert (tmp_path / "elsewhere" / "new" / "folder" / "plan.txt").read_text("utf-8") == "the plan"
