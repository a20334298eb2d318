# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a mail and where it came from to one verdict: asks the processes that look, and DNS for them."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal
from weakref import WeakValueDictionary

import msgspec

from bridges import limits
from bridges.smtp.peers import customer_of
from bridges.smtp.proof.author import Author, Header, HeaderRefused, dns_name, domain_of
from bridges.smtp.proof.dmarc import Alignment, Unsure
from bridges.smtp.proof.exchange import (
    Answer,
    ArcSet,
    Needs,
    Overtaxed,
    SignaturesAnswer,
    SignaturesOrder,
    SpfAnswer,
    SpfOrder,
)
from bridges.smtp.proof.resolver import Lookups, Resolver
from bridges.smtp.proof.results import Result, parse_results, trusted_results
from bridges.smtp.proof.verdict import SEALER, Claim, Finding, Verdict
from bridges.workers import WorkerFailed, WorkerOvertaxed, Workers


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose word counts: the sealers of ARC chains, and the name of the mail server in front ("": none)."""

    arc_sealers: frozenset[str] = frozenset()
    authserv_id: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a mail came from. `upstream`: from the listed server in front, so `peer` says nothing about the sender."""

    peer: str
    helo: str
    mail_from: str
    upstream: bool = False


class Prover:
    """Looks at mails until `stop`. `now_s`: the Unix time."""

    def __init__(self, resolver: Resolver, now_s: Callable[[], int], trust: Trust) -> None:
        self._resolver = resolver
        self._now_s = now_s
        self._trust = trust
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()  # of peers with some under way
        self._workers = Workers("bridges.smtp.proof.worker", limits.PROOF_WORKERS)

    async def stop(self) -> None:
        """End the processes."""
        await self._workers.stop()

    def lookups(self) -> Lookups:
        """A message's budget of DNS look-ups: for all that is asked about it, however often."""
        return Lookups(self._resolver)

    async def prove(
        self, mail: bytes, header: Header, origin: Origin, claims: Iterable[Claim], lookups: Lookups | None = None
    ) -> Verdict:
        """The verdict about a mail, as far as `claims` need it. `lookups`: its budget, where it is asked about again.

        Raises `HeaderRefused` for a header that names no single author, `WorkerFailed` when nothing can be looked at.
        """
        author = header.author()
        methods = {claim.method for claim in claims}
        if not methods:
            return Verdict(author)
        case = _Case(author, header, origin, self._trust, lookups or self.lookups())
        if "dkim" in methods:
            order = SignaturesOrder(self._now_s(), arc=bool(self._trust.arc_sealers))
            await case.signatures(await self._ask(order, mail, case.lookups, origin))
        if "spf" in methods and origin.peer and not origin.upstream:
            spf = SpfOrder(origin.peer, origin.mail_from, origin.helo)
            await case.spf(await self._ask(spf, b"", case.lookups, origin))
        await case.results()
        return await case.verdict()

    async def _ask(self, order: SpfOrder | SignaturesOrder, mail: bytes, lookups: Lookups, origin: Origin) -> Answer:
        """Ask until it needs no more records."""
        for _ in range(limits.PROOF_ROUNDS_MAX):
            asked = msgspec.json.encode(msgspec.structs.replace(order, known=lookups.known))
            try:
                async with self._turn(origin):
                    said = await self._workers.ask(asked, mail, limits.PROOF_WALL_S, limits.WORKER_ANSWER_MAX_BYTES)
            except WorkerOvertaxed as overtaxed:
                return Overtaxed(str(overtaxed))
            try:
                answer: Answer = msgspec.json.decode(said, type=Answer)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise WorkerFailed("what looks at a proof does not answer as it should") from None
            if not isinstance(answer, Needs):
                return answer
            await lookups.ask_all(answer.questions)
        return Overtaxed("it needs more DNS records than a mail may cost")

    def _turn(self, origin: Origin) -> asyncio.Semaphore:
        """A peer's turns at the processes; a server in front brings everybody's mail, and may have all of them."""
        share = limits.PROOF_WORKERS if origin.upstream or not origin.peer else limits.PROOF_WORKERS_PER_PEER
        return self._turns.setdefault(customer_of(origin.peer), asyncio.Semaphore(share))


class _Case:
    """What is gathered about one mail."""

    def __init__(self, author: Author, header: Header, origin: Origin, trust: Trust, lookups: Lookups) -> None:
        self.lookups = lookups
        self._author = author
        self._header = header
        self._origin = origin
        self._trust = trust
        self._alignment = Alignment(author.domain, lookups)
        self._findings: list[Finding] = []
        self._unsure: set[str] = set()
        self._notes: list[str] = []
        self._body = ""

    async def signatures(self, answer: Answer) -> None:
        """DKIM signatures and the ARC chain."""
        if not isinstance(answer, SignaturesAnswer):
            self._notes.append(f"DKIM: not looked at: {_why(answer)}")
            return
        self._body = answer.body
        for one in answer.signatures:
            state: Literal["pass", "fail", "temporary"] = "fail"
            if one.state in ("pass", "temporary"):
                state = "pass" if one.state == "pass" else "temporary"
            # Alignment costs look-ups, and is of no interest where nothing was proved.
            aligned = await self._aligned(one.domain, "adkim") if state != "fail" else one.domain == self._author.domain
            detail = f"{one.reason or one.algorithm}, s={one.selector}"
            covered = frozenset(one.covered)
            self._findings.append(Finding("dkim", one.domain, state, aligned, detail, covered=covered))
        if answer.too_many:
            self._notes.append(f"DKIM: {answer.too_many} further signatures were not looked at")
        await self._chain(answer)

    async def _chain(self, answer: SignaturesAnswer) -> None:
        """What listed sealers of a chain that holds saw: those from the last one back to the first unlisted."""
        if answer.chain == "temporary":
            self._unsure |= {"dkim", "spf"}
        if answer.chain != "none":
            self._notes.append(f"ARC: {answer.chain}{f': {answer.chain_reason}' if answer.chain_reason else ''}")
        for one in answer.sets:
            if one.sealer not in self._trust.arc_sealers:
                self._notes.append(f"ARC: sealed by {one.sealer}, who is not listed")
                break
            if not await self._sealed(one):
                self._notes.append(f"ARC: the results of {one.sealer} cannot be read")
                break

    async def _sealed(self, one: ArcSet) -> bool:
        """Whether its results could be read."""
        _, _, said = one.results.partition(";")  # i=1; authserv-id; …
        results = parse_results(said)
        for result in results.results if results is not None else ():
            await self._said(result, f"{SEALER}{one.sealer}")
        return results is not None

    async def spf(self, answer: Answer) -> None:
        """SPF of MAIL FROM; that of HELO is shown, and never aligned (RFC 9989 §4.4.2)."""
        if not isinstance(answer, SpfAnswer):
            self._notes.append(f"SPF: not looked at: {_why(answer)}")
            return
        domain = domain_of(self._origin.mail_from)
        state: Literal["pass", "fail", "temporary"] = "pass" if answer.result == "pass" else "fail"
        if answer.result == "temperror":
            state = "temporary"
        aligned = await self._aligned(domain, "aspf") if state != "fail" else domain == self._author.domain
        detail = answer.result if state == "fail" else f"{self._origin.peer} may send"
        if not domain:
            detail = f"{detail}, for HELO {self._origin.helo} only"
        self._findings.append(Finding("spf", domain, state, aligned, answer.reason if state == "temporary" else detail))

    async def results(self) -> None:
        """What the server in front says."""
        if self._origin.upstream and self._trust.authserv_id:
            for result in trusted_results(self._header, self._trust.authserv_id):
                await self._said(result, self._trust.authserv_id)

    async def _said(self, result: Result, by: str) -> None:
        """A result that somebody trusted saw."""
        if result.method == "dkim":
            domain = result.properties.get("header.d") or result.properties.get("header.i", "").rpartition("@")[2]
            tag = "adkim"
        elif result.method == "spf":
            sender = result.properties.get("smtp.mailfrom", "")
            domain, tag = sender.rpartition("@")[2], "aspf"
        else:
            return
        try:
            name = dns_name(domain.rstrip("."))
        except HeaderRefused:
            return
        state: Literal["pass", "fail", "temporary"] = "pass" if result.result == "pass" else "fail"
        if result.result == "temperror":
            state = "temporary"
        aligned = await self._aligned(name, tag) if state != "fail" else name == self._author.domain
        self._findings.append(Finding("dkim" if tag == "adkim" else "spf", name, state, aligned, result.result, by))

    async def verdict(self) -> Verdict:
        """All of it, with what DMARC makes of it."""
        passed = any(one.state == "pass" and one.aligned for one in self._findings)
        try:
            policy = await self._alignment.policy()
        except Unsure as unsure:
            note = f"DMARC: {self._author.domain}: {unsure}"
        else:
            wanted = policy.wanted(self._author.domain)
            where = f", of {policy.domain}" if policy.domain not in ("", self._author.domain) else ""
            note = f"DMARC: {self._author.domain}, {'pass' if passed else 'fail'}, "
            note += f"policy {wanted}{where}" if wanted else "no policy"
        notes = (*self._notes, note)
        return Verdict(self._author, tuple(self._findings), frozenset(self._unsure), notes, self._body)

    async def _aligned(self, domain: str, tag: str) -> bool | None:
        try:
            return await self._alignment.aligned(domain, tag)
        except Unsure:
            return None


def _why(answer: Answer) -> str:
    return answer.reason if isinstance(answer, Overtaxed) else "no answer"
