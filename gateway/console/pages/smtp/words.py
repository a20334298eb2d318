# SPDX-License-Identifier: AGPL-3.0-or-later
"""What pages of an intake say of proofs, states and outcomes, in words for people (C2, C5)."""

import re
from dataclasses import dataclass
from typing import Final

from bridges.smtp.control import models as s
from gateway.console.rendering import sentence

STEPS: Final[tuple[tuple[s.LifeState, str, str], ...]] = (
    ("seen", "Seen", "Has written, and a proof passed."),
    ("vetted", "Vetted", "May write by SMTP, under a record."),
    ("invited", "Invited", "Has an invitation to the service."),
    ("joined", "Joined", "Writes here now; SMTP still works."),
    ("refused", "SMTP refused", "Writes here only. The way out is done."),
)
"""The life cycle, each step with its name and what it means."""

STEP_NAMES: Final = {name: title for name, title, _ in STEPS}

SENDER_STATES: Final[dict[str, tuple[str, str]]] = {
    "active": ("Active", "good"),
    "suspended": ("Suspended", "bad"),
    "expired": ("Expired", "warn"),
    "withdrawn": ("Withdrawn", ""),
}
HELD_STATES: Final[dict[str, tuple[str, str]]] = {
    "held": ("Waiting", "warn"),
    "deciding": ("Being done", "warn"),
    "released": ("Released", "good"),
    "rejected": ("Rejected", "bad"),
    "expired": ("Expired", ""),
}
OUTCOMES: Final[dict[str, tuple[str, str]]] = {
    "delivered": ("Delivered", "good"),
    "spooled": ("Waits on our disk", "warn"),
    "held": ("Held", "warn"),
    "refused": ("Refused", "bad"),
    "deferred": ("Put off", "warn"),
    "duplicate": ("Had come before", ""),
}
MACHINES: Final[dict[str, str]] = {
    "": "Person",
    "auto-submitted": "Machine",
    "list": "Mailing list",
    "bulk": "Bulk mail",
    "feedback-id": "Bulk mail",
    "null-sender": "Machine",
    "no-reply": "Machine",
}
STRENGTHS: Final[dict[str, tuple[str, str]]] = {
    "strong": ("Strong", "good"),
    "weak": ("Weak", "warn"),
    "none": ("None", "bad"),
}

_RECORD: Final = re.compile(r"record (\d+)\b")
SERVICE: Final = "service"
"""In the place of a page of the intake: the instance that it brings mail to."""

_MENDED_AT: Final = (
    ("the service does not answer", SERVICE, "See the service"),
    ("record", "senders?state=suspended", "Look at them"),
    ("held", "held", "Look at it"),
    ("correspondent", "correspondents", "Look at them"),
)


@dataclass(frozen=True, slots=True)
class ProofInWords:
    """A proof: its name, and what it shows and does not."""

    title: str
    shows: str
    not_shown: str
    strong: bool


def in_words(proof: s.Proof) -> ProofInWords:
    """What a proof is worth, for who has to decide by it."""
    if proof.dkim is not None:
        return ProofInWords(
            f"Signed by {proof.dkim} (DKIM)",
            f"{proof.dkim} signed this mail, and what it signed was not changed on the way.",
            "Which person there wrote it, or that what it says is true.",
            strong=True,
        )
    if proof.client_certificate is not None:
        return ProofInWords(
            "Client certificate",
            f"Whoever sent it holds the key {proof.client_certificate}.",
            "That the mail was not changed before it got there, or who may use that program.",
            strong=False,
        )
    if proof.network is not None:
        return ProofInWords(
            f"From the network {proof.network}",
            f"It came from a machine in {proof.network}.",
            "Who wrote it: everybody who gets at a machine there can write under this address.",
            strong=False,
        )
    return ProofInWords(
        "From a machine of the domain (SPF)",
        "It came from a machine that the domain names as one of its own.",
        "Who wrote it: everybody who sends through the same provider may be able to write under this address.",
        strong=False,
    )


def short(proof: s.Proof) -> str:
    """A proof in few words, for tables."""
    if proof.dkim is not None:
        return f"DKIM {proof.dkim}"
    if proof.network is not None:
        return f"network {proof.network}"
    return "certificate" if proof.client_certificate is not None else "SPF"


def whom(sender: s.Sender) -> str:
    """Whom a record is about."""
    return sender.address or f"everybody at {sender.domain}"


def attention(now: s.Status) -> list[tuple[str, str, str]]:
    """What one should look at, the worst first: the text, the page that mends it, and what one does there."""
    lines = [(sentence(text), *_mended_at(text)) for text in now.attention]
    if now.held:
        waits = "1 mail waits" if now.held == 1 else f"{now.held} mails wait"
        lines.append((f"{waits} for your decision.", "held", "Decide"))
    return lines


def _mended_at(text: str) -> tuple[str, str]:
    """A page below the intake's own, and what one does there."""
    record = _RECORD.match(text)
    if record is not None:
        return f"senders/{record[1]}", "Look at it"
    return next(((page, does) for word, page, does in _MENDED_AT if word in text), ("decisions", "See the decisions"))
