# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can be known of a mail before it is decided on: its author, who wrote it, and what proves it (C2, D1).

Nothing here decides. What is looked up costs DNS and CPU, so it is looked at as far as a decision needs it.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import structlog
from msgspec.structs import replace

from bridges import limits
from bridges.smtp.control.evidence import Evidence, Found
from bridges.smtp.policy import policy, replies
from bridges.smtp.policy.rules import Rules, SenderRule, covered_fields
from bridges.smtp.posts.posting import Accepted
from bridges.smtp.proof.author import Header, HeaderRefused, read_header
from bridges.smtp.proof.prover import Origin, Prover
from bridges.smtp.proof.resolver import Lookups
from bridges.smtp.proof.verdict import Claim, Finding, Standing, Verdict
from bridges.smtp.transaction.machines import machine_of
from bridges.workers import WorkerFailed

log = structlog.get_logger()

_EVERYTHING: Final = (Claim("dkim"), Claim("spf"))  # of no domain: only what is looked at counts
_BY_NOBODY: Final = "nobody has proved it"


@dataclass(frozen=True, slots=True)
class Transaction:
    """One mail as it came. `key`: SHA-256 of the key of the client's certificate."""

    origin: Origin
    key: bytes
    recipients: tuple[str, ...]
    content: bytes


@dataclass(frozen=True, slots=True)
class Gathered:
    """All about one mail. `names`: of its header's fields. `trouble`: a reply, where it cannot be looked at now."""

    evidence: Evidence
    verdict: Verdict | None = None
    names: frozenset[str] = frozenset()
    trouble: str = ""

    @property
    def seen(self) -> tuple[str, ...]:
        """What was found, for people."""
        return self.verdict.trace if self.verdict is not None else ()

    def but(self, evidence: Evidence) -> "Gathered":
        """The same with more known of it."""
        return dataclasses.replace(self, evidence=evidence)

    def in_trouble(self, reply: str) -> "Gathered":
        """The same, and it cannot be looked at just now."""
        return dataclasses.replace(self, trouble=reply)

    def accepted(self, record: SenderRule | None) -> Accepted:
        """What is known of it where it is accepted: as the record proves it, or else as it shows itself.

        What nobody has proved names no mail and no conversation: whoever releases it sees a text, not those.
        """
        author, verdict = self.evidence.author, self.verdict
        if record is not None and policy.claimed(record, self.evidence).standing is Standing.HOLDS:
            words = record.words
            covered = None if verdict is None else covered_fields(record, verdict)
            session = bool(record.networks or record.keys) or verdict is None
        else:
            shown = [one for one in verdict.findings if one.state == "pass" and one.aligned] if verdict else []
            words = ", ".join(f"{one.method}={one.domain}" for one in shown) or _BY_NOBODY
            session = any(one.covered is None for one in shown)
            covered = frozenset[str]().union(*(one.covered or () for one in shown))
        if session or covered is None:
            return Accepted(author, words, mail=self.evidence.mail)
        body = verdict.body if verdict is not None and covered else ""
        return Accepted(author, words, tuple(sorted(self.names - covered)), body, self.evidence.mail)


class Gathering:
    """Gathers evidence. `named`: a keyed hash of a mail's marks, as `Delivered.hashed`."""

    def __init__(self, bridge: str, prover: Prover, named: Callable[..., bytes]) -> None:
        self._bridge = bridge
        self._prover = prover
        self._named = named

    async def gather(self, mail: Transaction, rules: Rules, now_ms: int, matters: Callable[[str], bool]) -> Gathered:
        """The evidence of a mail.

        `matters`: whether it matters whether a mail is its author's, also where no record asks. A record's proof that
        holds is enough.
        """
        origin = mail.origin
        bare = Evidence(
            peer=origin.peer,
            mail_from=origin.mail_from,
            author="",
            domain="",
            mail=self._mail("", mail.content),
            size=len(mail.content),
            upstream=origin.upstream,
            helo=origin.helo,
            key=mail.key.hex(),
        )
        try:
            header = read_header(mail.content)
            author = header.author()
        except HeaderRefused as refused:
            return Gathered(replace(bare, unreadable=str(refused)))
        evidence = replace(
            bare,
            author=author.address,
            domain=author.domain,
            mail=self._mail(author.address, mail.content, header),
            machine=machine_of(header, author.address, origin.mail_from),
        )
        names = frozenset(name for name, _ in header.fields)
        try:
            every = matters(author.address)
            return await self._proved(mail, Gathered(evidence, None, names), header, rules, now_ms, every)
        except WorkerFailed as failed:
            log.error("smtp_proof_failed", bridge=self._bridge, error=str(failed))
            return Gathered(evidence, None, names, replies.temporary("the proof cannot be looked at"))

    async def _proved(
        self, mail: Transaction, bare: Gathered, header: Header, rules: Rules, now_ms: int, every: bool
    ) -> Gathered:
        record, lookups = rules.sender(bare.evidence.author), self._prover.lookups()
        claims: tuple[Claim, ...] = ()
        if record is not None and not record.expired(now_ms) and policy.claimed(record, bare.evidence).session:
            claims = record.claims
            got = await self._looked(mail, bare, header, claims, lookups)
            if not every or policy.claimed(record, got.evidence).standing is not Standing.FAILS or got.evidence.looked:
                return got
        return await self._looked(mail, bare, header, _EVERYTHING, lookups) if every else bare

    async def _looked(
        self, mail: Transaction, bare: Gathered, header: Header, claims: tuple[Claim, ...], lookups: Lookups
    ) -> Gathered:
        if not claims:
            return bare
        verdict = await self._prover.prove(mail.content, header, mail.origin, claims, lookups)
        # What passes is kept before what does not: a server in front may have much to say.
        findings = sorted(verdict.findings, key=lambda one: one.state != "pass")[: limits.EVIDENCE_FINDINGS_MAX]
        evidence = replace(
            bare.evidence,
            looked={claim.method for claim in claims} == {"dkim", "spf"},
            found=tuple(_found(one) for one in findings),
            unsure=tuple(sorted(verdict.unsure)),
            notes=tuple(note[: limits.REPLY_TEXT_MAX] for note in verdict.notes),
        )
        return Gathered(evidence, verdict, bare.names)

    def _mail(self, author: str, content: bytes, header: Header | None = None) -> str:
        """A name for a mail, the same however often it comes, whatever relays on the way add to its header."""
        marks, body = list[str](), content
        if header is not None:
            marks = header.all("message-id") or [*header.all("date"), *header.all("subject")]
            _, _, body = content.partition(b"\r\n\r\n")
        return self._named("evidence", author, *marks, blake2b(body, digest_size=20).hexdigest()).hex()


def _found(one: Finding) -> Found:
    return Found(one.method, one.domain, one.state, one.aligned, one.by)
