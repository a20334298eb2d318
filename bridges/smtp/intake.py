# SPDX-License-Identifier: AGPL-3.0-or-later
"""The intake: approved senders in, everybody else refused in the session (C2).

It runs whether the service is there or not, and says 451 meanwhile. Recipients are decided on at RCPT, where SMTP lets
each have its own answer; the proof of a sender needs the mail, so it is decided on after the data.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, func, select

from bridges import limits
from bridges.mime.pool import ParserPool
from bridges.smtp.answers.answering import Answering
from bridges.smtp.control import models as m
from bridges.smtp.control.evidence import Evidence
from bridges.smtp.desk import Desk
from bridges.smtp.desk import Rooms as DeskRooms
from bridges.smtp.line.session import GuardedSession, Traffic
from bridges.smtp.line.tls import server_context
from bridges.smtp.policy import replies
from bridges.smtp.posts.posting import Accepted, Poster
from bridges.smtp.posts.telling import Telling
from bridges.smtp.proof.prover import Origin, Prover
from bridges.smtp.proof.resolver import DnsResolver
from bridges.smtp.reports.replay import replay
from bridges.smtp.reports.report import report
from bridges.smtp.senders.correspondents import Correspondents
from bridges.smtp.senders.vetting import Vetting
from bridges.smtp.settings import Door, IntakeSettings, Route
from bridges.smtp.store.conversations import Conversations
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.decisions import Decisions
from bridges.smtp.store.delivered import Delivered
from bridges.smtp.store.tables import outgoing
from bridges.smtp.transaction.delivery import Delivery, Rooms
from bridges.smtp.transaction.gathering import Gathering, Transaction
from bridges.smtp.transaction.refusals import Refusals
from bridges.smtp.waiting.holding import Holding
from bridges.smtp.waiting.kept import KeptPoster
from bridges.smtp.waiting.spool import Spool
from tmtp_client.connection import Disconnected, Endpoint, Payload, PersistentConnection
from tmtp_core.clock import Clock
from tmtp_core.ids import RandomBytes
from tmtp_core.wire.messages import Delivery as Arrived
from tmtp_core.wire.revision2 import ReturnEvent, StoredEvent

log = structlog.get_logger()

_SOCKET_MODE = 0o660  # who is in the socket's group may hand in mail


class SmtpIntake:
    """Listens from `start` to `stop`. What it knows and keeps is in rooms of its own, which the desk asks."""

    def __init__(self, settings: IntakeSettings, clock: Clock, random_bytes: RandomBytes) -> None:
        self._settings = settings
        self._clock = clock
        self._database = BridgeDatabase(settings.database)
        self._delivered = Delivered(self._database, clock, random_bytes)
        self.decisions = Decisions(self._database, clock, settings.decisions_kept_days)
        self.correspondents = Correspondents(self._database, self.decisions, clock, settings.life_cycle, self._vets)
        uid, hostname = settings.login.uid, settings.hostname
        self._telling = Telling(settings.name, uid, hostname, settings.tell, clock, random_bytes)
        self._conversations = Conversations(clock)
        self.answering = Answering(settings, self._database, self._delivered, self._conversations, clock, self._telling)
        self.vetting = Vetting(
            settings.name,
            self._database,
            clock,
            settings.routes,
            settings.upstream,
            self.decisions.append,
            self.correspondents.cover,
            self._telling.tell,
            self._senders_changed,
        )
        self.spool: Spool
        self.holding: Holding
        self._delivery: Delivery
        self._service: PersistentConnection | None = None
        self._stops: list[Callable[[], Awaitable[None]]] = []  # of what has begun, in its order
        self._traffic: Traffic | None = None
        self._servers: list[tuple[Door, asyncio.Server]] = []
        self._loops: list[asyncio.Task[None]] = []
        self._asked = False  # clients, for their certificates
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def addresses(self) -> list[tuple[Door, str]]:
        """Every door, and where it is."""
        found = []
        for door, server in self._servers:
            host, port = server.sockets[0].getsockname()[:2] if door.path is None else (str(door.path), 0)
            found.append((door, f"{host}:{port}" if door.path is None else f"unix:{host}"))
        return found

    @property
    def address(self) -> tuple[str, int]:
        """Where its first TCP door is."""
        server = next(server for door, server in self._servers if door.path is None)
        host, port = server.sockets[0].getsockname()[:2]
        return host, port

    async def start(self, *, listening: bool = True) -> None:
        """Listen. Raises OSError when an address, the certificate, a folder or the database cannot be had.

        `listening` False: only the desk is there, for administrators.
        """
        try:
            self._stops.append(self._database.close)
            await self._database.open()
            await self._delivered.open()
            await self.correspondents.open()
            await self.vetting.open(self._settings.senders)
            await self.answering.open()
            await asyncio.to_thread(_empty_folder, self._settings.spool)
            await self._open_rooms()
            if listening:
                await self._listen()
        except OSError:
            await self.stop(0.0)
            raise

    async def _open_rooms(self) -> None:
        """What mail passes through. Nothing is heard of the service before what it says can be written down."""
        settings, database, clock = self._settings, self._database, self._clock
        parser = ParserPool()
        prover = Prover(DnsResolver(settings.nameservers), self._now_s, settings.trust)
        self._service = PersistentConnection(settings.endpoint, settings.login, self._heard)
        self._stops += [parser.stop, prover.stop, self._service.stop]
        self._telling.start(self._service)
        self.answering.start(self._service)
        self._stops.append(self._telling.stop)
        poster = Poster(
            settings.name, settings.login.uid, self._service, self._database, self._delivered, self._conversations
        )
        kept = KeptPoster(settings.spool, parser, poster, self._route)
        folder, append = settings.database.parent, self.decisions.append
        self.spool = Spool(folder / "waiting", database, kept, self._held, append, clock, **asdict(settings.waiting))
        self.holding = Holding(
            folder / "held", database, kept, self.spool, self.vetting, append, clock, **asdict(settings.hold)
        )
        self._stops += [self.holding.stop, self.spool.stop]
        await self.holding.open()
        await self.spool.open()
        gathering = Gathering(settings.name, prover, self._delivered.hashed)
        rooms = Rooms(
            gathering,
            parser,
            poster,
            self.vetting,
            self.correspondents,
            self.holding,
            self.spool,
            self.decisions,
            Refusals(),
            self._telling.tell,
        )
        self._delivery = Delivery(settings.name, settings.spool, database, clock, rooms, settings.invitation_url or "")

    @property
    def desk(self) -> Desk:
        """Where administrators are served, once it has started."""
        rooms = self.vetting, self.holding, self.correspondents, self.decisions
        return Desk(DeskRooms(*rooms, self._status, self._report, self._replay))

    async def _status(self) -> m.Status:
        """How it is now."""
        held, spooled = self.holding.figures, self.spool.figures
        now_ms = self._clock.wall_ns() // 1_000_000
        counting = [one for one in self.vetting.rules.senders if not one.expired(now_ms)]
        suspended = sum(bool(one.suspended) for one in counting)
        trouble = await self._trouble()
        away = [f"the service does not answer: {trouble}"] if trouble is not None else []
        return m.Status(
            name=self._settings.name,
            connected=trouble is None,
            sessions=len(self._traffic.sessions) if self._traffic is not None else 0,
            spooled=spooled.mails,
            spooled_bytes=spooled.size_bytes,
            held=held.mails,
            held_bytes=held.size_bytes,
            senders_active=len(counting) - suspended,
            senders_suspended=suspended,
            outgoing=await self._database.read(_outgoing),
            attention=[*away, *spooled.attention, *held.attention, *self.vetting.attention],
        )

    async def _trouble(self) -> str | None:
        """Why there is no link to the service just now, None where there is one."""
        assert self._service is not None
        try:
            await self._service.current(0)
        except (Disconnected, TimeoutError) as error:
            return self._service.trouble or str(error) or "no answer yet"
        return None

    async def _report(self) -> m.Report:
        return await report(self._database, self._clock.wall_ns() // 1_000_000)

    async def _replay(self, asked: m.Replay) -> m.ReplayAnswer:
        upstream = [str(network) for network in self._settings.upstream.networks]
        return await replay(self._database, asked, upstream, self._clock.wall_ns() // 1_000_000)

    @property
    def certificate(self) -> tuple[Path, Path]:
        """The PEM files of certificate and key."""
        assert self._settings.certificate is not None
        return self._settings.certificate

    def reload_certificate(self) -> None:
        """New sessions are shown what the files hold now. Raises OSError when they cannot be used together."""
        assert self._traffic is not None
        self._traffic.tls_context = self._tls_context()

    def _tls_context(self) -> Any:
        self._asked = self._some_are_known_by_key()
        return server_context(*self.certificate, ask_for_certificates=self._asked)

    def _some_are_known_by_key(self) -> bool:
        return any(sender.keys for sender in self.vetting.rules.senders)

    def _senders_changed(self) -> None:
        """Other records count: whoever is known by his certificate must be asked for it."""
        traffic = self._traffic
        if traffic is None or traffic.tls_context is None or self._asked == self._some_are_known_by_key():
            return
        try:
            traffic.tls_context = self._tls_context()
        except OSError as error:
            log.error("smtp_certificate_unusable", bridge=self._settings.name, error=str(error))

    async def _listen(self) -> None:
        settings = self._settings
        context = self._tls_context() if settings.certificate is not None else None
        self._traffic = Traffic(settings.limits, settings.proxies, context)
        for loop in (self.spool.run, self.holding.run, self._tidy):
            self._loops.append(asyncio.create_task(self._again(loop)))
        self._stops.append(self._stop_loops)
        for door in settings.doors:
            self._servers.append((door, await self._open(door)))

    async def _again(self, loop: Callable[[], Awaitable[None]]) -> None:
        """What goes on beside the sessions; a fault in it is said, and it goes on."""
        while True:
            try:
                await loop()
            except Exception:
                log.exception("smtp_loop_failed", bridge=self._settings.name, loop=loop.__qualname__)
            await asyncio.sleep(limits.LOOP_AGAIN_S)

    async def _tidy(self) -> None:
        """Take the steps that are due, and forget what is no longer kept."""
        while True:
            await self.correspondents.apply_rules(self._clock.wall_ns() // 1_000_000)
            await self.decisions.cut_off()
            await asyncio.sleep(limits.TIDY_EVERY_S)

    async def _open(self, door: Door) -> asyncio.Server:
        loop = asyncio.get_running_loop()

        def session() -> GuardedSession:
            assert self._traffic is not None
            return GuardedSession(_Handler(self), self._traffic, self._settings.hostname, door)

        if door.path is None:
            return await loop.create_server(session, door.host, door.port)
        await asyncio.to_thread(_make_way, door.path)
        server = await loop.create_unix_server(session, door.path)
        await asyncio.to_thread(door.path.chmod, _SOCKET_MODE)
        return server

    async def stop(self, grace_s: float) -> None:
        """Take no new mail, finish what is being posted, close."""
        for _, server in self._servers:
            server.close()
        try:
            await asyncio.wait_for(self._quiet.wait(), grace_s)
        except TimeoutError:
            log.warning("smtp_stopped_with_mail_under_way", bridge=self._settings.name, mails=self._busy)
        for session in list(self._traffic.sessions) if self._traffic is not None else ():
            session.abort()
        for door, _ in self._servers:
            if door.path is not None:
                await asyncio.to_thread(door.path.unlink, missing_ok=True)
        self._servers = []
        await self.answering.stop(grace_s)
        for stop in reversed(self._stops):
            await stop()
        self._stops = []

    async def _stop_loops(self) -> None:
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    def _now_s(self) -> int:
        return self._clock.wall_ns() // 1_000_000_000

    def follow(self, endpoint: Endpoint) -> None:
        """The service is to be known by another key from now on; a link that stands goes on."""
        if self._service is not None:
            self._service.endpoint = endpoint

    async def _heard(self, event: StoredEvent, payload: Payload) -> None:
        """What the service tells a bridge: what nobody took in time, and what members answer."""
        if isinstance(event, Arrived):
            await self.answering.take(event, payload)
        elif isinstance(event, ReturnEvent):
            log.warning("smtp_mail_not_delivered", bridge=self._settings.name, message=event.msgid, reason=event.reason)

    # The rooms know of each other what they need, by these.
    def _vets(self, address: str) -> bool:
        return self.vetting.vets(address)

    def _route(self, recipient: str) -> Route | None:
        return self.vetting.rules.route(recipient)

    async def _held(
        self, mail: bytes, accepted: Accepted, evidence: Evidence, subject: str, recipients: list[str], why: str
    ) -> int | None:
        return await self.holding.keep(mail, accepted, evidence, subject, recipients, why)

    # -- decisions ---------------------------------------------------------------------------------------------------
    def sender_refusal(self, mail_from: str, peer: str, key: bytes) -> str | None:
        """Why no mail of this envelope's sender would be taken in this session, or held, or told where to join; or
        None.
        """
        rules = self.vetting.rules
        if rules.hold_unknown or self._settings.invitation_url or self.correspondents.has_links:
            return None
        if rules.could_pass(mail_from, peer, key, upstream=self.comes_from_upstream(peer)):
            return None
        log.info("smtp_sender_refused", bridge=self._settings.name, sender=mail_from, peer=peer)
        return replies.plain(replies.no_sender(mail_from))

    def recipient_refusal(self, address: str, accepted: int) -> str | None:
        """Why this recipient is not taken, or None."""
        if accepted >= self._settings.limits.recipients_max:
            return replies.TOO_MANY_RECIPIENTS
        return replies.plain(replies.no_route(address)) if self.vetting.rules.route(address) is None else None

    def comes_from_upstream(self, peer: str) -> bool:
        """Whether this peer is a mail server in front of the bridge."""
        return peer in self._settings.upstream

    async def take(self, mail: Transaction) -> dict[str, str]:
        """Post one mail; the reply for each recipient."""
        self._busy += 1
        self._quiet.clear()
        try:
            return await self._delivery.take(mail)
        finally:
            self._busy -= 1
            if not self._busy:
                self._quiet.set()


def _outgoing(connection: Connection) -> int:
    """Members' answers that wait for the relay."""
    return connection.scalar(select(func.count()).where(outgoing.c.state == "waiting")) or 0


class _Handler:
    """aiosmtpd's hooks for one session."""

    def __init__(self, intake: SmtpIntake) -> None:
        self._intake = intake

    async def handle_EHLO(
        self, server: GuardedSession, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        tls = ["250-STARTTLS"] if server.starttls_offered else []
        return [*responses[:-1], *tls, "250-PIPELINING", "250 ENHANCEDSTATUSCODES"]

    async def handle_MAIL(
        self, server: GuardedSession, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        wrong = _path_wrong(address, utf8=envelope.smtp_utf8)
        if wrong is not None and address != _NULL:
            return wrong
        refusal = self._intake.sender_refusal(address.removeprefix(_NULL), session.peer[0], server.peer_key)
        if refusal is not None:
            return refusal
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: GuardedSession, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        refusal = _path_wrong(address, utf8=envelope.smtp_utf8) or self._intake.recipient_refusal(
            address, len(envelope.rcpt_tos)
        )
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: GuardedSession, session: Any, envelope: Any) -> str:
        peer = session.peer[0]
        helo = session.host_name.encode("ascii", "replace").decode()  # any octets may stand there
        origin = Origin(peer, helo, envelope.mail_from.removeprefix(_NULL), self._intake.comes_from_upstream(peer))
        mail = Transaction(origin, server.peer_key, tuple(envelope.rcpt_tos), envelope.original_content)
        try:
            got = await self._intake.take(mail)
        finally:
            server.mail_is_over()
        if server.door.lmtp:  # RFC 2033 §4.2: one for each RCPT, in their order
            return "\r\n".join(got[recipient] for recipient in envelope.rcpt_tos)
        return replies.one_for_all(got)

    async def handle_exception(self, error: Exception) -> str:
        log.error("smtp_session_failed", error=type(error).__name__)
        return "451 4.3.0 Something failed here, try again later"


_NULL = "<>"  # as aiosmtpd has the null sender


def _path_wrong(address: str, *, utf8: bool) -> str | None:
    """Why an address is none that SMTP could have (RFC 5321 §4.5.3.1, RFC 6531 §3.2), or None."""
    local = address.rpartition("@")[0]
    try:
        octets = address.encode()
    except UnicodeEncodeError:
        return "553 5.1.3 This address is not UTF-8"
    if len(octets) > limits.PATH_MAX_BYTES or len(local.encode()) > limits.LOCAL_PART_MAX_BYTES:
        return "501 5.1.3 This address is too long"
    if not address.isascii() and not utf8:
        return "553 5.6.7 An address outside ASCII needs SMTPUTF8"
    return None


def _make_way(path: Path) -> None:
    """A folder for a socket, without the socket of a process that is gone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.is_socket():
            path.unlink()


def _empty_folder(folder: Path) -> None:
    """A spool without what a crash left: such mail was never acknowledged, so its sender still has it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
