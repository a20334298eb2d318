# SPDX-License-Identifier: AGPL-3.0-or-later
"""DNS, asked by this process only, with a budget for each message (C2).

What looks at untrusted bytes (SPF, DKIM, ARC) runs elsewhere and only says which records it needs; they are fetched
here, at most `limits.DNS_LOOKUPS_MAX` of them within `limits.DNS_WALL_S` for one message, and each question once.
"""

import asyncio
import ipaddress
from collections.abc import Iterable
from typing import Any, Protocol

from msgspec import Struct

from bridges import limits


class Question(Struct, frozen=True):
    """What is asked: a name without its last dot, in lower case, and A, AAAA, MX, PTR or TXT."""

    name: str
    kind: str


class Answered(Struct, frozen=True):
    """What came back. `values`: a TXT's octets joined, an address or a name as text, `preference name` for MX.

    No values: there is no such record. `failed`: nothing is known, for now. `spent`: not asked; the budget was used up.
    """

    question: Question
    values: tuple[bytes, ...] = ()
    failed: bool = False
    spent: bool = False


class LookupFailed(Exception):
    """No answer, or none that can be believed: temporary."""


class Resolver(Protocol):
    """Where answers come from; tests have their own."""

    async def resolve(self, question: Question, timeout_s: float) -> tuple[bytes, ...]:
        """The records, or none. Raises `LookupFailed`."""


class DnsResolver:
    """The resolver of this machine, or these `nameservers` (an IP address and a port each).

    It keeps nothing: name servers do that, with regard to what an answer says about how long, and dnspython keeps the
    news that there is no record for ever where it came without an SOA.
    """

    def __init__(self, nameservers: Iterable[tuple[str, int]] = ()) -> None:
        # ruff: noqa: PLC0415 - 4 MB that a gateway without a bridge does without
        import dns.asyncresolver
        import dns.nameserver

        given = [dns.nameserver.Do53Nameserver(str(ipaddress.ip_address(host)), port) for host, port in nameservers]
        self._resolver = dns.asyncresolver.Resolver(configure=not given)
        if given:
            self._resolver.nameservers = given

    async def resolve(self, question: Question, timeout_s: float) -> tuple[bytes, ...]:
        """The records, CNAMEs followed. Raises `LookupFailed`."""
        import dns.exception
        import dns.resolver

        try:
            answer = await self._resolver.resolve(
                question.name + ".", question.kind, search=False, raise_on_no_answer=False, lifetime=timeout_s
            )
        except dns.resolver.NXDOMAIN:
            return ()
        except (dns.resolver.NoNameservers, dns.resolver.YXDOMAIN, dns.exception.Timeout, OSError) as error:
            raise LookupFailed(f"{question.name}: {type(error).__name__}") from None
        except (dns.exception.DNSException, UnicodeError, ValueError):
            return ()  # no name that DNS could know
        return tuple(_value(record, question.kind) for record in answer.rrset or ())


def _value(record: Any, kind: str) -> bytes:
    """One record as it is handed on."""
    if kind == "TXT":
        return b"".join(record.strings)
    if kind == "MX":
        return f"{record.preference} {record.exchange.to_text(omit_final_dot=True)}".encode()
    if kind == "PTR":
        return bytes(record.target.to_text(omit_final_dot=True).encode())
    return bytes(record.address.encode())


class Lookups:
    """The budget of one message. Each question is asked once."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._known: dict[Question, Answered] = {}
        self._left = limits.DNS_LOOKUPS_MAX
        self._left_s = limits.DNS_WALL_S  # of waiting for DNS; what else a mail waits for is not its fault

    @property
    def known(self) -> tuple[Answered, ...]:
        """All answers so far."""
        return tuple(self._known.values())

    async def ask(self, name: str, kind: str) -> Answered:
        """The answer to one question."""
        return (await self.ask_all((Question(name.rstrip(".").lower(), kind),)))[0]

    async def ask_all(self, questions: Iterable[Question]) -> list[Answered]:
        """The answers, in order; new questions are asked at the same time."""
        wanted = list(questions)
        new = [one for one in dict.fromkeys(wanted) if one not in self._known]
        for late in new[self._left :]:
            self._known[late] = Answered(late, spent=True)
        now = new[: self._left]
        self._left -= len(now)
        begun_s = asyncio.get_running_loop().time()
        for answered in await asyncio.gather(*(self._one(question) for question in now)):
            self._known[answered.question] = answered
        self._left_s -= asyncio.get_running_loop().time() - begun_s
        return [self._known[question] for question in wanted]

    async def _one(self, question: Question) -> Answered:
        if self._left_s <= 0:
            return Answered(question, failed=True)
        try:
            async with asyncio.timeout(self._left_s):
                values = await self._resolver.resolve(question, self._left_s)
        except (LookupFailed, TimeoutError):
            return Answered(question, failed=True)
        short = tuple(value for value in values if len(value) <= limits.DNS_VALUE_MAX_BYTES)
        return Answered(question, short[: limits.DNS_VALUES_MAX])
