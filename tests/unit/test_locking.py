# SPDX-License-Identifier: AGPL-3.0-or-later
"""What happens to the lock of a home when other things fail or end just then (B8)."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from tests.support import homes
from tests.support.client_peer import scripted_peer
from tests.support.homes import running_home
from tests.unit.test_client_kept_and_sent import running
from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.engine.account import Account
from tmtp_client.engine.being_linked import BeingLinked
from tmtp_client.engine.home import Home
from tmtp_client.engine.joining import Place
from tmtp_client.trust import linking
from tmtp_client.vault.vault import Vault
from tmtp_core.crypto.encoding import to_text

PASSPHRASE = "correct horse battery"


async def test_a_home_goes_on_locking_itself_after_something_failed_when_it_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "IDLE_LOOK_S", 0.05)
    ahead_ms = 0
    home = Home(homes.vault(tmp_path), lambda: homes.now_ms() + ahead_ms, os.urandom)
    await home.open()
    failing = True

    async def fails() -> None:
        if failing:
            raise OSError(errno.EIO, "the disk does not do its part")

    home.when_locked = fails
    try:
        await asyncio.to_thread(home.vault.set_passphrase, PASSPHRASE)
        await home.set_idle_lock(600)
        ahead_ms = 601_000
        await homes.until(lambda: home.vault.locked)
        failing = False
        await home.unlock(PASSPHRASE)
        assert not home.locked
        ahead_ms += 601_000
        await homes.until(lambda: home.vault.locked)
    finally:
        failing = False
        await home.close()


async def test_how_a_home_stands_is_told_while_an_account_of_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer):
        pass
    async with running_home(tmp_path / "home") as home:
        assert [one.name for one in (await home.state()).accounts] == ["work"]
        view = Account.view

        async def ends_meanwhile(account: Account) -> models.Account:
            monkeypatch.setattr(Account, "view", view)
            await home.stop("work")
            return await account.view()

        monkeypatch.setattr(Account, "view", ends_meanwhile)
        assert (await home.state()).accounts == ()


async def test_an_account_that_is_stopped_right_after_its_start_is_given_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer):
        pass
    async with running_home(tmp_path / "home") as home:
        await home.stop("work")
        tell = home.tell_state

        async def locked_meanwhile() -> None:
            monkeypatch.setattr(home, "tell_state", tell)
            await home.lock()

        monkeypatch.setattr(home, "tell_state", locked_meanwhile)
        assert isinstance(await home.start("work"), Account)


async def test_an_account_whose_key_could_not_be_destroyed_is_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(vault: Vault, name: str) -> None:
        raise OSError(errno.EIO, "the disk does not do its part")

    async with scripted_peer(tmp_path) as peer, running(tmp_path / "home", peer):
        pass
    async with running_home(tmp_path / "home") as home:
        with monkeypatch.context() as patched:
            patched.setattr(Vault, "destroy", fails)
            with pytest.raises(OSError, match="its part"):
                await home.leave("work")
        assert "its part" in (await home.state()).damaged["work"]
        await home.leave("work")
        assert (await home.state()).damaged == {}
        assert home.vault.accounts() == []


# -- a device that waits to be added ---------------------------------------------------------------------------------
async def test_a_device_that_waits_to_be_added_has_no_database_open_once_its_home_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B8: the database, and with it its key, of an account that the service is just asked about."""
    async with running_home(tmp_path / "home") as home:
        await asyncio.to_thread(home.vault.set_passphrase, PASSPHRASE)
        opened: list[Place] = []

        @asynccontextmanager
        async def place(name: str) -> AsyncIterator[Place]:
            async with homes.places(home)(name) as one:
                opened.append(one)
                yield one
                opened.remove(one)

        async def asks_for_ever(*args: object) -> bool:
            async with place("new"):
                await asyncio.Event().wait()
            return True

        being = BeingLinked(place, home.start, homes.now_ms)
        monkeypatch.setattr(BeingLinked, "_taken_in", asks_for_ever)
        home.when_locked = being.rest
        await being.answer("new", offer(), "a test")
        await homes.until(lambda: len(opened) == 1)
        asked = opened[0].database
        monkeypatch.undo()
        await home.lock()
        with pytest.raises(OSError, match="closed"):
            await asked.read(lambda c: None)
        assert [one.trouble for one in being.coming()] == [""], "it goes on once the home is open"
        await being.stop()


async def test_an_account_that_was_taken_in_while_its_home_was_locked_is_waited_for_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_home(tmp_path / "home") as home:

        async def at_once(*args: object) -> bool:
            home.vault.lock()
            return True

        monkeypatch.setattr(BeingLinked, "_taken_in", at_once)
        being = BeingLinked(homes.places(home), home.start, homes.now_ms)
        await being.answer("new", offer(), "a test")
        await homes.until(lambda: being.coming() == ())
        await being.stop()


def offer() -> str:
    """A first text, of a service that nobody runs."""
    key = to_text(bytes(32))
    said = linking.Offer("127.0.0.1", 1, "Scripted", key, "A" * 32, key, key)
    return f"{linking._OFFER}{to_text(msgspec.json.encode(said))}"
