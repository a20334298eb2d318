# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prove 2 with everything running: no file has the plain text of what people write, neither theirs nor the service's."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.canary import plain_text_in
from tests.support.gateway import running_gateway
from tests.support.homes import has_text, joined, look_at_keys, look_until, now_ms, ping, running_home
from tmtp_client.api import operations
from tmtp_client.engine import acquaintance, staging
from tmtp_client.engine.composing import Composing
from tmtp_client.store import messages, search
from tmtp_client.store.tables import attachment

ADA, BOB = "Aardvark Ada", "Bilby Bob"
PING, ANSWER = "okapi at the gate", "let the okapi in"
TEXT, LATER, SUBJECT = "numbat in the larder", "tapir on wednesday", "quokka affairs"
FILE, CONTENT = "axolotl-ledger.csv", "dugong;17;paid\n"
SEALED = [TEXT, LATER, SUBJECT, FILE, CONTENT.strip()]


def _nameless() -> set[str]:
    """Files that this process has open and that are in no folder any more, as temporary ones are."""
    links = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.add(str(descriptor.readlink()))
    return {link for link in links if "(deleted)" in link}


async def test_what_people_write_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Homes: nothing at all. The service: nothing of what is sealed, also while it waits there (B8, B9, D5)."""
    temporary, served = tmp_path / "temporary", tmp_path / "served"
    for folder in (temporary, served):
        folder.mkdir()
    for name in ("TMPDIR", "SQLITE_TMPDIR"):
        monkeypatch.setenv(name, str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    source = tmp_path / FILE
    source.write_text(CONTENT * 20_000)
    before = _nameless()

    def looked() -> None:
        for home in ("a", "b"):
            assert plain_text_in(tmp_path / home, [PING, ANSWER, ADA, BOB, *SEALED]) == []
        assert plain_text_in(temporary, [PING, ANSWER, ADA, BOB, *SEALED]) == []
        assert plain_text_in(served, SEALED) == []
        assert _nameless() == before

    async with running_gateway(served) as gateway, running_home(tmp_path / "a") as a:
        ada = await joined(a, gateway, "public", ADA)
        async with running_home(tmp_path / "b") as b:
            bob = await joined(b, gateway, "public", BOB)
            await ping(ada, BOB, PING)
            await has_text(bob, PING)
            await acquaintance.answer(bob.context, ada.context.uid, "accept", ANSWER)
            await has_text(ada, ANSWER)
            for account in (ada, bob):
                await look_at_keys(account.context)
            staged = await staging.stage(ada.context, source)
            asked = operations.Send(ada.context.name, (BOB,), SUBJECT, TEXT, delay_s=0, files=(staged.file,))
            await Composing(ada.context).send(asked)
            got = await has_text(bob, TEXT)
            assert (got.suite, got.subject, [one.name for one in got.attachments]) == (2, SUBJECT, [FILE])
            found = await bob.context.database.read(lambda c: search.find(c, search.parse("numbat lard*")))
            assert len(found.hits) == 1
            file = await look_until(bob, lambda c: c.scalar(attachment.select().with_only_columns(attachment.c.file)))
            assert b"".join(await asyncio.to_thread(lambda: list(bob.context.files.read(file)))) == source.read_bytes()
            await asyncio.to_thread(looked)
        await Composing(ada.context).send(
            operations.Send(ada.context.name, (BOB,), SUBJECT, LATER, delay_s=0)
        )  # nobody is there: the service keeps it
        await look_until(ada, lambda c: [one for one in messages.latest(c, 9) if one.text == LATER])
        due_ms = now_ms() + 3_600_000
        await Composing(ada.context).send(operations.Send(ada.context.name, (BOB,), SUBJECT, TEXT, due_ms=due_ms))
        await asyncio.to_thread(looked)
        await a.lock()
        await asyncio.to_thread(looked)
    looked()


async def test_the_same_is_found_where_nothing_is_sealed(tmp_path: Path) -> None:
    """A service sees who pings whom and what: what the test above looks for with is no blind eye."""
    served = tmp_path / "served"
    served.mkdir()
    async with (
        running_gateway(served) as gateway,
        running_home(tmp_path / "a") as a,
    ):
        ada = await joined(a, gateway, "public", ADA)
        async with running_home(tmp_path / "b") as b:
            await joined(b, gateway, "public", BOB)
        await ping(ada, BOB, PING)
        await look_until(ada, lambda c: [one for one in messages.latest(c, 9) if one.text == PING])
        found = {canary for canary, _ in await asyncio.to_thread(plain_text_in, served, [PING, ADA, TEXT])}
        assert found == {PING, ADA}
