# SPDX-License-Identifier: AGPL-3.0-or-later
"""What becomes of a member's answer to somebody who writes by SMTP (C5).

By default it goes nowhere, and the member is told whom to invite. Where a route says `reply: smarthost` it goes out as
mail from that route, by the organisation's relay: to a correspondent of that route, and to nobody else; no address is
ever taken from what a member writes. No mail is ever answered by the bridge itself (RFC 3834).
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from sqlalchemy import Connection, select

from bridges import limits
from bridges.smtp.answers.composing import Answer, mail_of, read_answer
from bridges.smtp.answers.outgoing import FAILED, INVITE, Outbox, Outgoing
from bridges.smtp.answers.smarthost import MailDeferred, MailRefused, Relay, RelayAway, Session
from bridges.smtp.policy.rules import folded
from bridges.smtp.posts.posting import refused_for_now
from bridges.smtp.posts.telling import OWN_PROOF, Telling, own_address, own_words
from bridges.smtp.settings import IntakeSettings
from bridges.smtp.store.conversations import Conversation, Conversations
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.delivered import Correspondence, Delivered
from bridges.smtp.store.tables import correspondent
from tmtp_client.connection import Disconnected, Payload, PersistentConnection, Refused
from tmtp_core.clock import Clock
from tmtp_core.wire.messages import TO_UID, Delivery, Outsider, Recipient
from tmtp_core.wire.payload import PostHead, encode_post_head

log = structlog.get_logger()

_NEW_THREAD: Final = "it answers no mail that came here: answer in the thread of a mail"
_MACHINE: Final = "a machine wrote this mail, and nobody reads what is sent back"
_OWN: Final = "these are messages of the gateway itself: nobody reads what is written to it"
_FORBIDDEN: Final = re.compile(r"\b5\.7\.\d")  # RFC 3463 §3.8: perhaps of the mail, perhaps of what we may there
_PLAIN_ID: Final = re.compile(r"[^A-Za-z0-9.-]")


class Answering:
    """Takes answers from `open` to `stop`; `start` begins to send them."""

    def __init__(
        self,
        settings: IntakeSettings,
        database: BridgeDatabase,
        delivered: Delivered,
        conversations: Conversations,
        clock: Clock,
        telling: Telling,
    ) -> None:
        self._bridge = settings.name
        self._own_address = own_address(settings.hostname)
        self._routes = {route.recipient: route for route in settings.routes}
        self._invitation_url = settings.invitation_url
        self._size_max = settings.limits.message_max_bytes
        self._database = database
        self._delivered = delivered
        self._conversations = conversations
        self._tell = telling.tell
        self._relay = Relay(settings.smarthost) if settings.smarthost is not None else None
        folder = settings.database.parent / "outgoing"
        self.outbox = Outbox(folder, database, delivered, conversations, clock)
        self._mail_waits = asyncio.Event()
        self._word_waits = asyncio.Event()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Raises `OSError`."""
        await self.outbox.open()

    def start(self, service: PersistentConnection) -> None:
        """Send what waits, and tell members what is not sent."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._again(self._mail_waits, self._hand_over)),
            loop.create_task(self._again(self._word_waits, lambda: self._tell_members(service))),
        ]

    async def stop(self, grace_s: float) -> None:
        """Begin nothing more; what is not over by then is broken off, and tried again after the next start."""
        self._stopping = True
        self._mail_waits.set()
        self._word_waits.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def take(self, event: Delivery, payload: Payload) -> None:
        """An answer of a member's; when this returns, what it asks for is on the disk here.

        While the disk does not do its part it waits, and so does the answer at the service. Raises `Disconnected`.
        """
        data = await _beginning(payload, event.datalen if event.datalen <= self._size_max else event.datahead)
        while True:
            try:
                await self._take(event, data)
            except OSError as error:
                log.error("smtp_answer_not_kept", bridge=self._bridge, errno=error.errno)
                self._tell("An answer of a member cannot be kept: the disk of the bridge is full, or fails.", "disk")
                await asyncio.sleep(limits.OUTGOING_DISK_PAUSE_S)
            else:
                return

    # -- decisions ---------------------------------------------------------------------------------------------------
    async def _take(self, event: Delivery, data: bytes) -> None:
        if await self.outbox.known(event.id):
            return
        one = Outgoing(event.id, event.to, "", event.from_, "", "", FAILED)
        try:
            answer = read_answer(data, event.datahead, event.datalen)
        except ValueError as error:
            await self._refuse(one._replace(trouble=f"it cannot be read: {error}"))
            return
        one = one._replace(thread=answer.thread, subject=answer.subject)
        found = await self._database.read(lambda connection: self._ruling(connection, event, answer))
        if isinstance(found, str):
            await self._refuse(one._replace(state=FAILED if found else INVITE, trouble=found))
        elif event.datalen > self._size_max:
            too_large = f"it has {event.datalen} bytes; {self._size_max} are the most"
            await self._refuse(one._replace(recipient=found.recipient, trouble=too_large))
        else:
            await self._keep(one._replace(recipient=found.recipient), event, answer, found)

    def _ruling(self, connection: Connection, event: Delivery, answer: Answer) -> Conversation | str:
        """The conversation in which it may go out as mail, or why it may not: "" where its author is to be invited."""
        if event.to == self._own_address:
            return _OWN
        found = self._conversations.of(connection, answer.thread) if answer.thread else None
        if found is None or found.address.casefold() != event.to.casefold():
            mine = [route for route in self._routes.values() if route.to == event.alias and route.reply == "smarthost"]
            newest = [self._conversations.newest(connection, route.recipient, event.to) for route in mine]
            found = next(filter(None, newest), None)
            if found is None and any(
                self._conversations.newest(connection, route.recipient, event.to) for route in self._routes.values()
            ):
                return _NEW_THREAD
        route = self._routes.get(found.recipient) if found is not None else None
        if found is None or route is None or route.reply != "smarthost" or self._relay is None:
            return ""
        machine = select(correspondent.c.machine).where(correspondent.c.address == found.address)
        return _MACHINE if connection.execute(machine).scalar() == "null-sender" else found

    async def _keep(self, one: Outgoing, event: Delivery, answer: Answer, found: Conversation) -> None:
        """To go out as mail, under an id by which a second copy would be known."""
        if self.outbox.waiting >= limits.OUTGOING_MAX or self.outbox.waiting_bytes >= limits.OUTGOING_MAX_BYTES:
            self._tell("Too many answers wait for the relay: further ones are not taken.", "outgoing")
            await self._refuse(one._replace(trouble="too many answers wait to be sent"))
            return
        message_id = self._message_id(one)
        try:
            mail = await asyncio.to_thread(mail_of, answer, found, event.alias, message_id, self.outbox.now_ms())
        except Exception as error:  # whatever it is about this message, it would be so again
            log.exception("smtp_answer_not_composed", bridge=self._bridge, error=type(error).__name__)
            await self._refuse(one._replace(trouble="it cannot be written as a mail"))
            return
        bare = message_id.strip("<>")
        which = Correspondence(folded(found.address), folded(found.recipient))
        # What answers it comes into the same thread; a thread of the member's making is not one that mail can get into.
        thread = answer.thread if answer.thread == found.thread else ""

        def remember(connection: Connection) -> None:
            if thread:
                self._delivered.place(connection, which, bare, thread)

        await self.outbox.keep(one, mail, remember)
        log.info("smtp_answer_kept", bridge=self._bridge, to=one.address, message=event.id)
        self._mail_waits.set()

    def _message_id(self, one: Outgoing) -> str:
        """Of the mail that carries a message: the same whenever it is made."""
        host = _PLAIN_ID.sub("", one.recipient.rpartition("@")[2]) or "invalid"
        return f"<{self.outbox.mail_name(one.message)}@{host}>"

    async def _refuse(self, one: Outgoing) -> None:
        log.info("smtp_answer_not_sent", bridge=self._bridge, to=one.address, why=one.trouble or one.state)
        await self.outbox.refuse(one)
        self._word_waits.set()

    # -- sending -----------------------------------------------------------------------------------------------------
    async def _again(self, wakes: asyncio.Event, work: Callable[[], Awaitable[float]]) -> None:
        """Do it, and again when woken, or after as many seconds as it says."""
        while not self._stopping:
            wakes.clear()
            try:
                pause_s = await work()
            except OSError as error:
                log.error("smtp_answers_wait", bridge=self._bridge, errno=error.errno)
                pause_s = limits.OUTGOING_DISK_PAUSE_S
            except Exception:  # a fault of ours: else nothing more would be sent, and nobody would hear of it
                log.exception("smtp_loop_failed", bridge=self._bridge)
                pause_s = limits.LOOP_AGAIN_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s if not self._stopping else 0.0):
                    await wakes.wait()

    async def _hand_over(self) -> float:
        """Hand over what is due; how long to wait then. Raises `OSError`."""
        await self.outbox.settle()
        due = await self.outbox.due()
        if due and self._relay is None:
            for one in due:
                await self._failed(one, "answers are not sent as mail any more")
        elif due and self._relay is not None:
            left = list(due)
            try:
                async with self._relay.session() as session:
                    while left and not self._stopping:
                        await self._send(session, left[0])
                        left.pop(0)
            except RelayAway as away:
                self._tell(f"Answers of members wait: the relay does not take them. {away}", "relay")
                await self._postpone(left, str(away))
        await self.outbox.forget()
        next_ms = await self.outbox.next_ms()
        if next_ms is None:
            return limits.OUTGOING_LOOK_S
        return min(max((next_ms - self.outbox.now_ms()) / 1_000, 0.0), limits.OUTGOING_LOOK_S)

    async def _send(self, session: Session, one: Outgoing) -> None:
        """One mail. Raises `RelayAway` where it and all others wait."""
        try:
            mail = await asyncio.to_thread(self.outbox.file(one.message).read_bytes)
        except FileNotFoundError:
            await self._failed(one, "its file is gone")
            return
        try:
            await session.send(mail, one.recipient, one.address)
        except MailDeferred as deferred:
            if deferred.ours:
                self._tell(f"Answers of members wait: {deferred}", f"relay {one.recipient}")
            await self._postpone([one], str(deferred))
        except MailRefused as refused:
            if _FORBIDDEN.search(str(refused)):
                self._tell(f"The relay refuses an answer from {one.recipient}. {refused}", f"relay {one.recipient}")
            await self._failed(one, f"the mail server did not take it: {refused}")
        else:
            # Killed before this is on the disk, it is sent once more: with the same Message-ID (docs/decisions/0024).
            await self.outbox.sent(one, self._message_id(one))
            log.info("smtp_answer_sent", bridge=self._bridge, to=one.address, message=one.message)

    async def _postpone(self, some: list[Outgoing], why: str) -> None:
        if await self.outbox.postpone(some, why):
            self._word_waits.set()

    async def _failed(self, one: Outgoing, why: str) -> None:
        log.warning("smtp_answer_failed", bridge=self._bridge, to=one.address, why=why)
        await self.outbox.failed(one, why)
        self._word_waits.set()

    # -- telling members ---------------------------------------------------------------------------------------------
    async def _tell_members(self, service: PersistentConnection) -> float:
        """Tell everybody whose answer was not sent; how long to wait then. Raises `OSError`."""
        for one in await self.outbox.owed():
            try:
                await self._told(service, one)
            except (Disconnected, TimeoutError):
                return limits.TELL_AGAIN_S
            except Refused as refused:
                if refused_for_now(refused):
                    return limits.TELL_AGAIN_S
                log.warning("smtp_member_not_told", bridge=self._bridge, error=str(refused))
            await self.outbox.told(one)
        return limits.OUTGOING_LOOK_S

    async def _told(self, service: PersistentConnection, one: Outgoing) -> None:
        """In the thread of the answer, as its correspondent, in the bridge's words. Raises as `post` does."""
        alias = f"{one.address} (by SMTP)"
        head = encode_post_head(PostHead(threadid=one.thread, alias=alias, subject=one.subject or "(no subject)"))
        data = head + own_words(self._words(one)).encode()
        connection = await service.current(limits.SERVICE_WAIT_S)
        await connection.post(
            f"smtp-not-sent-{self.outbox.mail_name(one.message)}",
            [Recipient(one.member, TO_UID)],
            data,
            datahead=len(head),
            as_=Outsider(one.address, OWN_PROOF),
        )

    def _words(self, one: Outgoing) -> str:
        """What a member is told."""
        if one.state != INVITE:
            return f"Your message to {one.address} was not sent: {one.trouble}."
        where = f", at {self._invitation_url}" if self._invitation_url else ""
        return (
            f"Your message was not sent: {one.address} still writes by SMTP, and cannot be answered from here yet.\n"
            f"Ask an administrator to invite {one.address}{where}.\n"
            "In this thread you are told so once a day."
        )


async def _beginning(payload: Payload, size: int) -> bytes:
    """So many octets of a message at least, or all of it; of a head that is too long, no more than a head may have."""
    data = bytearray()
    if size:
        async for piece in payload:
            data += piece
            if len(data) >= size:
                break
    return bytes(data)
