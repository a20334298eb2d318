# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may write, and who can be reached (C2): default deny.

A sender is whom the From header names. Every proof that its rule lists must hold.
"""

import base64
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from bridges import limits
from bridges.smtp.control.models import VetSender
from bridges.smtp.proof.author import canonical_address, domain_of
from bridges.smtp.proof.prover import Trust
from bridges.smtp.proof.verdict import Claim, Verdict
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
        ip = _ip_of(peer)
        return ip is not None and any(ip in network for network in self.networks)


@lru_cache(limits.ADDRESSES_REMEMBERED_MAX)
def _ip_of(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A peer's address, asked for several times a mail; None where it has none that can be read."""
    try:
        ip = ipaddress.ip_address(peer)
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


@dataclass(frozen=True, slots=True)
class SenderRule:
    """A vetting record: an address (canonical), or all of a domain (the other is ""); what must hold, all of it.

    `networks`: the peer is in each. `keys`: each is the SHA-256 of the client certificate's key. `claims`: of the mail.
    `routes`: the recipients (folded) that it may write to; None: all. `suspended`: why it is, "" where it is not.
    """

    address: str = ""
    domain: str = ""
    networks: tuple[Network, ...] = ()
    keys: tuple[bytes, ...] = ()
    claims: tuple[Claim, ...] = ()
    number: int = 0
    routes: frozenset[str] | None = None
    expires_ms: int | None = None
    quota_per_day: int | None = None
    suspended: str = ""

    @property
    def whom(self) -> str:
        """Whom it vets, in words."""
        return self.address or f"all of {self.domain}"

    def expired(self, now_ms: int) -> bool:
        """Whether it counts no more."""
        return self.expires_ms is not None and now_ms >= self.expires_ms

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
    is an attachment, with everything that is in it. `reply`: what becomes of members' answers. `hold_unknown`: whether
    mail waits for a person whose sender nobody has vetted.
    """

    recipient: str
    active_attachments: bool = False
    original: bool = False
    to: str = ""
    reply: Literal["invite", "smarthost"] = "invite"
    hold_unknown: bool = False


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Bounds of one intake."""

    message_max_bytes: int = 25 << 20
    connections_max: int = 100
    connections_per_address_max: int = 20
    recipients_max: int = 100


@dataclass(frozen=True, slots=True)
class HoldBounds:
    """Of mail that waits for a person's decision."""

    expires_days: int = 14
    mails_max: int = 1_000
    bytes_max: int = 1 << 30


@dataclass(frozen=True, slots=True)
class SpoolBounds:
    """Of mail that is accepted while the service is away."""

    mails_max: int = 10_000
    bytes_max: int = 1 << 30


@dataclass(frozen=True, slots=True)
class LifeCycle:
    """What moves a correspondent on by itself (C5). `refuse_after_joined_days` None: a person does."""

    invite: Literal["by_hand", "when_vetted"] = "by_hand"
    refuse_after_joined_days: int | None = None


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
    header. `certificate`: PEM files of certificate and key. `nameservers`: () for those of the machine. `senders`: what
    the settings file vets. `spool`: for mail that is being read; emptied at start. `waiting`: of what is in the spool.
    `tell`: the recipient of the route to administrators.
    """

    name: str
    doors: tuple[Door, ...]
    hostname: str
    senders: tuple[VetSender, ...]
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
    hold: HoldBounds = field(default_factory=HoldBounds)
    waiting: SpoolBounds = field(default_factory=SpoolBounds)
    life_cycle: LifeCycle = field(default_factory=LifeCycle)
    decisions_kept_days: int = 400


class Rules:
    """Looks a sender or a recipient up. Domains match in any case, local parts as written or in lower case."""

    def __init__(self, senders: Iterable[SenderRule], routes: Iterable[Route]) -> None:
        self.senders = tuple(senders)
        self._by_address = {rule.address: rule for rule in self.senders if rule.address}
        self._by_domain = {rule.domain: rule for rule in self.senders if rule.domain}
        self._routes = {folded(route.recipient): route for route in routes}
        # By envelope and session alone nearly every record is found, or nearly none: mail that signatures prove comes
        # under any envelope, and of what the session proves the envelope names the sender.
        self._any_session = any(rule.claims and not (rule.networks or rule.keys) for rule in self.senders)
        self._any_envelope = tuple(rule for rule in self.senders if rule.claims and (rule.networks or rule.keys))
        self.hold_unknown = any(route.hold_unknown for route in self._routes.values())

    def could_pass(self, mail_from: str, peer: str, key: bytes, *, upstream: bool) -> bool:
        """Whether any mail with this envelope's sender could be taken in this session: if not, none need be sent."""
        if self._any_session:
            return True
        named = (self._by_address.get(canonical_address(mail_from)), self._by_domain.get(domain_of(mail_from)))
        return any(
            rule.session_proves(peer, key, upstream=upstream) and rule.allows_envelope(mail_from)
            for rule in (*filter(None, named), *self._any_envelope)
        )

    def sender(self, author: str) -> SenderRule | None:
        """The record for an author (canonical): that of the address, else that of the domain."""
        return self._by_address.get(author) or self._by_domain.get(author.rpartition("@")[2])

    def route(self, recipient: str) -> Route | None:
        """The route of a recipient."""
        return self._routes.get(folded(recipient))


def folded(address: str) -> str:
    """An address of ours as it is compared. Hardly any mail server tells local parts apart by case."""
    return address.strip().lower()


def sender_rule(vetted: VetSender, number: int = 0, suspended: str = "") -> SenderRule:
    """A record as it is looked up. `vetted` has none of the mistakes of `control.checks`."""
    proofs = vetted.proof
    claims = [Claim("dkim", proof.dkim.lower()) for proof in proofs if proof.dkim is not None]
    claims += [Claim("spf") for proof in proofs if proof.spf is not None]
    return SenderRule(
        address=canonical_address(vetted.address or ""),
        domain=(vetted.domain or "").lower(),
        networks=tuple(ipaddress.ip_network(proof.network) for proof in proofs if proof.network is not None),
        keys=tuple(_key(proof.client_certificate) for proof in proofs if proof.client_certificate is not None),
        claims=tuple(claims),
        number=number,
        routes=None if vetted.routes is None else frozenset(folded(route) for route in vetted.routes),
        expires_ms=vetted.expires_ms,
        quota_per_day=vetted.quota_per_day,
        suspended=suspended,
    )


def _key(pin: str) -> bytes:
    """The SHA-256 in a pin: sha256: and 43 characters of base64url."""
    return base64.urlsafe_b64decode(pin.removeprefix("sha256:") + "=")


def covered_fields(rule: SenderRule, verdict: Verdict) -> frozenset[str] | None:
    """The header fields that the proof covers; None for all, as where the session proves whose mail this is."""
    return None if rule.networks or rule.keys else verdict.covered(rule.claims)
