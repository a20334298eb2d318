# SPDX-License-Identifier: AGPL-3.0-or-later
"""One instance: links come in, decisions are committed, effects go out. The only door into the domain.

Everything here runs on one thread, the event loop's, but the decisions themselves, which the writer makes
inside its transaction. An effect of a decision (an ack, a delivery, presence) leaves only after its commit.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from tmtp_core import limits
from tmtp_core.administering import Administering
from tmtp_core.beside_others import BesideOthers
from tmtp_core.clock import Clock
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.possession import NO_TLS, Channel, greeting_proof
from tmtp_core.crypto.signing import NONCE_BYTES, Signer
from tmtp_core.domain.accounts import Accounts
from tmtp_core.domain.admission import Admissions, Registration
from tmtp_core.domain.device_log import DeviceLogs
from tmtp_core.domain.devices import Devices
from tmtp_core.domain.facts import Journal
from tmtp_core.domain.invitations import Invitations
from tmtp_core.domain.outcome import NO_DEVICE, Answer, Asker, Copy, Moment, Outcome
from tmtp_core.domain.policy import Policy
from tmtp_core.domain.port import Message, without_content
from tmtp_core.domain.posting import Posting
from tmtp_core.domain.presence import PresenceBoard
from tmtp_core.domain.registering import RegistrationLimits, RegistrationPace
from tmtp_core.domain.rules import Rules
from tmtp_core.domain.sign_in import SignInRule
from tmtp_core.domain.window import DeliveryWindow
from tmtp_core.entrance import Entrance
from tmtp_core.errors import ServiceUnavailable
from tmtp_core.ids import RandomBytes
from tmtp_core.latency import Latencies
from tmtp_core.limits import InstanceLimits
from tmtp_core.outlet import Outlet
from tmtp_core.reception import Reception
from tmtp_core.room import Room
from tmtp_core.schema import DatabaseUnfit
from tmtp_core.session import NONE_INTERRUPTED, Session
from tmtp_core.store.database import Store
from tmtp_core.store.folders import make_folder
from tmtp_core.store.ledger import SqlLedger
from tmtp_core.store.opening import opened_bus, opened_database, opened_payloads
from tmtp_core.store.payloads import Backlog, Upload
from tmtp_core.store.places import Bucket
from tmtp_core.store.trouble import database_errors, error_text
from tmtp_core.store.writer import Job, PageRead, Result, Writer
from tmtp_core.upkeep import Upkeep
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What makes one instance different from another.

    `credential_key`: see `tmtp_core.crypto.credentials`; `signing_seed`: of the service's own Ed25519 key, by which
    clients know it; `skin`: the bytes of its look (B2), empty for none; `database`: the URL of a PostgreSQL database
    that other processes may serve too, None for SQLite in `folder`; `bucket`: where its large payloads are, None for
    files in `folder`; `journal`: what is told what no older backup may undo, for SQLite only.
    """

    name: str
    title: str
    folder: Path
    registration: Registration
    credential_key: bytes
    signing_seed: bytes
    policy: Policy = field(default_factory=Policy)
    limits: InstanceLimits = field(default_factory=InstanceLimits)
    registrations: RegistrationLimits = field(default_factory=RegistrationLimits)
    sign_in: SignInRule | None = None
    skin: bytes = b""
    database: str | None = None
    bucket: Bucket | None = None
    journal: Journal | None = None


class Service(Administering, BesideOthers):
    """A TMTP service instance over its own database and payloads.

    Construct it on the thread of the event loop that will call it, `start` it, and `await stop()`.
    Raises `DatabaseInUse`, `DatabaseTooNew`, `DatabaseUnfit` or OSError when its data cannot be opened.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        clock: Clock,
        random_bytes: RandomBytes,
        in_loop: Callable[[Callable[[], None]], None],
        report: Callable[[str, dict[str, object]], None],
    ) -> None:
        self.settings = settings
        self.message_max_bytes = settings.limits.message_max_bytes
        self.in_loop = in_loop
        self._clock = clock
        self._random_bytes = random_bytes
        self._report = report
        self.identity = Signer(settings.signing_seed)
        self._skin_sig = self.identity.sign(m2.SKIN, settings.skin)  # once: it takes milliseconds for a large one
        logs = DeviceLogs(self.identity)
        admissions = Admissions(settings.registration, settings.credential_key, settings.sign_in)
        self.rules = Rules(
            admissions,
            Accounts(settings.credential_key, random_bytes, admissions),
            Devices(self.identity, logs, random_bytes, admissions),
            logs,
            Invitations(admissions, random_bytes),
            Posting(random_bytes),
        )
        payload_folder = settings.folder / "payloads"
        make_folder(payload_folder)
        self._database: Store = opened_database(settings.folder, settings.database)
        owner, sharing = self.identity.public_key, self._database.sharing
        self.payloads = opened_payloads(payload_folder, settings.bucket, owner, sharing, random_bytes, report)
        self._writer = Writer(
            self._database,
            self.payloads,
            self.identity.public_key,
            in_loop,
            report,
            self._told_by_others,
            settings.journal,
        )
        self._writer.evicted = self._is_evicted
        self._recognise_keys()
        BesideOthers.__init__(self, opened_bus(self._database, in_loop, report))
        self._sessions: set[Session] = set()  # until their connections are gone, also those that have ended
        self._links: dict[int, Session] = {}  # device -> the link it is logged in by
        self._by_uid: dict[str, tuple[Session, ...]] = {}  # mostly of one: a set takes four times as much
        self._arriving: dict[Session, int] = {}  # devices that were let in, and whose links do not know it yet
        self._interrupted: dict[int, frozenset[int]] = {}  # what was in flight to devices that left; a window each
        self._board = PresenceBoard()
        self._entrance = Entrance(self, self._links)
        self._reception = Reception(
            self, self._entrance.enter, RegistrationPace(settings.registrations), self.identity.public_key
        )
        self.room = Room(self.payloads.backlog, in_loop)
        self._looking = asyncio.Semaphore(limits.LOOKS_AT_ONCE_MAX)
        self.upkeep = Upkeep(self, self._writer, clock.monotonic_s())
        self._stopping = False
        self._deliveries = 0
        self.ack_latencies = Latencies()  # from the last sending of a delivery to its device's ack

    # -- life --------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Begin to commit."""
        self._writer.start()
        self._start_listening()

    def abandon(self) -> None:
        """Give up a service that was not started: close its database."""
        self.payloads.close()
        self._database.close()

    async def stop(self) -> None:
        """End all links, commit what was asked, close the database. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        await self._reception.stop()
        for session in list(self._sessions):
            session.end(None)
        await asyncio.to_thread(self.payloads.end_uploads)
        await asyncio.sleep(0)  # the posts whose payloads the threads have just finished are submitted now
        self.upkeep.write_received()
        self._writer.stop()
        await asyncio.to_thread(self._shut_down)

    def tick(self) -> None:
        """Once a second: deadlines, contests, upkeep."""
        now_s = self._clock.monotonic_s()
        for session in list(self._sessions):
            session.sweep()
        self._entrance.settle_contests(now_s)
        self._say_that_it_lives()
        self.upkeep.tick(now_s)

    def connect(self, outlet: Outlet, spki_hashes: tuple[bytes, ...] = (NO_TLS,)) -> Session | None:
        """A new link, or None when there are as many as the instance allows.

        `spki_hashes`: SHA-256 of the SPKI of the certificates that its peer may see.
        """
        if not self.has_room:
            return None
        session = Session(self, outlet, spki_hashes)
        self._sessions.add(session)
        return session

    @property
    def has_logs(self) -> bool:
        """Whether there are accounts with keys, whose logs only this service's key continues."""
        return self._writer.ledger.has_logs

    @property
    def has_room(self) -> bool:
        """Whether one more link is taken."""
        if self._stopping or self.evicted.is_set():
            return False
        return len(self._sessions) < self.settings.limits.connections_max

    @property
    def healthy(self) -> bool:
        """Whether the last commit worked."""
        return self._writer.figures.healthy and not self._stopping and self.hears_others

    def figures(self) -> dict[str, float]:
        """Gauges and counters for `/metrics`."""
        written = self._writer.figures
        references = self._writer.ledger.references
        return {
            "links": len(self._sessions),
            "devices_connected": len(self._links),
            "messages_queued": references.messages,
            "commits_total": written.commits,
            "decisions_total": written.jobs,
            "posts_total": self._writer.ledger.posts,
            "acks_total": written.acks,
            "commit_failures_total": written.failures,
            "deliveries_total": self._deliveries,
            "processes": self.processes,
            "healthy": float(self.healthy),
        }

    # -- for administration (`tmtp_core.administering`) ---------------------------------------------------------------
    async def look(self, work: Callable[[Connection], T]) -> T:
        """Read what is committed, beside the writer; few at once. Raises `ServiceUnavailable`."""
        async with self._looking:
            try:
                return await asyncio.to_thread(self._database.read, work)
            except database_errors() as error:
                self._report("not_read", {"error": error_text(error)})
                raise ServiceUnavailable("the database could not be read; try again") from None

    def linked_devices(self) -> frozenset[int]:
        """Devices whose links this process has."""
        return frozenset(self._links)

    async def decide(
        self,
        decide: Callable[[SqlLedger], T],
        released: Callable[[T], None] = lambda result: None,
        cuts: Callable[[T], Mapping[int, str]] = lambda result: {},
    ) -> T:
        """Have the writer run a decision; its result, once it is durable. Raises what it raised.

        `released` lets its effects go, in their place among those of other decisions; `cuts` are links that end, also
        in other processes.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(result: Any) -> None:
            try:
                if not isinstance(result, Exception):
                    released(result)
            finally:
                if future.cancelled():
                    pass
                elif isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)

        self._writer.submit(
            Job(decide, done, cuts=lambda result: {} if isinstance(result, Exception) else cuts(result))
        )
        return await future

    # -- for sessions (`tmtp_core.session.Host`) ---------------------------------------------------------------------
    def greet(self, session: Session) -> m.TmtpRevAnswer | None:
        """The answer to op 0, or None where revision 1 was asked for and is not spoken.

        `auth` and `authby` only when sign-in is configured (wire.md §3.2).
        """
        settings, rule = self.settings, self.settings.sign_in
        auth = 0 if rule is None else 2 if rule.required else 1
        providers = self.rules.admissions.announced(session.revision, self.moment(), self._random_bytes)
        if session.revision == 1:
            return m.TmtpRevAnswer("1", settings.title, auth, providers) if settings.policy.revision1 else None
        nonce = self._random_bytes(NONCE_BYTES)
        session.channels = tuple(Channel(nonce, self.identity.public_key, spki) for spki in session.spki_hashes)
        return m.TmtpRevAnswer(
            m2.REVISION,
            settings.title,
            auth,
            providers,
            service=m.ServiceKey(
                self.identity.public, "members" if settings.policy.members else "public", settings.title
            ),
            nonce=to_text(nonce),
            proofs=tuple(greeting_proof(self.identity, channel) for channel in session.channels),
            features=self._features(),
            limits=m.AnnouncedLimits(
                header=limits.HEADER_MAX_BYTES,
                message=settings.limits.message_max_bytes,
                ping=limits.PING_MAX_UTF16_UNITS,
                window=settings.limits.window_revision2,
                queue=0,
            ),
            work=self._reception.announce(session),
        )

    def announce(self, request: m2.ServiceInfo) -> Answer:
        """The answer to op 18: the look, signed with the service's key."""
        skin = self.settings.skin
        return Answer(m2.Skin(request.id, self._skin_sig, len(skin)), skin)

    def moment(self) -> Moment:
        """Now and under these rules, for a decision."""
        return Moment(self._clock.wall_ns(), self.settings.policy)

    def monotonic_s(self) -> float:
        """Now, for waiting."""
        return self._clock.monotonic_s()

    def submit(self, job: Job) -> None:
        """Hand a decision to the writer."""
        self._writer.submit(job)

    def acknowledge(self, device: int, message: Message, sent_s: float | None = None) -> None:
        """A device keeps a message, which was sent to it then; None: it was never shown."""
        if sent_s is not None:
            self.ack_latencies.record(self._clock.monotonic_s() - sent_s)
        self._writer.acknowledge(device, int(message.rank), message.number)

    def new_backlog(self) -> Backlog:
        """A count of what one link's uploads have not yet handed to the disk."""
        return Backlog(self.payloads.backlog)

    def new_upload(self, size: int, backlog: Backlog, on_progress: Callable[[], None]) -> Upload:
        """A payload on its way in; `on_progress` hears when the disk took a piece."""

        def progressed() -> None:
            on_progress()
            self.room.relieve()

        return Upload(self.payloads, size, backlog, partial(self.in_loop, progressed))

    def discard(self, files: tuple[str, ...]) -> None:
        """Payloads of a post that will not be."""
        if files and not self._stopping:  # else the next start sweeps them away
            self.payloads.executor.submit(self.payloads.unlink, files)

    def request_page(self, session: Session) -> None:
        """Fetch what waits for a session's device."""
        assert session.window is not None
        assert session.asker is not None
        came = partial(self._page_came, session, session.window)
        self._writer.read_page(PageRead(session.asker.device, session.window.page_size, came))

    def first_page(self, session: Session) -> Callable[[Result], PageRead | None]:
        """What waits for a device that enters on this link, to be read in the transaction that lets it in."""

        def reads(result: Result) -> PageRead | None:
            if not isinstance(result, Outcome) or result.enters is None or result.restricted:
                return None
            self._arriving[session] = result.enters.device
            came = partial(self._page_came, session, None)
            return PageRead(result.enters.device, limits.DELIVERY_READY_MAX, came)

        return reads

    def _page_came(
        self,
        session: Session,
        asked_for: DeliveryWindow | None,
        messages: Sequence[Message],
        complete: bool,
    ) -> None:
        """`asked_for` None: the link's first page."""
        announced = asked_for is None and self._was_announced(session)
        window = session.window
        if window is None or asked_for not in {None, window}:
            return  # the link has ended
        window.page(messages, complete=complete)
        if announced:
            window.behind()
        session.pump()

    def enter(self, session: Session, request: m.Login | m.Register | m2.LoginByKey | m2.RegisterKeys) -> None:
        """Op 1 or 2 came on a link."""
        self._reception.receive(session, request)

    def stays_out(self, session: Session) -> None:
        """A log-in on this link was not granted."""
        self._arriving.pop(session, None)

    def shows_life(self, session: Session) -> None:
        """A link whose node another link wants was heard of."""
        self._entrance.shows_life(session)

    def admit(self, session: Session, outcome: Outcome) -> None:
        """A log-in is durable: `info` is the first thing the link hears (wire.md §3.5), then what waits for it."""
        asker = outcome.enters
        if type(outcome.answers[0]) is m.Registered:
            self._reception.opened()
        if session.open and asker is not None:
            chosen = self.settings.limits
            window = chosen.window_revision1 if asker.revision == 1 else chosen.window_revision2
            for answer in outcome.answers:
                if isinstance(answer, m.Info) and not outcome.restricted:
                    self._inform(session, asker, answer, 0 if asker.revision == 1 else window)
                else:
                    session.send(answer)
        if session.open and asker is not None:  # it was until its answers were sent: one may not fit a header
            if asker.device != NO_DEVICE:
                self._links[asker.device] = session
                self.has_claimed(asker.device)
            if not outcome.restricted:  # who is told of others' presence
                self._by_uid[asker.uid] = (*self._by_uid.get(asker.uid, ()), session)
            interrupted = self._interrupted.pop(asker.device, NONE_INTERRUPTED)
            session.entered(asker, window, interrupted, restricted=outcome.restricted)
        elif asker is not None:
            self.has_claimed(asker.device)
            self.release(asker.device)
        self._cut(outcome)
        self.deliver(outcome.copies)

    def released(self, session: Session, outcome: Outcome) -> None:
        """A decision is durable: its copies and its presence may be seen."""
        if outcome.presence is not None and session.asker is not None and session.open:
            uid = session.asker.uid
            self._tell_presence(uid, self._board.edit(uid, session, outcome.presence))
            self._show_elsewhere(session, uid, outcome.presence)
        if outcome.hidden is not None:
            self.hidden_elsewhere(*outcome.hidden)
            self.siblings.hide(*outcome.hidden)
        self._cut(outcome)
        self.deliver(outcome.copies, by=session.asker.device if session.asker is not None else NO_DEVICE)

    def gone(self, session: Session) -> None:
        """A link has ended; its connection may still be closing."""
        self._entrance.left(session)
        self._reception.left(session)
        asker = session.asker
        if asker is None:
            return
        if self._links.get(asker.device) is session:
            del self._links[asker.device]
            self.release(asker.device)
            if session.interrupted:
                self._interrupted[asker.device] = session.interrupted
        links = tuple(link for link in self._by_uid.pop(asker.uid, ()) if link is not session)
        if links:
            self._by_uid[asker.uid] = links
        self._tell_presence(asker.uid, self._board.link_closed(asker.uid, session))
        self._go_elsewhere(session, asker.uid)
        self._entrance.made_room(session)

    def disconnected(self, session: Session) -> None:
        """The connection of a link is gone."""
        self._sessions.discard(session)
        self.room.leave(session)

    # -- effects -----------------------------------------------------------------------------------------------------
    def deliver(self, copies: Iterable[Copy], by: int = NO_DEVICE) -> None:
        """Offer committed messages to the devices that are connected; `by`: whose device has posted them.

        Where something that it posted by way of another process may be under way, they are read from the store instead,
        which has all of them in order.
        """
        touched: dict[Session, None] = {}
        if not self.is_settled(by):
            self.queued_elsewhere([device for copy in copies for device in (*copy.devices, *copy.hidden)])
            return
        for copy in copies:
            for device in copy.devices:
                link = self._links.get(device)
                if link is not None and link.window is not None:
                    link.window.offer(copy.message)
                    touched[link] = None
                    self._deliveries += 1
            for device in copy.hidden:
                link = self._links.get(device)
                if link is not None and link.window is not None:
                    link.window.offer(without_content(copy.message))
                    touched[link] = None
        for link in touched:
            link.pump()

    def busy_devices(self) -> frozenset[int]:
        """Devices that may be taking what waits for them. From any thread: who arrives is looked at first."""
        arriving = list(self._arriving.values())
        links = list(self._links.items())
        return frozenset([*arriving, *(device for device, link in links if link.window is not None)])

    def _inform(self, session: Session, asker: Asker, info: m.Info, window: int) -> None:
        """`info`, with who is present; whom it has no room for follow as `ohi`."""
        present = self._board.present_for(asker.uid)
        session.send(m.Info(info.info, present[: limits.OHI_IN_INFO_MAX], window=window, head=info.head))
        for other in present[limits.OHI_IN_INFO_MAX :]:
            session.send(m.Ohi(other, 1))

    def _cut(self, outcome: Outcome) -> None:
        """Cut the links of devices that may not go on, also those that have ended and still send (B4)."""
        if outcome.cuts:
            self._cut_links(outcome.cuts)
            self.upkeep.give_back()  # what waited for a device that was the last of its account

    def _cut_links(self, cuts: Mapping[int, str]) -> None:
        for session in list(self._sessions):
            if session.asker is not None and session.asker.device in cuts:
                session.cut(cuts[session.asker.device])
        for device in cuts:
            self._interrupted.pop(device, None)

    def _features(self) -> tuple[str, ...]:
        """What a client may offer here."""
        policy = self.settings.policy
        offered = {
            "directory": policy.directory,
            "invitations": policy.members_invite,
            "skin": bool(self.settings.skin),
            "revision1": policy.revision1,
            m2.REPORTS: True,
        }
        return tuple(name for name, there in offered.items() if there)

    def _tell_presence(self, uid: str, changes: Iterable[tuple[str, int]]) -> None:
        """`ohi` to every connected node of those concerned; lost where the link is busy (wire.md §6)."""
        for other, status in changes:
            for link in self._by_uid.get(other, ()):
                if link.open and not link.outlet.congested:
                    link.send(m.Ohi(uid, status))

    def _recognise_keys(self) -> None:
        """Processes that serve one database have the same keys. Raises `DatabaseUnfit` where this one has others."""
        if self._database.sharing is None:
            return
        keys = {"service.key": self.identity.public_key, "credential.key": self.settings.credential_key}
        strange = self._database.do(lambda connection: self._writer.ledger.recognise(connection, keys))
        if strange is not None:
            self.abandon()
            raise DatabaseUnfit(
                f"{strange} is not the one with which this database was first served: copy service.key and"
                f" credential.key to {self.settings.folder} from there, or from the backup"
            )

    def _shut_down(self) -> None:
        """On a thread of its own: wait for the writer."""
        if self._writer.is_alive():
            self._writer.join()
        self.payloads.close()
        self._stop_listening()
        self._database.close()
