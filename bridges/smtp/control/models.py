# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes into an operation on an intake, and what comes out (C2, C5). The gateway's API is made from these, too.

Times are milliseconds since 1970, sizes octets, addresses in the one form of `proof.author.canonical_address`.
"""

from typing import Annotated, Literal

import msgspec

from bridges.smtp.control.evidence import Machine, Outcome, Strength

PAGE_MAX = 500
"""Rows of one page at most."""

SenderState = Literal["active", "suspended", "expired", "withdrawn"]
HeldState = Literal["held", "deciding", "released", "rejected", "expired"]
LifeState = Literal["seen", "vetted", "invited", "joined", "refused"]
"""How far a correspondent is on the way out of SMTP; "refused": he has joined, and his SMTP is refused now."""

HeldAction = Literal["release", "reject", "vet_and_release", "vet_release_and_invite"]
Window = Literal[7, 30, 90]

Moment = Annotated[int, msgspec.Meta(ge=1, le=253_402_300_799_000)]
Number = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)]
Address = Annotated[str, msgspec.Meta(min_length=3, max_length=320)]
Domain = Annotated[str, msgspec.Meta(min_length=3, max_length=253)]
Words = Annotated[str, msgspec.Meta(max_length=500)]
Quota = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all models are."""


class Proof(Struct, frozen=True):
    """One way to show that mail is a sender's own, as in the settings file; exactly one is given."""

    dkim: Domain | None = None
    spf: Literal["aligned"] | None = None
    network: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    client_certificate: Annotated[str, msgspec.Meta(max_length=64)] | None = None


Proofs = Annotated[list[Proof], msgspec.Meta(min_length=1, max_length=16)]
Routes = Annotated[list[Address], msgspec.Meta(min_length=1, max_length=1_000)]


# -- asked for -------------------------------------------------------------------------------------------------------
class VetSender(Struct, frozen=True):
    """A vetting record: an address or all of a domain, how it is proved, who answers for it and why, until when, which
    routes it may use (None: all), how many messages a day (None: as many as come).
    """

    proof: Proofs
    address: Address | None = None
    domain: Domain | None = None
    owner: Words = ""
    reason: Words = ""
    expires_ms: Moment | None = None
    routes: Routes | None = None
    quota_per_day: Quota | None = None


class Because(Struct, frozen=True):
    """Why something is done, for the log."""

    reason: Words = ""


class DecideHeld(Struct, frozen=True):
    """What is done with a mail that is held. `vet`: the record to make, for the two actions that vet; None: the one
    that is suggested for this mail.
    """

    action: HeldAction
    reason: Words = ""
    vet: VetSender | None = None


class MoveCorrespondent(Struct, frozen=True):
    """Puts a correspondent at another step, by hand."""

    state: LifeState
    reason: Words = ""


class Invited(Struct, frozen=True):
    """The service's invitation for a correspondent: its number there, and its link."""

    invitation: Number
    link: Annotated[str, msgspec.Meta(max_length=2_000)]


class Joined(Struct, frozen=True):
    """An invitation was used, by whom (alias or uid)."""

    invitation: Number
    joined_as: Words
    joined_ms: Moment


class ReplayedRoute(Struct, frozen=True):
    """A route in rules that are tried."""

    recipient: Address
    unknown: Literal["refuse", "hold"] = "refuse"


class Replay(Struct, frozen=True):
    """Rules to try on the decisions of the last days, as they would stand in the settings file."""

    senders: Annotated[list[VetSender], msgspec.Meta(max_length=10_000)]
    routes: Annotated[list[ReplayedRoute], msgspec.Meta(max_length=10_000)]
    days: Annotated[int, msgspec.Meta(ge=1, le=400)] = 30


# -- answered --------------------------------------------------------------------------------------------------------
class Status(Struct, frozen=True):
    """An intake now. `attention`: what an administrator should look at, a line each, the worst first."""

    name: str
    connected: bool
    sessions: int
    spooled: int
    spooled_bytes: int
    held: int
    held_bytes: int
    senders_active: int
    senders_suspended: int
    outgoing: int
    attention: list[str]


class Sender(Struct, frozen=True):
    """A vetting record. `why`: of its state. `source`: those of the settings file are changed there."""

    number: int
    address: str
    domain: str
    proof: list[Proof]
    owner: str
    reason: str
    source: Literal["settings", "administrator"]
    created_ms: int
    created_by: str
    expires_ms: int | None
    routes: list[str] | None
    quota_per_day: int | None
    today: int
    state: SenderState
    why: str
    changed_ms: int
    passed_ms: int | None
    failed_ms: int | None
    failures: int


class HeldMail(Struct, frozen=True):
    """A mail that waits for a decision, or had one. `why`: why it is held."""

    number: int
    received_ms: int
    expires_ms: int
    author: str
    subject: str
    recipients: list[str]
    why: str
    size: int
    state: HeldState
    decided_by: str
    decided_ms: int | None


class HeldAttachment(Struct, frozen=True):
    """One attachment. `active`: why it is dangerous, "" if it is not known to be."""

    name: str
    size: int
    active: str


class HeldDetail(Struct, frozen=True):
    """The same with what is known of it, and its safe text ("" where it cannot be parsed: `unreadable` says why).

    `suggested`: the proofs that this mail would pass, strongest first; none: nothing shows whose it is.
    """

    mail: HeldMail
    trace: list[str]
    text: str
    attachments: list[HeldAttachment]
    notes: list[str]
    unreadable: str
    suggested: list[Proof]


class HeldDecided(Struct, frozen=True):
    """What was done. `outcomes`: for each recipient. `record`: the vetting record that was made or is there."""

    mail: HeldMail
    outcomes: dict[str, Outcome]
    record: int | None
    invite: str
    """The correspondent to invite, "" for none: who performs this for an administrator makes the invitation."""


class Correspondent(Struct, frozen=True):
    """A proven sender, or somebody who was invited. `proof`: of its newest mail. `mails`: messages of the last 30 days.

    `first_seen_ms`, `last_seen_ms`: None where no mail of it was proved.
    """

    address: str
    state: LifeState
    machine: Machine
    proof: Strength
    mails: int
    first_seen_ms: int | None
    last_seen_ms: int | None
    changed_ms: int
    changed_by: str
    invitation: int | None
    link: str
    invited_ms: int | None
    joined_ms: int | None
    joined_as: str
    refused_ms: int | None


class CorrespondentPage(Struct, frozen=True):
    """Some of them, those last heard of first. `next`: give it as `after` for more."""

    correspondents: list[Correspondent]
    next: str | None


class DecisionEntry(Struct, frozen=True):
    """One entry of the log of decisions: a mail, or an act. `body` is its JSON."""

    number: int
    at_ms: int
    kind: Literal["mail", "act"]
    body: msgspec.Raw
    hash: str


class DecisionPage(Struct, frozen=True):
    """Entries, newest first. `next`: give it as `before` for more."""

    entries: list[DecisionEntry]
    next: int | None


class DecisionVerdict(Struct, frozen=True):
    """Whether the log is as it was written. `first`: its first entry that is kept. `head`: to compare with a copy."""

    entries: int
    first: int
    intact: bool
    first_broken: int | None
    head: str


class ReplayChange(Struct, frozen=True):
    """Mails of one author to one recipient that would fare otherwise, and why."""

    author: str
    recipient: str
    before: Outcome
    after: Outcome
    messages: int
    trace: list[str]


class ReplayAnswer(Struct, frozen=True):
    """What the rules would have done. `unknown`: messages for which too little was looked at to say."""

    days: int
    messages: int
    unchanged: int
    unknown: int
    before: dict[str, int]
    after: dict[str, int]
    changes: list[ReplayChange]


# -- the report (C5) -------------------------------------------------------------------------------------------------
class ReportWindow(Struct, frozen=True):
    """What came in the last `days` days. All counts are of messages; `senders` of distinct proven authors.

    `human`, `machine`, `weak`: messages of persons, of machines, of those whose proof was weak. `unproved`: those
    of which nobody knows whose they are; with `human` and `machine` they are all.
    """

    days: int
    senders: int
    messages: int
    delivered: int
    held: int
    refused: int
    human: int
    machine: int
    weak: int
    unproved: int


class ReportDay(Struct, frozen=True):
    """One day (UTC, as 2026-11-26): messages that were taken, distinct proven senders."""

    day: str
    messages: int
    senders: int


class ReportMember(Struct, frozen=True):
    """What one member received in 30 days, by SMTP and by TMTP, as the service counted it."""

    alias: str
    smtp: int
    tmtp: int


class Residue(Struct, frozen=True):
    """A sender who still writes by SMTP: what is left to do."""

    address: str
    state: LifeState
    machine: Machine
    proof: Strength
    messages: int
    last_seen_ms: int


class Report(Struct, frozen=True):
    """The way out of SMTP, as far as it has come.

    `invited`, `joined`: of all correspondents ever. `joined_rate`: of those invited, None where nobody was.
    `median_days`: from invitation to joining. `weekly`: distinct senders of each of the last weeks, the newest first.
    `zero_date`: when a straight line through them reaches none; None: it does not fall, or there is too little to say.
    `members` is added by the gateway.
    """

    at_ms: int
    windows: list[ReportWindow]
    days: list[ReportDay]
    states: dict[str, int]
    invited: int
    joined: int
    joined_rate: float | None
    median_days: float | None
    residue: list[Residue]
    zero_date: str | None
    weekly: list[int] = []
    members: list[ReportMember] = []
