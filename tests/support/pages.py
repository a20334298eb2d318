# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client's pages with all that is behind them: two real gateways, people with real engines, and a browser that came
in by a token. Gateways and engines run in a thread of their own, so that a test drives the browser beside them.

    def test_a_message_comes(town: Town, come_in: ComeIn) -> None:
        ada, bob = town.person("Ada Lovelace", "work", "club"), town.person("Bob Builder", "work")
        town.acquaint(ada, bob, "work")
        page = come_in(ada)
        bob.ask("messages.send", o.Send("work", ("Ada Lovelace",), "", "Hello"))
        expect(page.get_by_text("Hello")).to_be_visible()

What a page must never do is noted while it is open, and fails the test at its end: a script that fails, something that
its policy refuses, a request to anywhere but its own server (B6).
"""

import asyncio
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import pytest
from msgspec import Struct
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request
from sqlalchemy import Connection

from gateway.app import Gateway
from tests.support.cable import Cable, cable
from tests.support.client_engine import Person, acquainted, until
from tests.support.gateway import endpoint, invited, running_gateway
from tmtp_client.api import models as m
from tmtp_client.api.client import Local
from tmtp_client.api.server import Server
from tmtp_client.api.serving import Served, serving
from tmtp_client.store import messages
from tmtp_client.store.messages import NewMessage

T = TypeVar("T")
ComeIn = Callable[..., Page]
Watch = Callable[[Page, str, list[str]], None]

SERVICES: Final = {"work": ("Example Works", "members"), "club": ("Chess Club", "public")}
"""The name of an account there: the service's title and its instance. Each is a gateway of its own. `members` takes
invitations, and nobody writes there whom one has not accepted; `public` takes everybody."""
_SETTINGS: Final = """\
data_dir: ./data
http: {{listen: "127.0.0.1:0"}}
administration: {{listen: "127.0.0.1:0"}}
log: {{level: error}}
instances:
  - {{name: members, title: {title}, policy: members, registration: invite, listen: [{{tls: "127.0.0.1:0"}}]}}
  - {{name: public, title: {title}, policy: public, registration: open, listen: [{{tls: "127.0.0.1:0"}}]}}
"""
_LIBRARY: Final = Path(__file__).parents[2] / "packaging" / "pages" / "library.py"
_TIMEOUT_S: Final = 180
_BATCH: Final = 500  # messages of one transaction
_OWN: Final = frozenset({"blob", "data", "about", "chrome", "chrome-extension"})
"""Of the page itself, or of the browser's viewer of PDF: nothing is asked of anybody."""


class Town:
    """Two services, and people who are on them, until the block ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._stack = AsyncExitStack()
        self._homes = itertools.count(1)
        self._names: set[str] = set()
        self.gateways: dict[str, Gateway] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.do(self._begin())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def do(self, work: Awaitable[T]) -> T:
        """Run it where gateways and engines run, to its end."""

        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_TIMEOUT_S)

    def person(self, name: str, *services: str) -> "Someone":
        """Somebody with a device of his own, a member of these services; each account is called as its service."""
        assert name not in self._names, f"{name} is somebody in another test: those of a process have one town"
        self._names.add(name)
        someone = self.device(name)
        for service in services:
            someone.join(service)
        return someone

    def found(self, service: str, title: str) -> None:
        """One more service, which takes everybody, under a title of the test's."""
        self.do(self._found(service, json.dumps(title)))

    def device(self, name: str) -> "Someone":
        """Somebody who has joined nothing yet."""
        home = self._folder / f"home-{next(self._homes)}"
        return Someone(self, name, home, self.enter(serving(home)))

    def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """Something else that is there, in the same loop, until the block ends."""

        async def begin() -> T:
            return await self._stack.enter_async_context(context)

        return self.do(begin())

    def cable(self, service: str) -> Cable:
        """One of somebody's own to that service."""
        where = endpoint(self.gateways[service], SERVICES[service][1])
        return self.enter(cable(where.host, where.port))

    def acquaint(self, one: "Someone", other: "Someone", service: str) -> tuple[str, str]:
        """They have pinged and accepted each other there; their uids."""
        return self.do(acquainted(one.person, other.person, service, (one.name, other.name)))

    async def _begin(self) -> None:
        for service, (title, _) in SERVICES.items():
            await self._found(service, title)

    async def _found(self, service: str, title: str) -> None:
        folder = self._folder / service
        folder.mkdir()
        settings = _SETTINGS.format(title=title)
        self.gateways[service] = await self._stack.enter_async_context(running_gateway(folder, settings))

    def _end(self) -> None:
        try:
            self.do(self._stack.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_TIMEOUT_S)
            self._loop.close()


class Someone:
    """A person with a device: its engine, and its server with the pages. `person` is the same for who is in the loop."""

    def __init__(self, town: Town, name: str, home: Path, served: Served) -> None:
        self._town = town
        self._served = served
        self.name = name
        self.home = home
        self.person = Person(Local(served.engine.dispatcher, served.engine.home), served.engine)

    @property
    def server(self) -> Server:
        """What serves the pages."""
        return self._served.server

    @property
    def url(self) -> str:
        """Where the pages are, for who has come in."""
        return self.server.url

    def way_in(self) -> str:
        """Where a browser comes in, once."""
        return self._town.do(self._way_in())

    def ask(self, operation: str, params: Struct | None = None) -> Any:
        """An operation of the local API, as a page asks it."""
        return self._town.do(self.person(operation, params))

    def join(self, service: str, by: Cable | None = None) -> m.Joined:
        """Become a member, with an invitation where one is wanted; the account is online."""
        gateway = self._town.gateways[service]
        instance = SERVICES[service][1] if service in SERVICES else "public"
        return self._town.do(self.person.join(gateway, instance, service, self.name, by.port if by else 0))

    def message(self, account: str, text: str) -> m.Message:
        """Wait for the message whose text begins so."""
        return self._town.do(self.person.message(account, text))

    def sent(self, account: str) -> None:
        """Wait until nothing waits to be sent."""
        self._town.do(self.person.sent(account))

    def until(self, operation: str, params: Struct | None, look: Callable[[Any], T | None]) -> T:
        """Ask this again and again, until `look` finds something in the answer."""

        async def looking() -> T | None:
            return look(await self.person(operation, params))

        found: T = self._town.do(until(looking))
        return found

    @contextmanager
    def late(self, operation: str, first: bool = False) -> Iterator[Callable[[], None]]:
        """What the engine answers to this is on its way to whoever asks, until the block ends. Gives what waits until one is.
        With `first` only the first answer is, and later ones come before it.

        So it is on a slow machine: what happens meanwhile is told before an answer that knows nothing of it.
        """
        handlers: Any = self._served.engine.dispatcher._handlers
        answered, over, made = handlers[operation], asyncio.Event(), asyncio.Event()

        async def later(params: Any) -> Any:
            answer = await answered(params)
            if first and made.is_set():
                return answer
            made.set()
            await over.wait()
            return answer

        async def end() -> None:
            handlers[operation] = answered
            over.set()

        handlers[operation] = later
        try:
            yield lambda: self._town.do(made.wait()) and None
        finally:
            self._town.do(end())

    def fill(self, account: str, made: Sequence[NewMessage]) -> None:
        """These messages are in the history, as if they had come."""
        [one] = [one for one in self.person.engine.home.accounts() if one.context.name == account]
        for start in range(0, len(made), _BATCH):
            some = made[start : start + _BATCH]

            def record(connection: Connection, some: Sequence[NewMessage] = some) -> None:
                for new in some:
                    messages.record(connection, new, frozenset())

            self._town.do(one.context.database.write(record))

    def invitation(self, service: str) -> str:
        """A link to that service for one more member, as a card has it."""
        return self._town.do(invited(self._town.gateways[service], SERVICES[service][1])).link

    async def _way_in(self) -> str:
        return self.server.way_in()


def make_library() -> None:
    """What the pages take from npm, where nobody has made it; skips by name where it cannot be had."""
    done = subprocess.run([sys.executable, _LIBRARY], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"what the pages take from npm cannot be had: {done.stderr.strip()}")


@contextmanager
def coming_in(context: BrowserContext) -> Iterator[ComeIn]:
    """What opens somebody's pages; what each of them must not do is told at the end. `further` watches for more."""
    troubles: list[str] = []

    def come_in(someone: Someone, path: str = "/", further: Watch | None = None) -> Page:
        page = context.new_page()
        watch(page, someone.url, troubles)
        if further is not None:
            further(page, someone.url, troubles)
        enter(page, someone)
        if path != "/":
            page.goto(someone.url + path)
        return page

    yield come_in
    assert not troubles, "\n".join(troubles)


def enter(page: Page, someone: Someone) -> None:
    """Come in, and on to the page that the door leads to."""
    page.goto(someone.way_in())
    page.wait_for_url(lambda url: urlsplit(url).path == "/")


def watch(page: Page, url: str, troubles: list[str]) -> None:
    """Note what no page may do that is served at this address."""

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            troubles.append(f"the console says: {message.text}")

    def asked(request: Request) -> None:
        leaves(request.url)

    def leaves(to: str) -> None:
        parts = urlsplit(to)
        if parts.scheme not in _OWN and parts.netloc != urlsplit(url).netloc:
            troubles.append(f"a request leaves the page's origin: {to}")

    page.on("console", said)
    page.on("pageerror", lambda error: troubles.append(f"a script fails: {error}"))
    page.on("request", asked)
    page.on("websocket", lambda socket: leaves(socket.url))


@contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that no page may ever ask: where it is, and what it was asked for all the same."""
    heard: list[str] = []

    class Ears(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            heard.append(self.rfile.readline(1_000).decode("latin-1"))
            self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), Ears) as server:
        listening = threading.Thread(target=server.serve_forever, args=(0.05,))
        listening.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", heard
        finally:
            server.shutdown()
            listening.join()
