# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is known of a mail when it is decided on, and what was decided: all that the log of decisions has (C2, C5).

Nothing of what a mail says is in it. A changed rule is tried on it (`smtp replay`), and reports are made from it.
"""

from typing import Literal

import msgspec
from msgspec import Struct

Outcome = Literal["delivered", "spooled", "held", "refused", "deferred", "duplicate"]
"""What became of a mail for one recipient. "deferred": 4xx, its sender tries again. "spooled": on our disk, 250."""

Machine = Literal["", "auto-submitted", "list", "bulk", "feedback-id", "null-sender", "no-reply"]
"""What shows that a machine wrote (RFC 3834, RFC 2919); "" where nothing does."""

Strength = Literal["strong", "weak", "none"]
"""strong: an aligned signature. weak: only where it came from (SPF, network, certificate), or the word of a server in
front. none: nothing showed whose mail it is.
"""


class Found(Struct, frozen=True, omit_defaults=True):
    """A finding of the prover, as `bridges.smtp.proof.verdict.Finding`, without its details."""

    method: Literal["dkim", "spf"]
    domain: str
    state: Literal["pass", "fail", "temporary"]
    aligned: bool | None
    by: str = ""


class Evidence(Struct, frozen=True, omit_defaults=True):
    """One mail. `author` is canonical, "" where the header names none; `key` is hex; `peer` "" for a Unix socket.

    `unreadable`: why it could not be parsed. `mail`: a keyed hash, the same whenever the same mail comes. `looked`:
    whether SPF and DKIM were looked at, so that what is not among `found` did fail.
    """

    peer: str
    mail_from: str
    author: str
    domain: str
    mail: str
    size: int
    upstream: bool = False
    helo: str = ""
    key: str = ""
    looked: bool = False
    found: tuple[Found, ...] = ()
    unsure: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    machine: Machine = ""
    unreadable: str = ""


class Decided(Struct, frozen=True, omit_defaults=True):
    """What became of it for one recipient, and the steps that led there. `record`: the vetting record's number."""

    recipient: str
    outcome: Outcome
    trace: tuple[str, ...]
    record: int | None = None


class MailDecided(Struct, frozen=True, tag="mail", tag_field="kind", omit_defaults=True):
    """An entry of the log: one transaction."""

    evidence: Evidence
    decided: tuple[Decided, ...]


class ActDone(Struct, frozen=True, tag="act", tag_field="kind", omit_defaults=True):
    """An entry of the log: what a person did, or a rule (`by` is "rule: …" then)."""

    by: str
    act: str  # the operation's name, as `senders.vet`
    target: str
    detail: str = ""
    decided: tuple[Decided, ...] = ()
    mail: str = ""


Entry = MailDecided | ActDone


def decoded(body: msgspec.Raw) -> Entry:
    """An entry, of its JSON. Raises `msgspec.DecodeError` where it is not as one was written."""
    return msgspec.json.decode(body, type=MailDecided | ActDone)
