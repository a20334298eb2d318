# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small engine behind the real local server: it keeps events and files, and answers a few operations."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api import problems
from tmtp_client.api.daemon_file import DaemonFile
from tmtp_client.api.dispatcher import Dispatcher
from tmtp_client.api.entrance import Entrance
from tmtp_client.api.server import Server
from tmtp_client.api.transfers import Download
from tmtp_client.store.changes import Since


class SmallEngine:
    """Numbered events of accounts, files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.locked = False
        self.stirred = 0
        self.kept: dict[str, list[m.Event]] = {"work": []}
        self.first: dict[str, int] = {}  # kept from this number on
        self.failures: list[tuple[str, BaseException]] = []
        self.asked: list[Any] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.abandoned = 0
        self._listeners: list[Callable[[m.Event | None], None]] = []
        self.dispatcher = Dispatcher(
            {
                "home.state": self._state,
                "people.list": self._people,
                "people.find": self._find,
                "threads.list": self._threads,
                "render": self._render,
                "messages.seen": self._fails,
                "messages.show": self._not_there,
            },
            lambda: self.locked,
            self._stir,
            lambda name, error: self.failures.append((name, error)),
        )

    # -- events ------------------------------------------------------------------------------------------------------
    def happens(self, account: str, count: int = 1, text: str = "") -> None:
        """Events are committed, then told of."""
        events = self.kept.setdefault(account, [])
        for _ in range(count):
            number = len(events) + 1
            events.append(m.Event("setting", account, number, m.SettingEvent(f"{number}", text)))
        self.tell(None)

    def tell(self, event: m.Event | None) -> None:
        for listener in list(self._listeners):
            listener(event)

    def listen(self, heard: Callable[[m.Event | None], None]) -> Callable[[], None]:
        self._listeners.append(heard)
        return lambda: self._listeners.remove(heard)

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    @property
    def listeners_of_watches(self) -> int:
        """Without the server's own."""
        return len(self._listeners) - 1

    async def latest(self) -> Mapping[str, int]:
        return {} if self.locked else {account: len(events) for account, events in self.kept.items()}

    async def since(self, account: str, number: int, limit: int) -> Since:
        first = self.first.get(account, 1)
        events = self.kept[account]
        if number + 1 < first or number > len(events):
            return Since([m.Event("gap", account, len(events), m.GapEvent(number))], len(events))
        page = events[number : number + limit]
        return Since(page, page[-1].number if page else number)

    # -- files -------------------------------------------------------------------------------------------------------
    async def upload(self, account: str, name: str) -> "_Upload":
        if account not in self.kept:
            raise problems.not_found("no such account", "account")
        return _Upload(self, name)

    async def find(self, account: str, message: str, place: int) -> Download:
        path = self.folder / f"{account}-{message}-{place}"
        if not path.exists():
            raise problems.not_found("no such attachment")
        media = {0: "application/octet-stream", 1: "image/png", 2: "text/html", 3: "text/plain"}[place]
        return Download('Ärger"\r\n/..\\x.html', media, path.stat().st_size, "v1")

    async def read(self, account: str, message: str, place: int, start: int) -> AsyncGenerator[bytes, None]:
        with (self.folder / f"{account}-{message}-{place}").open("rb") as file:
            file.seek(start)
            while piece := file.read(65_536):
                yield piece

    # -- operations --------------------------------------------------------------------------------------------------
    def _stir(self) -> None:
        self.stirred += 1

    async def _state(self, params: o.Nothing) -> m.Home:
        return m.Home(1, self.locked, (), 0, False)

    async def _people(self, params: o.OfAccount) -> list[m.Person]:
        self.asked.append(params)
        await self.may_answer.wait()
        return [m.Person("u", "Ada Lovelace", ("Ada Lovelace",), "contact", "ping")]

    async def _find(self, params: o.Find) -> list[m.Person]:
        return [m.Person(f"u{number}", "x" * 1_000, (), "contact", "ping") for number in range(int(params.text))]

    async def _threads(self, params: o.ListThreads) -> m.Page:
        return m.Page((), next=f"{params.limit}")

    async def _render(self, params: o.Render) -> m.Rendered:
        return m.Rendered(params.text)

    async def _fails(self, params: o.MarkSeen) -> m.Done:
        raise RuntimeError("the words of a message")

    async def _not_there(self, params: o.OfMessage) -> m.Message:
        raise problems.not_found("no message has this id", "message")


class _Upload:
    def __init__(self, engine: SmallEngine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._file = (engine.folder / "upload").open("wb")

    async def write(self, data: bytes) -> None:
        self._file.write(data)

    async def finish(self) -> m.Staged:
        self._file.close()
        return m.Staged("upload", self._name, (self._engine.folder / "upload").stat().st_size)

    async def abandon(self) -> None:
        self._file.close()
        self._engine.abandoned += 1


class Visitor:
    """A running server and ways to knock at it."""

    def __init__(self, engine: SmallEngine, server: Server, entrance: Entrance, http: aiohttp.ClientSession) -> None:
        self.engine = engine
        self.server = server
        self.entrance = entrance
        self.http = http
        self.bearer = {"Authorization": f"Bearer {entrance.key}"}

    @property
    def file(self) -> DaemonFile:
        return DaemonFile(1, os.getpid(), self.server.port, self.server.url, self.entrance.key)

    async def get(self, path: str, headers: dict[str, str] | None = None, method: str = "GET", **more: Any) -> "Got":
        async with self.http.request(
            method, self.server.url + path, headers=headers, allow_redirects=False, **more
        ) as answer:
            return Got(answer.status, answer.headers, await answer.read())

    async def cookie(self) -> dict[str, str]:
        """A browser's: it came in."""
        answer = await self.get(self.server.way_in().removeprefix(self.server.url))
        assert answer.status == 200
        return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0], "Origin": self.server.url}

    async def socket(self, headers: dict[str, str] | None = None) -> aiohttp.ClientWebSocketResponse:
        return await self.http.ws_connect(
            self.server.url + "/api/1", headers=self.bearer if headers is None else headers, max_msg_size=0
        )


class Got:
    """An answer."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


@asynccontextmanager
async def visited(folder: Path, kind: type[SmallEngine] = SmallEngine) -> AsyncIterator[Visitor]:
    """A small engine behind the real server."""
    engine = kind(folder)
    entrance = Entrance(time.monotonic, os.urandom)
    server = Server(engine.dispatcher, engine, engine, entrance)
    async with server.listening(server.bound()), aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield Visitor(engine, server, entrance, http)
