# SPDX-License-Identifier: AGPL-3.0-or-later
"""One mail: read its header, prove its author, parse it, post it; an answer for each recipient (C2, D1).

`250` is said only after the service has acknowledged the post. Temporary trouble is always 4xx; the same mail sent
again is posted under the same ids and stored once.
"""

import asyncio
import errno
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from bridges.mime import Letter, ParserPool, Unparsable
from bridges.mime.pool import ParserFailed
from bridges.smtp import replies
from bridges.smtp.posting import AWAY, Accepted, MailFile, Posted, Poster
from bridges.smtp.proof.author import Author, HeaderRefused, canonical_address, read_header
from bridges.smtp.proof.prover import Origin, Prover
from bridges.smtp.proof.verdict import Standing
from bridges.smtp.rules import Rules, SenderRule, covered_fields, shortfall
from bridges.smtp.store.database import BridgeDatabase
from bridges.workers import WorkerFailed

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Transaction:
    """One mail as it came. `key`: SHA-256 of the key of the client's certificate."""

    origin: Origin
    key: bytes
    recipients: tuple[str, ...]
    content: bytes


@dataclass(frozen=True, slots=True)
class _Proved:
    """Whose mail it is, and by which rule.

    Where signatures alone prove it: the fields that they leave out, and a hash of the body that they cover.
    """

    author: Author
    rule: SenderRule
    uncovered: frozenset[str] = frozenset()
    signed_body: str = ""


class _Answered(Exception):
    """The answer is known, the same for all recipients."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


class Delivery:
    """Takes mails; `bridge`: its name."""

    def __init__(
        self,
        bridge: str,
        rules: Rules,
        spool: Path,
        prover: Prover,
        parser: ParserPool,
        poster: Poster,
        database: BridgeDatabase,
    ) -> None:
        self._bridge = bridge
        self._rules = rules
        self._spool = spool
        self._prover = prover
        self._parser = parser
        self._poster = poster
        self._database = database

    async def take(self, mail: Transaction) -> dict[str, str]:
        """The reply for each recipient."""
        try:
            got = await self._take(mail)
        except _Answered as answered:
            got = dict.fromkeys(mail.recipients, answered.reply)
        except OSError as error:
            log.exception("smtp_spool_failed", bridge=self._bridge, errno=error.errno)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reply = replies.DISK_FULL if full else replies.temporary("the spool failed")
            got = dict.fromkeys(mail.recipients, reply)
        return {recipient: replies.plain(reply) for recipient, reply in got.items()}

    async def _take(self, mail: Transaction) -> dict[str, str]:
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._spool))
        try:
            path = folder / "mail"
            await asyncio.to_thread(path.write_bytes, mail.content)
            proved = await self._proved(path, mail)
            letter = await self._parsed(path, folder, proved.author)
            return await self._post(proved, letter, mail, path)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _proved(self, path: Path, mail: Transaction) -> _Proved:
        """Whose mail this is, proved as his rule wants it. Raises `_Answered` else."""
        try:
            header = read_header(mail.content)
            author = header.author()
        except HeaderRefused as refused:
            raise _Answered(replies.unreadable(refused)) from None
        rule = self._rules.sender(author)
        if rule is None:
            self._refused(author, mail, "not approved")
            raise _Answered(replies.not_approved(author.address))
        origin = mail.origin
        shown = rule.session_proves(origin.peer, mail.key, upstream=origin.upstream)
        if not shown or not rule.allows_envelope(origin.mail_from):
            self._refused(author, mail, "another session or envelope")
            raise _Answered(replies.wrong_session(author.address))
        try:
            verdict = await self._prover.prove(path, header, origin, rule.claims)
        except WorkerFailed as failed:
            log.error("smtp_proof_failed", bridge=self._bridge, error=str(failed))
            raise _Answered(replies.temporary("the proof cannot be looked at")) from None
        standing, failing = shortfall(rule, verdict)
        if standing is not Standing.HOLDS:
            self._refused(author, mail, standing.value, verdict.trace)
            unsure = standing is Standing.UNSURE
            raise _Answered(
                replies.unsure(failing) if unsure else replies.unproved(author.address, failing, verdict.trace)
            )
        log.info("smtp_sender_proved", bridge=self._bridge, sender=author.address, trace=verdict.trace)
        covered = covered_fields(rule, verdict)
        if covered is None:
            return _Proved(author, rule)
        return _Proved(author, rule, frozenset(name for name, _ in header.fields) - covered, verdict.body)

    def _refused(self, author: Author, mail: Transaction, why: str, trace: tuple[str, ...] = ()) -> None:
        peer = mail.origin.peer or "unix"
        log.info("smtp_sender_refused", bridge=self._bridge, sender=author.address, peer=peer, why=why, trace=trace)

    async def _parsed(self, path: Path, folder: Path, author: Author) -> Letter:
        try:
            letter = await self._parser.parse(path, folder)
        except Unparsable as unparsable:
            reason = unparsable.reason.value
            log.info("smtp_mail_unparsable", bridge=self._bridge, sender=author.address, reason=reason)
            raise _Answered(replies.unreadable(unparsable)) from None
        except ParserFailed as failed:
            log.error("smtp_parser_failed", bridge=self._bridge, error=str(failed))
            raise _Answered(replies.temporary("the parser is not available")) from None
        if not _same(letter.sender, author):  # two readers of one header must not read two authors
            raise _Answered(replies.unreadable("its From header can be read in two ways"))
        return letter

    async def _post(self, proved: _Proved, letter: Letter, mail: Transaction, path: Path) -> dict[str, str]:
        """One post a route, each under its own id."""
        accepted = Accepted(
            proved.author.address, proved.rule.words, tuple(sorted(proved.uncovered)), proved.signed_body
        )
        by_route: dict[str, Posted] = {}
        got: dict[str, str] = {}
        for recipient in mail.recipients:
            route = self._rules.route(recipient)
            if route is None:
                got[recipient] = replies.no_route(recipient)
                continue
            name = route.recipient
            if name not in by_route and any(posted.away for posted in by_route.values()):
                by_route[name] = AWAY  # no second wait for a service that did not answer
            elif name not in by_route:
                by_route[name] = await self._poster.post(MailFile(path, mail.content), letter, accepted, route)
            got[recipient] = by_route[name].reply
        remembered = [posted.remember for posted in by_route.values() if posted.remember is not None]
        if remembered:
            await self._database.write(lambda connection: [remember(connection) for remember in remembered])
        return got


def _same(address: str, author: Author) -> bool:
    """Whether an address is the author's; its domain may be written in letters outside ASCII."""
    return canonical_address(address) == author.address
