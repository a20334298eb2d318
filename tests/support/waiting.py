# SPDX-License-Identifier: AGPL-3.0-or-later
"""A spool and a hold with their database, parsers and log, in a folder; the service is one that does as it is told."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from bridges import limits
from bridges.mime import Letter
from bridges.mime.pool import ParserPool
from bridges.smtp.control import models as m
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.control.evidence import ActDone, Entry, Evidence, Found, MailDecided
from bridges.smtp.policy import replies
from bridges.smtp.policy.rules import Rules
from bridges.smtp.posts.mail import post_id
from bridges.smtp.posts.posting import AWAY, Accepted, Posted
from bridges.smtp.settings import Route
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.decisions import Decisions
from bridges.smtp.store.delivered import Correspondence, Delivered
from bridges.smtp.store.tables import sender
from bridges.smtp.waiting.holding import Holding
from bridges.smtp.waiting.kept import KeptPoster
from bridges.smtp.waiting.spool import Spool
from tests.support.instance import ManualClock

AUTHOR, SUPPORT, SALES = "ann@partner.example", "support@example.org", "sales@example.org"
ACCEPTED = Accepted(AUTHOR, "dkim=partner.example")


def a_mail(name: str, author: str = AUTHOR) -> bytes:
    """One mail; its Message-ID, subject and text are made of its name."""
    head = f"From: {author}\r\nTo: {SUPPORT}\r\nSubject: About {name}\r\nMessage-ID: <{name}@partner.example>\r\n\r\n"
    return f"{head}This is {name}.\r\n".encode()


def evidence(name: str, author: str = AUTHOR, found: tuple[Found, ...] = ()) -> Evidence:
    """What is known of it."""
    return Evidence(
        peer="192.0.2.7",
        mail_from=author,
        author=author,
        domain=author.rpartition("@")[2],
        mail=f"hash of {name}",
        size=100,
        looked=True,
        found=found or (Found("dkim", "partner.example", "pass", True),),
    )


class Service:
    """Takes posts, each id once as the real one does. `says`: what it does with those for a recipient."""

    def __init__(self, delivered: Delivered) -> None:
        self.there = asyncio.Event()
        self.there.set()
        self.says: defaultdict[str, str] = defaultdict(lambda: "delivered")
        self.got: list[tuple[str, str]] = []  # subjects and recipients, in order
        self.words: list[str] = []
        self.at_once, self.most_at_once = 0, 0
        self.takes_s = 0.0
        self._ids: set[str] = set()
        self._delivered = delivered

    async def is_there(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                await self.there.wait()
        except TimeoutError:
            return False
        return True

    async def post(self, mail: bytes, letter: Letter, accepted: Accepted, route: Route) -> Posted:
        post = post_id(accepted.author, route.recipient, letter, mail, accepted.signed_body)
        which = Correspondence(accepted.author, route.recipient)
        if (await self._delivered.known((post, post), which, letter)).delivered:
            return Posted("duplicate", replies.DELIVERED)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.takes_s)
        self.at_once -= 1
        if not self.there.is_set():
            return AWAY
        match self.says[route.recipient]:
            case "deferred":
                return Posted("deferred", replies.temporary("the recipient cannot be reached just now"))
            case "refused":
                return Posted("refused", replies.NOT_TAKEN)
        if post not in self._ids:
            self._ids.add(post)
            self.got.append((letter.subject, route.recipient))
            self.words.append(accepted.words)
        return Posted(
            "delivered",
            replies.DELIVERED,
            remember=lambda one: self._delivered.note(one, (post, post), which, letter, ""),
        )


class Vetting:
    """Makes records, as the real one: one for each address."""

    def __init__(self, database: BridgeDatabase) -> None:
        self._database = database
        self.refuses = ""

    async def vet(self, body: m.VetSender, by: str) -> m.Sender:
        if self.refuses:
            raise BridgeRefused("invalid", self.refuses)
        values = {
            "address": body.address or "",
            "domain": body.domain or "",
            "proof": msgspec.json.encode(body.proof).decode(),
            "owner": body.owner,
            "reason": body.reason,
            "source": "administrator",
            "created_ms": 1,
            "created_by": by,
            "state": "active",
            "why": "",
            "changed_ms": 1,
        }
        number = await self._database.write(
            lambda connection: connection.execute(sender.insert().values(values)).inserted_primary_key[0]
        )
        made = {**values, "number": number, "proof": body.proof, "expires_ms": None, "routes": None}
        nothing = {"quota_per_day": None, "today": 0, "passed_ms": None, "failed_ms": None, "failures": 0}
        return msgspec.convert({**made, **nothing}, m.Sender)


class Waiting:
    """All of it, opened as the intake opens it."""

    def __init__(self, folder: Path, parser: ParserPool, clock: ManualClock, mails_max: int, bytes_max: int) -> None:
        self.folder = folder
        self.clock = clock
        self.database = BridgeDatabase(folder / "bridge.sqlite3")
        self.delivered = Delivered(self.database, clock, os.urandom)
        self.service = Service(self.delivered)
        self.decisions = Decisions(self.database, clock, 400)
        self.vetting = Vetting(self.database)
        self.routes = {SUPPORT, SALES}
        kept = KeptPoster(folder / "spool", parser, self.service, self._route)  # type: ignore[arg-type]
        bounds = {"mails_max": mails_max, "bytes_max": bytes_max}
        self.spool = Spool(folder / "spool", self.database, kept, self._hold, self.decisions.append, clock, **bounds)
        self.holding = Holding(
            folder / "hold",
            self.database,
            kept,
            self.spool,
            self.vetting,
            self.decisions.append,
            clock,
            expires_days=14,
            **bounds,
        )

    async def open(self) -> None:
        await self.database.open()
        await self.delivered.open()
        await self.spool.open()
        await self.holding.open()

    async def close(self) -> None:
        await self.spool.stop()
        await self.holding.stop()
        await self.database.close()

    async def entries(self) -> list[Entry]:
        """The log of decisions, oldest first."""
        page = await self.decisions.page(None, 500)
        types = {"act": ActDone, "mail": MailDecided}
        return [msgspec.json.decode(one.body, type=types[one.kind]) for one in reversed(page.entries)]

    async def keep(self, name: str, *recipients: str, author: str = AUTHOR) -> bool:
        """Into the spool."""
        accepted = Accepted(author, "dkim=partner.example")
        recipients = recipients or (SUPPORT,)
        return await self.spool.keep(a_mail(name, author), accepted, evidence(name, author), list(recipients))

    async def hold(self, name: str, *recipients: str) -> int | None:
        """Into the hold."""
        recipients = recipients or (SUPPORT,)
        return await self.holding.keep(
            a_mail(name), ACCEPTED, evidence(name), f"About {name}", [*recipients], "unknown"
        )

    @asynccontextmanager
    async def draining(self) -> AsyncIterator[None]:
        """The spool runs for the length of the block."""
        running = asyncio.create_task(self.spool.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert running.cancelled() or not running.exception()

    async def emptied(self) -> None:
        """Wait until nothing waits in the spool."""
        async with asyncio.timeout(60):
            while self.spool.figures.mails:
                await asyncio.sleep(0.01)

    async def idle(self) -> None:
        """Wait until nothing that is due is left to do."""
        async with asyncio.timeout(60):
            while self.spool._busy or self.spool._first() is not None:
                await asyncio.sleep(0.01)

    def _route(self, recipient: str) -> Route | None:
        return Rules([], [Route(one) for one in self.routes]).route(recipient)

    async def _hold(
        self, mail: bytes, accepted: Accepted, known: Evidence, subject: str, recipients: list[str], why: str
    ) -> int | None:
        return await self.holding.keep(mail, accepted, known, subject, recipients, why)


@asynccontextmanager
async def waiting(
    folder: Path,
    parser: ParserPool,
    clock: ManualClock | None = None,
    mails_max: int = 1_000,
    bytes_max: int = 1 << 30,
) -> AsyncIterator[Waiting]:
    """Open it for the length of the block."""
    made = Waiting(folder, parser, clock or ManualClock(), mails_max, bytes_max)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has much else to do is no reason to call a mail unreadable."""
    monkeypatch.setattr(limits, "PARSE_WALL_S", 60.0)
    monkeypatch.setattr(limits, "WORKER_PIPE_S", 60.0)
