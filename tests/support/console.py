# SPDX-License-Identifier: AGPL-3.0-or-later
"""A gateway with a console and people on it, in a thread of its own, so that tests may drive a browser beside it.

Its clock can be turned: an hour of history, and sessions that end, take no hour.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from gateway.administration import local_user
from gateway.administration import models as m
from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.console import Console
from gateway.settings import load_settings
from tests.support.gateway import SETTINGS, Desk, member
from tmtp_core import limits
from tmtp_core.domain.administration import Register
from tmtp_core.domain.port import Identity
from tmtp_core.wire import messages as m1
from tmtp_core.wire import revision2 as m2

T = TypeVar("T")

HOSTILE_NAMES = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }} ${7 * 7}")
"""Names that members may well choose."""
HOSTILE_NOTES = (*HOSTILE_NAMES, "annual report \u202efdp.exe")
"""Notes that administrators may well paste: the last one turns what follows it."""

REPORTED = (
    ("Alan Turing", "other", ""),
    ("Edsger Dijkstra", "abuse", "He goes on although I have asked him to stop. He wrote: “you will be sorry”"),
    (HOSTILE_NAMES[0], "spam", HOSTILE_NOTES[-1]),
    (HOSTILE_NAMES[1], "impersonation", HOSTILE_NAMES[1]),
)
"""Whom Ada Lovelace reports, why, and in what words; the first one is closed."""

_SETTINGS = SETTINGS.replace("{name: members,", "{name: members, title: Members of Example,").replace(
    "bridges:", '  - {name: branch, title: A New Branch, policy: members, listen: [{tls: "127.0.0.1:0"}]}\nbridges:'
)
_TIMEOUT_S = 60
_FAREWELL_S = limits.HTTP_STOP_GRACE_S + 0.5  # TLS says good-bye to browsers, which answer when they please


class TurnedClock(SystemClock):
    """The machine's clock, some seconds ahead; `behind_s`: by how much the time of day was turned back before."""

    def __init__(self, behind_s: float = 0.0) -> None:
        self.ahead_s = 0.0
        self._behind_s = behind_s

    def wall_ns(self) -> int:
        return super().wall_ns() + int((self.ahead_s - self._behind_s) * 1e9)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


class World:
    """The gateway and its people."""

    def __init__(
        self, folder: Path, administration: str = '{listen: "127.0.0.1:0"}', settings: str = _SETTINGS
    ) -> None:
        self.folder = folder
        self._administration = administration
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._stack = AsyncExitStack()  # of what is there until the end
        self.clock = TurnedClock()
        self.gateway: Gateway
        self.people: dict[str, Desk] = {}

    def do(self, work: Awaitable[T]) -> T:
        """Run it in the gateway's thread, to its end."""

        async def run() -> T:
            return await work

        future: Future[T] = asyncio.run_coroutine_threadsafe(run(), self._loop)
        return future.result(_TIMEOUT_S)

    def call(self, work: Callable[[], T]) -> T:
        """The same for something that is done at once."""

        async def run() -> T:
            return work()

        return self.do(run())

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

    @property
    def url(self) -> str:
        """Where the console is."""
        scheme = "https" if "certificate" in self._administration else "http"
        return f"{scheme}://localhost:{self.gateway.administration_address[1]}"

    @property
    def first(self) -> str:
        """The instance whose overview one comes to."""
        return next(iter(self.gateway.instances))

    @property
    def console(self) -> Console:
        """The console of the gateway."""
        assert self.gateway.console is not None
        return self.gateway.console

    def ask(self, operation: str, body: Any = None, **arguments: Any) -> Any:
        """An operation in the owner's name."""
        owner = self.gateway.administration.on_behalf_of(local_user())
        return self.do(owner.perform(operation, arguments, body))

    def link(self, person: str = "Ada Lovelace", role: Any = "owner") -> str:
        """A one-time link."""
        made: m.SignInLink = self.ask("console.link", m.CreateSignInLink(person=person, role=role))
        return made.url

    def join(self, instance: str, alias: str) -> Desk:
        """One more member, connected until the end."""
        desk = self.do(self._stack.enter_async_context(member(self.gateway, instance, alias)))
        self.people[alias] = desk
        return desk

    async def _begin(self) -> None:
        file = self.folder / "gateway.yaml"
        await asyncio.to_thread(file.write_text, f"administration: {self._administration}\n{self._settings}", "utf-8")
        self.gateway = Gateway(load_settings(file), self.clock, os.urandom)
        await self.gateway.start()

    async def _finish(self) -> None:
        await self._stack.aclose()
        await self.gateway.stop(grace_s=2.0)
        if "certificate" in self._administration or "https" in self._administration:
            await asyncio.sleep(_FAREWELL_S)

    def _end(self) -> None:
        try:
            if hasattr(self, "gateway"):
                self.do(self._finish())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_TIMEOUT_S)
            self._loop.close()


async def sign_in_as(world: World, uid: str, identity: Identity) -> None:
    """What a sign-in with a provider leaves, without a provider."""

    def bind(ledger: Register) -> None:
        account = ledger.account(uid)
        assert account is not None
        ledger.bind(account, identity, 1)

    await world.gateway.instances["members"].service.decide(bind)


def populate(world: World) -> None:
    """People, devices, groups, invitations, queues, an hour of history, and an audit log that tells of it."""
    for alias in (
        "Ada Lovelace",
        "Grace Hopper",
        "Katherine Johnson",
        "Alan Turing",
        "Edsger Dijkstra",
        *HOSTILE_NAMES,
    ):
        world.join("members", alias)
    ada, grace, katherine = (world.people[alias] for alias in ("Ada Lovelace", "Grace Hopper", "Katherine Johnson"))
    world.ask("groups.found", m.FoundGroup(gid="Sales Team", who="Ada Lovelace"), instance="members")
    world.do(ada.connection.group_invite("i1", "Sales Team", "Ada Lovelace", "Grace Hopper"))
    for number, (alias, reason, words) in enumerate(REPORTED):
        someone = world.people[alias]
        world.do(someone.connection.ping(f"r{number}", alias, "Ada Lovelace", "buy this"))
        world.do(ada.connection.ask(m2.Report(f"r{number}", someone.uid, reason, words)))
        if number == 0:
            world.ask(
                "reports.close", m.CloseReport(outcome="no_action", note="spoke to him"), instance="members", report=1
            )
    world.do(katherine.connection.quit())
    history = world.gateway.administration._instances["members"].history  # what the recorder takes every ten seconds
    for step in range(90):
        world.clock.ahead_s += 40
        for number in range(step % 7):
            request = f"p{step}-{number}"
            to = katherine if number == 0 else grace
            world.do(ada.connection.post(request, [m1.Recipient(to.uid, m1.TO_UID)], b"hello", from_="Ada Lovelace"))
        world.do(history.take())
    world.do(sign_in_as(world, grace.uid, Identity("https://id.example.org/realms/example", "grace.hopper")))
    world.ask("accounts.bar", instance="members", who="Edsger Dijkstra")
    world.ask("accounts.alias", m.GiveAlias(alias="Compiler Desk"), instance="members", who="Grace Hopper")
    for note in ("Margaret Hamilton, Engineering", "Open day", *HOSTILE_NOTES):
        world.ask("invitations.create", m.CreateInvitation(note=note, uses=1), instance="members")
    world.ask("tokens.create", m.CreateToken(name="monitoring", scopes=["overview:read", "queues:read"]))
