# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one block of an SMTP intake cannot say about its doors, its senders and whom it believes (C2, C4)."""

import contextlib
import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Iterator

from gateway.settings.models import Proof, Sender, SmtpBridge
from gateway.settings.yaml_source import Path

ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+\.?[^\s@<>]*")
PIN = re.compile(r"sha256:[A-Za-z0-9_-]{43}")
_DOMAIN = re.compile(r"(?=.{1,253}$)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)+[A-Za-z][A-Za-z0-9-]{1,62}")
_PROOFS = "dkim: DOMAIN, spf: aligned, network: 192.0.2.0/24 or client_certificate: sha256:…"

Found = tuple[Path, str, str]
"""Path, what is wrong, what would be right."""


def smtp_checks(path: Path, bridge: SmtpBridge) -> Iterator[Found]:
    """Every mistake of that kind."""
    for index, door in enumerate(bridge.listen):
        if len(door.named()) != 1:
            yield (
                (*path, "listen", index),
                "each entry names exactly one address",
                'for example: {smtp: "0.0.0.0:25"}, {smtps: "0.0.0.0:465"} or {lmtp: "unix:./run/lmtp.sock"}',
            )
    seen: dict[str, int] = {}
    for index, sender in enumerate(bridge.senders):
        where = (*path, "senders", index)
        yield from _sender_checks(where, sender, bridge.upstream.addresses)
        name = (sender.address or sender.domain or "").lower()
        if name and name in seen:
            field = "address" if sender.address else "domain"
            yield (*where, field), f"the sender {name} has a rule already", "list all its proofs there; all must hold"
        seen[name] = index
    yield from _belief_checks(path, bridge)


def _is_canonical(address: str) -> bool:
    return address.rpartition("@")[2].isascii() and unicodedata.normalize("NFKC", address) == address


def _sender_checks(path: Path, sender: Sender, upstream: Iterable[str]) -> Iterator[Found]:
    if (sender.address is None) == (sender.domain is None):
        yield path, "a sender is an address or a domain", "address: name@domain, or domain: partner.example"
    if sender.address is not None and not ADDRESS.fullmatch(sender.address):
        yield (*path, "address"), f"{sender.address} is no mail address", "name@domain, without <>"
    elif sender.address is not None and not _is_canonical(sender.address):
        yield (
            (*path, "address"),
            f"{sender.address} is not as mail is looked up",
            "the domain as DNS has it (xn--…), the rest in Unicode's form NFKC",
        )
    if sender.domain is not None and not _DOMAIN.fullmatch(sender.domain):
        yield (
            (*path, "domain"),
            f"{sender.domain} is no domain",
            "for example partner.example; A-labels where it is not ASCII",
        )
    domain = sender.domain or (sender.address or "").rpartition("@")[2]
    for place, proof in enumerate(sender.proof):
        yield from _proof_checks((*path, "proof", place), proof, domain)
        if proof.network is not None:
            yield from _network_checks((*path, "proof", place, "network"), proof.network, upstream)


def _proof_checks(path: Path, proof: Proof, domain: str) -> Iterator[Found]:
    if len(proof.named()) != 1:
        yield path, "each entry names exactly one proof", _PROOFS
    if proof.client_certificate is not None and not PIN.fullmatch(proof.client_certificate):
        yield (
            (*path, "client_certificate"),
            f"{proof.client_certificate} is no pin",
            "sha256: and 43 characters of base64url",
        )
    if proof.dkim is not None:
        if not _DOMAIN.fullmatch(proof.dkim):
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


def _network_checks(path: Path, value: str, upstream: Iterable[str]) -> Iterator[Found]:
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


def _belief_checks(path: Path, bridge: SmtpBridge) -> Iterator[Found]:
    """Whom it believes: servers in front, proxies, sealers, name servers."""
    for field, values in (("upstream", bridge.upstream.addresses), ("proxies", bridge.proxies)):
        inner = ("addresses",) if field == "upstream" else ()
        for index, value in enumerate(values):
            try:
                if field == "proxies" or value != "unix":
                    ipaddress.ip_network(value)
            except ValueError as error:
                right = "for example 127.0.0.1/32" + (", or unix" if field == "upstream" else "")
                yield (*path, field, *inner, index), str(error), right
    if bridge.upstream.authserv_id is not None and not bridge.upstream.addresses:
        yield (
            (*path, "upstream", "authserv_id"),
            "everybody could write Authentication-Results in this name",
            "addresses: of the mail server in front, for example [unix]",
        )
    for index, sealer in enumerate(bridge.arc_sealers):
        if not _DOMAIN.fullmatch(sealer):
            yield (*path, "arc_sealers", index), f"{sealer} is no domain", "what its seals have as d="
    for index, server in enumerate(bridge.nameservers):
        try:
            ipaddress.ip_address(server.host)
        except ValueError:
            yield (*path, "nameservers", index), f"{server.host} is no IP address", "for example 127.0.0.1:53"
