# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may write, and who can be reached (C2): default deny.

A sender is whom the From header names. Every proof that its rule lists must hold.
"""

import base64
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from bridges.smtp.control.models import VetSender
from bridges.smtp.peers import Network, Networks
from bridges.smtp.proof.author import canonical_address, domain_of
from bridges.smtp.proof.verdict import Claim, Verdict
from bridges.smtp.settings import Route


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
