# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a vetting record cannot say, wherever it is written: in the settings file, or by an administrator (C2, C4).

Pure, and over whatever has the fields: the settings' models, and the values of `control.models`.
"""

import contextlib
import ipaddress
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from bridges.smtp.proof.author import canonical_address

ADDRESS: Final = re.compile(r"[^\s@<>]+@[^\s@<>]+\.?[^\s@<>]*")
DOMAIN: Final = re.compile(
    r"(?=.{1,253}$)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)+[A-Za-z][A-Za-z0-9-]{1,62}"
)
PIN: Final = re.compile(r"sha256:[A-Za-z0-9_-]{43}")
INVITATION_URL_MAX: Final = 200
"""Characters of an address that is told in a refusal, which has 400 in all (RFC 5321 §4.5.3.1.5)."""

_PROOFS: Final = "dkim: DOMAIN, spf: aligned, network: 192.0.2.0/24 or client_certificate: sha256:…"
_KINDS: Final = ("dkim", "spf", "network", "client_certificate")

Found = tuple[tuple[str | int, ...], str, str]
"""Where, below the record; what is wrong; what would be right."""


class ProofSaid(Protocol):
    """One proof, as it is written."""

    @property
    def dkim(self) -> str | None: ...
    @property
    def spf(self) -> Any: ...
    @property
    def network(self) -> str | None: ...
    @property
    def client_certificate(self) -> str | None: ...


class SenderSaid(Protocol):
    """A record, as it is written."""

    @property
    def address(self) -> str | None: ...
    @property
    def domain(self) -> str | None: ...
    @property
    def proof(self) -> Sequence[ProofSaid]: ...
    @property
    def routes(self) -> Sequence[str] | None: ...


def sender_checks(sender: SenderSaid, upstream: Iterable[str], recipients: Collection[str]) -> Iterator[Found]:
    """Every mistake of a record. `upstream`: networks of the servers in front. `recipients`: all that have a route."""
    if (sender.address is None) == (sender.domain is None):
        yield (), "a sender is an address or a domain", "address: name@domain, or domain: partner.example"
    if sender.address is not None:
        yield from _address_checks(sender.address)
    if sender.domain is not None and not DOMAIN.fullmatch(sender.domain):
        yield (
            ("domain",),
            f"{sender.domain} is no domain",
            "for example partner.example; A-labels where it is not ASCII",
        )
    domain = sender.domain or (sender.address or "").rpartition("@")[2]
    upstream = tuple(upstream)
    for place, proof in enumerate(sender.proof):
        yield from _proof_checks(("proof", place), proof, domain)
        if proof.network is not None:
            yield from _network_checks(("proof", place, "network"), proof.network, upstream)
    known = {one.lower() for one in recipients}
    for place, route in enumerate(sender.routes or ()):
        if route.strip().lower() not in known:
            yield (
                ("routes", place),
                f"there is no route for {route}",
                f"one of {_some(recipients)}" if recipients else "add it to routes: first",
            )


def one_form(address: str) -> str:
    """An address as an intake has it, however it is written; "" for what is none."""
    return canonical_address(address) if ADDRESS.fullmatch(address) else ""


def invitation_wrong(url: str) -> str | None:
    """Why an address cannot be told to senders; None for one that can."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("https", "http") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        return f"{url!r} is no address of a web page"
    return f"it is longer than {INVITATION_URL_MAX} characters" if len(url) > INVITATION_URL_MAX else None


def _some(recipients: Iterable[str]) -> str:
    listed = sorted(recipients)
    return ", ".join(listed[:5]) + (" …" if len(listed) > 5 else "")


def _address_checks(address: str) -> Iterator[Found]:
    if not ADDRESS.fullmatch(address):
        yield ("address",), f"{address} is no mail address", "name@domain, without <>"
    elif not address.rpartition("@")[2].isascii() or unicodedata.normalize("NFKC", address) != address:
        yield (
            ("address",),
            f"{address} is not as mail is looked up",
            "the domain as DNS has it (xn--…), the rest in Unicode's form NFKC",
        )
    elif not canonical_address(address):
        yield ("address",), f"{address} is no address that mail could come from", "name@domain, in plain characters"


def _proof_checks(path: tuple[str | int, ...], proof: ProofSaid, domain: str) -> Iterator[Found]:
    if sum(getattr(proof, kind) is not None for kind in _KINDS) != 1:
        yield path, "each entry names exactly one proof", _PROOFS
    if proof.client_certificate is not None and not PIN.fullmatch(proof.client_certificate):
        yield (
            (*path, "client_certificate"),
            f"{proof.client_certificate} is no pin",
            "sha256: and 43 characters of base64url",
        )
    if proof.dkim is not None:
        if not DOMAIN.fullmatch(proof.dkim):
            yield (
                (*path, "dkim"),
                f"{proof.dkim} is no domain",
                "what the signatures have as d=, for example partner.example",
            )
        elif domain.isascii() and proof.dkim.lower().rpartition(".")[2] != domain.lower().rpartition(".")[2]:
            yield (
                (*path, "dkim"),
                f"a signature of {proof.dkim} is never aligned with {domain}",
                "the domain with which the sender signs for itself",
            )


def _network_checks(path: tuple[str | int, ...], value: str, upstream: Iterable[str]) -> Iterator[Found]:
    """A network that proves a sender: neither everybody's, nor that of a server which hands on everybody's mail."""
    try:
        network = ipaddress.ip_network(value)
    except ValueError as error:
        yield path, str(error), "for example 192.0.2.0/24"
        return
    if not network.prefixlen:
        yield path, f"{value} is everybody, which proves nobody", "the network of the sender, for example 192.0.2.0/24"
    for one in upstream:
        with contextlib.suppress(ValueError):  # said elsewhere
            if one != "unix" and _overlap(network, ipaddress.ip_network(one)):
                yield (
                    path,
                    f"{value} overlaps {one} of upstream, from where everybody's mail comes",
                    "dkim, or spf with upstream.authserv_id; a network proves nothing behind a mail server",
                )


def _overlap(
    one: ipaddress.IPv4Network | ipaddress.IPv6Network, other: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    return one.version == other.version and one.overlaps(other)
