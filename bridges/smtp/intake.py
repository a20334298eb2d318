# SPDX-License-Identifier: AGPL-3.0-or-later
"""The intake: approved senders in, everybody else refused in the session (C2).

`250` is said only after the service has acknowledged the post for every recipient. Temporary trouble is
always 4xx; the same mail sent again is posted under the same ids and stored once.
"""

import asyncio
import errno
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import structlog

from bridges import limits
from bridges.mime import Letter, ParserPool, Unparsable
from bridges.mime.pool import ParserFailed
from bridges.smtp.database import BridgeDatabase, Correspondence
from bridges.smtp.mail import MailPost, post_id
from bridges.smtp.rules import IntakeSettings, Route, Rules, folded
from bridges.smtp.session import GuardedSession, Traffic
from tmtp_client.connection import Disconnected, Payload, PersistentConnection, Refused
from tmtp_core.clock import Clock
from tmtp_core.ids import RandomBytes
from tmtp_core.wire.messages import TO_UID, Outsider, Recipient
from tmtp_core.wire.revision2 import ReturnEvent, StoredEvent

log = structlog.get_logger()

_NOT_APPROVED = "550 5.7.1 This service takes mail only from approved senders; {} is not one, or not from your address"
_NO_ROUTE = "550 5.1.1 {} is not reached by SMTP here"
_OTHER_FROM = "550 5.7.1 The From header must name exactly the approved sender {}, and no other"
_UNPARSABLE = "554 5.6.0 This mail cannot be read: {}"
_TEMPORARY = "451 4.3.0 Cannot be delivered just now, try again later: {}"
_DISK_FULL = "452 4.3.1 No room for this mail just now, try again later"
_PROOF = "network"  # how an approved sender's address is proved in this release
_FOR_NOW = re.compile(r"^quota: | yet$")  # what the service refuses only for now (docs/protocol.md)


class SmtpIntake:
    """Listens from `start` to `stop`. It runs whether the service is there or not, and says 451 meanwhile."""

    def __init__(self, settings: IntakeSettings, clock: Clock, random_bytes: RandomBytes) -> None:
        self._settings = settings
        self._rules = Rules(settings)
        self._traffic = Traffic(settings.limits)
        self._parser = ParserPool()
        self._database = BridgeDatabase(settings.database, clock, random_bytes)
        self._service: PersistentConnection | None = None
        self._server: asyncio.Server | None = None
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def start(self) -> None:
        """Listen. Raises OSError when the address, the spool or the database cannot be had."""
        settings = self._settings
        await self._database.open()
        await asyncio.to_thread(_empty_folder, settings.spool)
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: GuardedSession(_Handler(self), self._traffic, settings.hostname), settings.host, settings.port
            )
        except OSError:
            await self._database.close()
            raise
        self._service = PersistentConnection(settings.endpoint, settings.login, self._heard)

    async def stop(self, grace_s: float) -> None:
        """Take no new mail, finish what is being posted, close."""
        if self._server is not None:
            self._server.close()
        try:
            await asyncio.wait_for(self._quiet.wait(), grace_s)
        except TimeoutError:
            log.warning("smtp_stopped_with_mail_under_way", bridge=self._settings.name, mails=self._busy)
        for session in list(self._traffic.sessions):
            session.abort()
        if self._service is not None:
            await self._service.stop()
        await self._parser.stop()
        await self._database.close()

    async def _heard(self, event: StoredEvent, payload: Payload) -> None:
        """What the service tells a bridge: above all, what nobody took in time."""
        if isinstance(event, ReturnEvent):
            log.warning("smtp_mail_not_delivered", bridge=self._settings.name, message=event.msgid, reason=event.reason)

    # -- decisions ---------------------------------------------------------------------------------------------------
    def sender_refusal(self, address: str, peer: str) -> str | None:
        """Why mail from this sender is not taken, or None."""
        if self._rules.sender(address, peer) is not None:
            return None
        log.info("smtp_sender_refused", bridge=self._settings.name, sender=address, peer=peer)
        return _NOT_APPROVED.format(address or "<>")

    def recipient_refusal(self, address: str, accepted: int) -> str | None:
        """Why this recipient is not taken, or None."""
        if accepted >= self._settings.limits.recipients_max:
            return "452 4.5.3 Too many recipients"  # RFC 5321 §4.5.3.1.10: the sender splits its mail
        if self._rules.route(address) is None:
            return _NO_ROUTE.format(address)
        return None

    async def take(self, sender: str, recipients: list[str], content: bytes) -> str:
        """Post one mail to all its recipients; the reply to DATA."""
        self._busy += 1
        self._quiet.clear()
        try:
            return await self._take(sender, recipients, content)
        except OSError as error:
            log.exception("smtp_spool_failed", bridge=self._settings.name, errno=error.errno)
            return _DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else _TEMPORARY.format("the spool failed")
        finally:
            self._busy -= 1
            if not self._busy:
                self._quiet.set()

    async def _take(self, sender: str, recipients: list[str], content: bytes) -> str:
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._settings.spool))
        try:
            path = folder / "mail"
            await asyncio.to_thread(path.write_bytes, content)
            letter = await self._parser.parse(path, folder)
            if folded(letter.sender) != folded(sender):
                return _OTHER_FROM.format(sender)
            return await self._post(sender, recipients, letter, content, path)
        except Unparsable as unparsable:
            log.info("smtp_mail_unparsable", bridge=self._settings.name, sender=sender, reason=unparsable.reason.value)
            return _UNPARSABLE.format(unparsable)
        except ParserFailed as failed:
            log.error("smtp_parser_failed", bridge=self._settings.name, error=str(failed))
            return _TEMPORARY.format("the parser is not available")
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _post(self, sender: str, recipients: list[str], letter: Letter, content: bytes, mail: Path) -> str:
        """One post a recipient, each under its own id; an answer for all of them."""
        routes = {route.recipient: route for one in recipients if (route := self._rules.route(one)) is not None}
        try:
            for route in routes.values():
                await self._post_to(route, sender, letter, content, mail)
        except (Disconnected, TimeoutError) as error:
            log.warning("smtp_service_away", bridge=self._settings.name, error=str(error) or "no answer")
            return _TEMPORARY.format("the service is away")
        except Refused as refused:
            log.warning("smtp_post_refused", bridge=self._settings.name, error=str(refused))
            if _FOR_NOW.search(str(refused)):
                return _TEMPORARY.format("the recipient cannot be reached just now")
            return f"550 5.7.1 The service does not take this: {refused}"
        return "250 2.0.0 Delivered to the service"

    async def _post_to(self, route: Route, sender: str, letter: Letter, content: bytes, mail: Path) -> None:
        """One mail to one route, once: what was delivered within a week is not delivered again."""
        assert self._service is not None
        post = post_id(sender, route.recipient, letter, content)
        if await self._database.is_delivered(post):
            log.info("smtp_mail_known", bridge=self._settings.name, sender=sender)
            return
        which = Correspondence(folded(sender), folded(route.recipient))
        place = await self._database.place(which, letter)
        made = MailPost(letter, sender, self._settings.login.uid, route, place, mail, len(content))
        connection = await self._service.current(limits.SERVICE_WAIT_S)
        acked = await connection.post(
            post,
            [Recipient(route.recipient, TO_UID)],
            made.pieces(),
            made.size,
            len(made.head),
            as_=Outsider(sender, _PROOF),
        )
        await self._database.record(post, which, letter, place.thread)
        log.info("smtp_mail_delivered", bridge=self._settings.name, sender=sender, message=acked.msgid)


class _Handler:
    """aiosmtpd's hooks for one session."""

    def __init__(self, intake: SmtpIntake) -> None:
        self._intake = intake

    async def handle_EHLO(
        self, server: GuardedSession, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-ENHANCEDSTATUSCODES", responses[-1]]

    async def handle_MAIL(
        self, server: GuardedSession, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        refusal = self._intake.sender_refusal(address, session.peer[0])
        if refusal is not None:
            return refusal
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: GuardedSession, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        refusal = self._intake.recipient_refusal(address, len(envelope.rcpt_tos))
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: GuardedSession, session: Any, envelope: Any) -> str:
        try:
            return await self._intake.take(envelope.mail_from, envelope.rcpt_tos, envelope.original_content)
        finally:
            server.mail_is_over()

    async def handle_exception(self, error: Exception) -> str:
        log.error("smtp_session_failed", error=type(error).__name__)
        return "451 4.3.0 Something failed here, try again later"


def _empty_folder(folder: Path) -> None:
    """A spool without what a crash left: such mail was never acknowledged, so its sender still has it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
