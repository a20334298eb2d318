# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whoever locks a home waits for no export, and of one that was given up nothing stays in plain text (B8)."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.client_peer import scripted_peer
from tests.support.homes import places, running_home
from tests.unit.test_client_database import message
from tests.unit.test_client_kept_and_sent import ADA
from tmtp_client.api import operations as o
from tmtp_client.api.client import to_daemon
from tmtp_client.api.daemon_file import DaemonFile
from tmtp_client.api.dispatcher import Dispatcher
from tmtp_client.api.entrance import Entrance
from tmtp_client.api.on_files import OnFiles
from tmtp_client.api.problems import ProblemError
from tmtp_client.api.rooms import Rooms
from tmtp_client.api.server import Server
from tmtp_client.engine.home import Home
from tmtp_client.store import identity as identities
from tmtp_client.store import messages
from tmtp_client.store.identity import Identity
from tmtp_client.store.messages import NewAttachment

FILM = message(1, attachments=(NewAttachment("file", "film.mkv", "", 1 << 40, "f" * 32, 1 << 40),))


@asynccontextmanager
async def home_with_a_film(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Home]:
    """A home with an account whose one message has a file that nobody sees the end of."""
    async with scripted_peer(folder) as peer, running_home(folder / "home") as home:
        async with places(home)("work") as place:
            where = peer.endpoint
            identity = Identity(ADA, "N" * 40, "Ada Lovelace", where.host, where.port, where.pin, None, "Scripted")
            await place.database.write(lambda c: identities.put(c, identity))
            await place.database.write(lambda c: messages.record(c, FILM, frozenset()))
        account = await home.start("work")

        def endless(file: str, start: int = 0) -> Iterator[bytes]:
            while True:
                time.sleep(0.001)
                yield bytes(65_536)

        monkeypatch.setattr(account.context.files, "read", endless)
        yield home


async def is_written(folder: Path) -> None:
    async with asyncio.timeout(60):
        while not any(one.is_file() and one.stat().st_size > 1 << 20 for one in folder.rglob("*")):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("asked", ["mbox", "json", "file"])
async def test_a_lock_waits_for_no_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Any) -> None:
    out = tmp_path / "out"
    out.mkdir()
    async with home_with_a_film(tmp_path, monkeypatch) as home:
        files = OnFiles(Rooms(home))
        if asked == "file":
            doing = asyncio.ensure_future(files.save(o.SaveFile("work", FILM.id, 0, str(out))))
        else:
            doing = asyncio.ensure_future(files.export(o.Export("work", str(out / "all"), asked)))
        await is_written(out)
        async with asyncio.timeout(60):
            await home.lock()
            with pytest.raises(ProblemError, match="closed meanwhile") as problem:
                await doing
        assert problem.value.problem.code == "not_now"
        assert home.locked
        assert list(out.iterdir()) == []


@pytest.mark.parametrize("asked", ["mbox", "json"])
async def test_an_export_whose_asker_has_gone_ends_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Any
) -> None:
    """Who interrupts a command has given it up: a daemon would else write on for hours, where nobody looks."""
    out = tmp_path / "out"
    out.mkdir()
    async with home_with_a_film(tmp_path, monkeypatch) as home:
        files = OnFiles(Rooms(home))
        dispatcher = Dispatcher(files.handlers(), lambda: home.locked, home.stir)
        entrance = Entrance(time.monotonic, os.urandom)
        server = Server(dispatcher, home, files, entrance)
        async with server.listening(Server.bound()):
            file = DaemonFile(1, os.getpid(), server.port, server.url, entrance.key)
            async with to_daemon(file) as client:
                doing = asyncio.ensure_future(client.call("history.export", o.Export("work", str(out / "all"), asked)))
                await is_written(out)
                doing.cancel()
            async with asyncio.timeout(60):
                while list(out.iterdir()):
                    await asyncio.sleep(0.01)
