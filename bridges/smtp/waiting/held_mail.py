# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an administrator sees of a held mail, and which proof it would pass: values only (C2)."""

import base64
import ipaddress
from typing import Any

import msgspec
from sqlalchemy import Row

from bridges.mime import Letter
from bridges.smtp.control import models as m
from bridges.smtp.control.evidence import Evidence
from bridges.smtp.proof.author import canonical_address
from bridges.smtp.proof.verdict import Finding


def of_row(row: Row[Any]) -> m.HeldMail:
    """A row of `tables.held`."""
    return m.HeldMail(
        number=row.number,
        received_ms=row.received_ms,
        expires_ms=row.expires_ms,
        author=row.author,
        subject=row.subject,
        recipients=msgspec.json.decode(row.recipients, type=list[str]),
        why=row.why,
        size=row.size,
        state=row.state,
        decided_by=row.decided_by,
        decided_ms=row.decided_ms,
    )


def detail(row: Row[Any], letter: Letter | None, unreadable: str) -> m.HeldDetail:
    """The same with what the mail says, where it can be read."""
    evidence = msgspec.json.decode(row.evidence, type=Evidence)
    return m.HeldDetail(
        mail=of_row(row),
        trace=trace(evidence),
        text=letter.text if letter is not None else "",
        attachments=[
            m.HeldAttachment(name=one.name, size=one.size, active=one.active)
            for one in (letter.attachments if letter is not None else ())
        ],
        notes=list(letter.notes) if letter is not None else [],
        unreadable=unreadable,
        suggested=suggested(evidence),
    )


def trace(evidence: Evidence) -> list[str]:
    """What is known of where it came from, a line each."""
    peer = evidence.peer or "a socket of this machine"
    front = ", a mail server in front" if evidence.upstream else ""
    lines = [f"from {peer}{front}, HELO {evidence.helo or 'nothing'}, envelope sender <{evidence.mail_from}>"]
    lines += [str(Finding(one.method, one.domain, one.state, one.aligned, by=one.by)) for one in evidence.found]
    if evidence.unsure:
        lines.append(f"could not be looked up: {', '.join(evidence.unsure)}")
    if not evidence.looked:
        lines.append("SPF and DKIM were not looked at")
    if evidence.machine:
        lines.append(f"written by a machine: {evidence.machine}")
    return [*lines, *evidence.notes]


def suggested(evidence: Evidence) -> list[m.Proof]:
    """The proofs that mail like this would pass, strongest first.

    Where a session comes from shows whose mail it is only when the envelope's sender is the author, and no mail server
    stands in front (`rules.SenderRule`). A network is suggested only within the organisation: whoever forges an address
    has one, too, and vetted by it he would be that author from then on.
    """
    if not evidence.author:
        return []
    passed = [one for one in evidence.found if one.state == "pass" and one.aligned]
    domains = dict.fromkeys(one.domain for one in passed if one.method == "dkim")
    proofs = [m.Proof(dkim=domain) for domain in domains]
    if any(one.method == "spf" for one in passed):
        proofs.append(m.Proof(spf="aligned"))
    if evidence.upstream or canonical_address(evidence.mail_from) != evidence.author:
        return proofs
    if evidence.key:
        pin = base64.urlsafe_b64encode(bytes.fromhex(evidence.key)).decode().rstrip("=")
        proofs.append(m.Proof(client_certificate=f"sha256:{pin}"))
    network = _network(evidence.peer)
    return [*proofs, m.Proof(network=network)] if network else proofs


def suggested_record(evidence: Evidence, reason: str) -> m.VetSender | None:
    """The vetting record that this mail would pass, for its author alone, by the strongest proof; or None."""
    proofs = suggested(evidence)
    return m.VetSender(address=evidence.author, proof=proofs[:1], reason=reason) if proofs else None


def _network(peer: str) -> str:
    """A private address as a network of its own; "" for others, and for a socket of this machine."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return ""
    address = getattr(address, "ipv4_mapped", None) or address
    return str(ipaddress.ip_network(address)) if address.is_private else ""
