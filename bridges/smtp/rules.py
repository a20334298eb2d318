# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may write, and who can be reached (C2): default deny.

A sender is whom the From header names. Every proof that its rule lists must hold.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bridges.smtp.proof.author import Author, canonical_address, domain_of
from bridges.smtp.proof.prover import Trust
from bridges.smtp.proof.verdict import Claim, Standing, Verdict
from tmtp_client.connection import Endpoint, KeyLogin

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Networks:
    """Addresses of peers, and "unix": a socket of this machine, which only its users reach."""

    networks: tuple[Network, ...] = ()
    unix: bool = False

    def __contains__(self, peer: str) -> bool:
        if not peer:
            return self.unix
        try:
            ip = ipaddress.ip_address(peer)
        except ValueError:
            return False
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class SenderRule:
    """An approved sender: an address (canonical), or all of a domain (the other is ""); what must hold, all of it.

    `networks`: the peer is in each. `keys`: each is the SHA-256 of the client certificate's key. `claims`: of the mail.
    """

    address: str = ""
    domain: str = ""
    networks: tuple[Network, ...] = ()
    keys: tuple[bytes, ...] = ()
    claims: tuple[Claim, ...] = ()

    def session_proves(self, peer: str, key: bytes, *, upstream: bool) -> bool:
        """Whether what the session shows is what this rule wants of it.

        `upstream`: the peer is a mail server in front; its address and certificate say nothing about a sender.
        """
        if upstream and (self.networks or self.keys):
            return False
        return all(peer in Networks((network,)) for network in self.networks) and all(key == one for one in self.keys)

    def allows_envelope(self, mail_from: str) -> bool:
        """Whether this envelope's sender may carry mail of this sender.

        Where the mail itself is proved, any may: returned mail goes to machines. Where only the session is, it must be
        the sender's own, so that an approved machine that relays for others does not pass them on.
        """
        if self.claims:
            return True
        return canonical_address(mail_from) == self.address if self.address else domain_of(mail_from) == self.domain

    @property
    def words(self) -> str:
        """How mail under this rule is proved, in short."""
        shown = ["network"] * bool(self.networks) + ["client_certificate"] * bool(self.keys)
        return ", ".join([*shown, *(f"{one.method}={one.domain or 'aligned'}" for one in self.claims)])


@dataclass(frozen=True, slots=True)
class Route:
    """Mail for `recipient` may pass; where it leads is the service's business, which calls it `to`.

    `active_attachments`: whether those that could do something are passed on. `original`: whether the mail as it came
    is an attachment, with everything that is in it. `reply`: what becomes of members' answers.
    """

    recipient: str
    active_attachments: bool = False
    original: bool = False
    to: str = ""
    reply: Literal["invite", "smarthost"] = "invite"


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """Where the relay is. `implicit`: TLS from the first octet on, else STARTTLS. `ca`: PEM, for a private authority.

    `hostname`: what this side calls itself. `user` None: no AUTH. `password`: a file, open to its owner only.
    """

    host: str
    port: int
    hostname: str
    implicit: bool = False
    ca: Path | None = None
    user: str | None = None
    password: Path | None = None


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Bounds of one intake."""

    message_max_bytes: int = 25 << 20
    connections_max: int = 100
    connections_per_address_max: int = 20
    recipients_max: int = 100


@dataclass(frozen=True, slots=True)
class Door:
    """One way in. `path`: a Unix socket, else `host` and `port`. `lmtp`: RFC 2033. `tls`: from the first octet on."""

    host: str = ""
    port: int = 0
    path: Path | None = None
    lmtp: bool = False
    tls: bool = False


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """All that one intake needs to know. `login` is the bridge's own device.

    `upstream`: mail servers in front, whose address says nothing about the sender. `proxies`: what begins with a PROXY
    header. `certificate`: PEM files of certificate and key. `nameservers`: () for those of the machine. `tell`: the
    recipient of the route to administrators.
    """

    name: str
    doors: tuple[Door, ...]
    hostname: str
    senders: tuple[SenderRule, ...]
    routes: tuple[Route, ...]
    endpoint: Endpoint
    login: KeyLogin
    spool: Path
    database: Path
    certificate: tuple[Path, Path] | None = None
    trust: Trust = field(default_factory=Trust)
    upstream: Networks = field(default_factory=Networks)
    proxies: Networks = field(default_factory=Networks)
    nameservers: tuple[tuple[str, int], ...] = ()
    invitation_url: str | None = None
    tell: str | None = None
    smarthost: RelaySettings | None = None
    limits: IntakeLimits = field(default_factory=IntakeLimits)


class Rules:
    """Looks a sender or a recipient up. Domains match in any case, local parts as written or in lower case."""

    def __init__(self, senders: Iterable[SenderRule], routes: Iterable[Route]) -> None:
        self._senders = tuple(senders)
        self._by_address = {rule.address: rule for rule in self._senders if rule.address}
        self._by_domain = {rule.domain: rule for rule in self._senders if rule.domain}
        self._routes = {folded(route.recipient): route for route in routes}

    def could_pass(self, mail_from: str, peer: str, key: bytes, *, upstream: bool) -> bool:
        """Whether any mail with this envelope's sender could be taken in this session: if not, none need be sent."""
        return any(
            rule.session_proves(peer, key, upstream=upstream) and rule.allows_envelope(mail_from)
            for rule in self._senders
        )

    def sender(self, author: Author) -> SenderRule | None:
        """The rule for an author: that of the address, else that of the domain."""
        return self._by_address.get(author.address) or self._by_domain.get(author.domain)

    def route(self, recipient: str) -> Route | None:
        """The route of a recipient."""
        return self._routes.get(folded(recipient))


def folded(address: str) -> str:
    """An address of ours as it is compared. Hardly any mail server tells local parts apart by case."""
    return address.strip().lower()


def covered_fields(rule: SenderRule, verdict: Verdict) -> frozenset[str] | None:
    """The header fields that the proof covers; None for all, as where the session proves whose mail this is."""
    return None if rule.networks or rule.keys else verdict.covered(rule.claims)


def shortfall(rule: SenderRule, verdict: Verdict) -> tuple[Standing, tuple[Claim, ...]]:
    """How a rule's claims stand together, and which of them do not hold: a failure counts before a doubt."""
    standings = {claim: verdict.standing(claim) for claim in rule.claims}
    failing = tuple(claim for claim, standing in standings.items() if standing is Standing.FAILS)
    doubtful = tuple(claim for claim, standing in standings.items() if standing is Standing.UNSURE)
    if failing:
        return Standing.FAILS, failing
    return (Standing.UNSURE, doubtful) if doubtful else (Standing.HOLDS, ())
