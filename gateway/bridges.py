# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the settings of an SMTP intake to what the bridge knows (C2)."""

import ipaddress
from collections.abc import Iterable
from pathlib import Path

from bridges.smtp.proof.verdict import Claim
from bridges.smtp.rules import Door, Networks, SenderRule
from gateway.certificates import ensure_self_signed, pin_hash
from gateway.settings import SmtpBridge
from gateway.settings.models import Sender, SmtpListen
from tmtp_core.store.folders import make_folder

_UNIX = "unix"


def door(listen: SmtpListen) -> Door:
    """One entry of `listen`, which names exactly one address."""
    if listen.lmtp is not None and listen.lmtp.tcp is None:
        return Door(path=listen.lmtp.path, lmtp=True)
    address = listen.smtp or listen.smtps or (listen.lmtp.tcp if listen.lmtp is not None else None)
    assert address is not None
    return Door(address.host, address.port, lmtp=listen.lmtp is not None, tls=listen.smtps is not None)


def sender_rule(sender: Sender) -> SenderRule:
    """One approved sender."""
    proofs = sender.proof
    claims = [Claim("dkim", proof.dkim.lower()) for proof in proofs if proof.dkim is not None]
    claims += [Claim("spf") for proof in proofs if proof.spf is not None]
    return SenderRule(
        address=(sender.address or "").casefold(),
        domain=(sender.domain or "").lower(),
        networks=tuple(ipaddress.ip_network(proof.network) for proof in proofs if proof.network is not None),
        keys=tuple(pin_hash(proof.client_certificate) for proof in proofs if proof.client_certificate is not None),
        claims=tuple(claims),
    )


def networks(addresses: Iterable[str]) -> Networks:
    """Addresses of peers, and perhaps those on a Unix socket."""
    listed = list(addresses)
    return Networks(tuple(ipaddress.ip_network(one) for one in listed if one != _UNIX), unix=_UNIX in listed)


def bridge_certificate(bridge: SmtpBridge, folder: Path) -> tuple[Path, Path]:
    """The PEM files of certificate and key: those of the file, or self-signed ones, made at first start."""
    if bridge.tls.certificate is not None and bridge.tls.key is not None:
        return bridge.tls.certificate, bridge.tls.key
    make_folder(folder)
    return ensure_self_signed(folder, bridge.hostname or bridge.name)
