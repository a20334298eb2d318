# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes into an administrator's operation, and what comes out (C1). Never a message's content, never a secret
but where one is told once.

Times are milliseconds since 1970, sizes octets. The API's document and the command line's JSON are made from these.
"""

from typing import Annotated, Literal

import msgspec

from gateway.administration.scopes import Scope
from tmtp_core import limits
from tmtp_core.domain.reports import Closing

PAGE_MAX = 500
"""Rows of one page at most."""

MANY_MAX = 1_000
"""Invitations that are made at once at most."""

AccountStatus = Literal["active", "barred"]
BackupsState = Literal["not_set_up", "none", "kept", "unreadable"]
ReportState = Literal["open", "closed"]
Outcome = Literal["done", "refused", "denied", "failed"]
AccountRole = Literal["member", "bridge", "ghost"]
Note = Annotated[str, msgspec.Meta(max_length=limits.INVITATION_NOTE_MAX_CHARACTERS)]
Uses = Annotated[int, msgspec.Meta(ge=1, le=limits.INVITATION_USES_MAX)]
Moment = Annotated[int, msgspec.Meta(ge=1, le=limits.DATE_MAX_MS)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Number = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)]


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all models are."""


# -- asked for -----------------------------------------------------------------------------------------------------
class CreateInvitation(Struct, frozen=True):
    """A registration token for `uses` people until `expires_ms`, or without an end."""

    uses: Uses = 1
    expires_ms: Moment | None = None
    note: Note = ""


class CreateInvitations(Struct, frozen=True):
    """One invitation for each note (for whom it is), all with the same end: all are made, or none."""

    notes: Annotated[list[Note], msgspec.Meta(min_length=1, max_length=MANY_MAX)]
    expires_ms: Moment | None = None


class GiveAlias(Struct, frozen=True):
    """A further alias for an account."""

    alias: Name


class CloseReport(Struct, frozen=True):
    """How a report ends: something was done; it is so, and nothing needs to be done; it is not so. `note`: for other
    administrators, and for the audit log; nobody else sees it.
    """

    outcome: Closing
    note: Annotated[str, msgspec.Meta(max_length=limits.REPORT_NOTE_MAX_CHARACTERS)] = ""


class FoundGroup(Struct, frozen=True):
    """A group `gid` whose owner is `who` (uid or alias)."""

    gid: Name
    who: Name


class CreateToken(Struct, frozen=True):
    """A token for programs: what it may do (`scopes`), on which instances (none named: on all), until when."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=32)]
    instances: Annotated[list[str], msgspec.Meta(max_length=64)] = []
    expires_ms: Moment | None = None


class CreateSignInLink(Struct, frozen=True):
    """A link that signs a person in to the console once, within minutes, with a role (`scopes.ROLES`)."""

    person: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    role: Literal["owner", "administrator", "helpdesk", "auditor"] = "administrator"


# -- answered --------------------------------------------------------------------------------------------------------
class Done(Struct, frozen=True):
    """It is done, and durable."""


class InstanceFigures(Struct, frozen=True):
    """One instance now. `oldest_queued_ms`: when the message was posted that waits longest, if one waits.

    `archive`: what is kept of the traffic once it is delivered: "none", since this release has no archive.
    """

    instance: str
    title: str
    policy: str
    registration: str
    healthy: bool
    links: int
    devices_connected: int
    accounts: int
    accounts_barred: int
    invitations_open: int
    reports_open: int
    messages_queued: int
    bytes_queued: int
    oldest_queued_ms: int | None
    deliveries_total: int
    commits_total: int
    commit_failures_total: int
    ack_ms_p50: float | None
    ack_ms_p99: float | None
    archive: Literal["none"]
    link: str


class Backups(Struct, frozen=True):
    """Which backups their folder has, by their names; whether they can be read, and their journal, the doctor says.

    `state` `none`: there is no whole one; `unreadable`: the folder cannot be looked at, or does not answer.
    """

    state: BackupsState
    kept: int
    newest_ms: int | None


class Overview(Struct, frozen=True):
    """The whole service now."""

    version: str
    started_ms: int
    now_ms: int
    rss_bytes: int
    disk_free_bytes: int
    disk_total_bytes: int
    certificate_ends_ms: int | None
    backups: Backups
    instances: list[InstanceFigures]


class Sample(Struct, frozen=True):
    """One moment of an instance's history; rates are a second's, means since the sample before."""

    at_ms: int
    links: int
    messages_queued: int
    oldest_queued_s: float
    posts_per_s: float
    deliveries_per_s: float
    ack_ms_p99: float | None


class History(Struct, frozen=True):
    """The last hour, in steps of 10 s, and the last day in steps of 5 min; as far as this process has run."""

    hour: list[Sample]
    day: list[Sample]


class Identity(Struct, frozen=True):
    """A person as a provider of sign-in names them: `subject` is the provider's own, often a number."""

    issuer: str
    subject: str


class Account(Struct, frozen=True):
    """What an administrator sees of an account; `queued` deliveries wait, `connected` of its devices have links.

    `identity`: whose it is, where it came to be by sign-in with a provider. `address`: of a ghost, who writes by a
    bridge from there; else empty.
    """

    uid: str
    aliases: list[str]
    devices: int
    status: Literal["active", "barred", "removed"]
    role: AccountRole
    queued: int
    created_ms: int
    connected: int
    identity: Identity | None
    address: str


class AccountPage(Struct, frozen=True):
    """Accounts, oldest first; `next` is given as `after` to get the following ones."""

    accounts: list[Account]
    next: str | None


class Device(Struct, frozen=True):
    """A device; `device` names it. `standing`: active, suspended, revoked, …; `password` for revision 1."""

    device: int
    label: str
    standing: str
    key: str
    created_ms: int
    queued: int
    connected: bool


class AccountDetail(Struct, frozen=True):
    """One account with its devices and groups."""

    account: Account
    devices: list[Device]
    groups: list[str]


class Group(Struct, frozen=True):
    """A group; `owner` is a uid, `owner_alias` their first one: empty for nobody. Members are counted by standing."""

    gid: str
    owner: str
    owner_alias: str
    joined: int
    invited: int
    barred: int


class GroupMember(Struct, frozen=True):
    """One who is, was asked to be, or is barred from being in a group."""

    uid: str
    alias: str
    standing: Literal["joined", "invited", "barred"]


class GroupDetail(Struct, frozen=True):
    """One group with its members."""

    group: Group
    members: list[GroupMember]


class NewInvitation(Struct, frozen=True):
    """A token, told once, and the link that carries it."""

    token: str
    link: str
    note: str
    expires_ms: int | None


class Invitation(Struct, frozen=True):
    """An invitation that can still be used: never its token. `creator` is a uid, empty for administrators'."""

    invitation: int
    uses_left: int
    expires_ms: int | None
    note: str
    creator: str


class Report(Struct, frozen=True):
    """What a member has told of somebody. `words` are the reporter's own: nobody has verified them.

    `reason` `impersonation`: pretends to be somebody else. `reported_alias`: of somebody outside, the address.
    `about_same`: open reports about the same account. `closed_ms` null, and `outcome` empty: it is open.
    """

    report: int
    reporter: str
    reporter_alias: str
    reported: str
    reported_alias: str
    reported_role: AccountRole
    reported_status: AccountStatus
    reason: Literal["spam", "abuse", "impersonation", "other"]
    words: str
    made_ms: int
    about_same: int
    closed_ms: int | None
    outcome: Literal["acted", "no_action", "unfounded", ""]
    note: str


class Queue(Struct, frozen=True):
    """What waits for one account: how much, how large, since when; never what."""

    uid: str
    alias: str
    deliveries: int
    bytes: int
    oldest_ms: int


class Bridge(Struct, frozen=True):
    """A bridge, as the file has it, and whether it runs."""

    name: str
    instance: str
    kind: Literal["smtp"]
    listen: str
    running: bool
    senders: int
    routes: int


class SettingsShown(Struct, frozen=True):
    """The settings as loaded, with defaults filled in, as YAML; nothing in it is secret."""

    file: str
    yaml: str


class AuditEntry(Struct, frozen=True):
    """One change, by whom, whether it was done. `hash` covers the entry and the hash before it.

    `refused`: it could not be done, or made no sense; `denied`: the actor may not; `failed`: it was begun, and nobody
    knows how far it came, since the service ended or its disk failed.
    """

    number: int
    at_ms: int
    actor: str
    operation: str
    instance: str
    target: str
    outcome: Outcome
    detail: str
    hash: str


class AuditPage(Struct, frozen=True):
    """Entries, newest first; `next` is given as `before` to get older ones."""

    entries: list[AuditEntry]
    next: int | None


class AuditVerdict(Struct, frozen=True):
    """Whether every entry is as it was written, with none missing inside; else the first that is not."""

    entries: int
    intact: bool
    first_broken: int | None
    head: str


class NewToken(Struct, frozen=True):
    """A token, told once; kept as a hash."""

    token: str
    number: int


class Token(Struct, frozen=True):
    """A token that programs use: never the token itself."""

    number: int
    name: str
    scopes: list[str]
    instances: list[str]
    created_ms: int
    expires_ms: int | None
    used_ms: int | None


class SignInLink(Struct, frozen=True):
    """Where a person signs in, once, until then."""

    url: str
    expires_ms: int


class ConsolePerson(Struct, frozen=True):
    """One who may enter the console; `seen_ms`: when one of the sessions that stand was last used."""

    person: str
    role: str
    created_ms: int
    passkeys: int
    seen_ms: int | None
