# SPDX-License-Identifier: AGPL-3.0-or-later
"""What must not be undone by a backup that is older: who was barred, blocked, revoked, named, let in (B4, D1, D3).

A service that has a journal tells it each such fact when it is durable, and before anybody hears of it. After a restore
`tmtp_core.domain.retelling` tells them to the ledger again. Messages are no facts: they are in the backup, or lost.
Facts name accounts by uid and everything else by what is the same on another machine; keys of rows are not.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

FACTS_COUNTER: Final = "journal"
"""The counter of the ledger that says how many facts it has told: the number of the last one."""


class AccountOpened(Struct, frozen=True, tag="account", tag_field="fact"):
    """An account exists since `time_ms`."""

    uid: str
    role: int
    time_ms: int


class GhostMade(Struct, frozen=True, tag="ghost", tag_field="fact"):
    """The account `uid` stands for somebody outside, whom this bridge's account speaks for."""

    uid: str
    bridge: str
    address: str


class StatusSet(Struct, frozen=True, tag="status", tag_field="fact"):
    """An account was barred, removed, or let in again."""

    uid: str
    status: int


class BlockSet(Struct, frozen=True, tag="block", tag_field="fact"):
    """An account blocks another one, or does so no longer."""

    uid: str
    other: str
    blocked: bool


class IntroductionsSet(Struct, frozen=True, tag="introductions", tag_field="fact"):
    """Whether others may introduce an account."""

    uid: str
    wanted: bool


class InvitationLeft(Struct, frozen=True, tag="invitation", tag_field="fact"):
    """So many uses are left of an invitation, known by the keyed hash of its token; 0: it is used up or revoked.

    `by`: the uid of who used it just now, where that is known.
    """

    token_hash: bytes
    uses_left: int
    by: str = ""


class RecordAppended(Struct, frozen=True, tag="log", tag_field="fact"):
    """A record of an account's log, as it stands there: everything that its devices' keys are (B4)."""

    uid: str
    place: int
    record: bytes


class LogDropped(Struct, frozen=True, tag="no log", tag_field="fact"):
    """A damaged log was given up; another one begins."""

    uid: str


class PasswordDeviceAdded(Struct, frozen=True, tag="device", tag_field="fact"):
    """A device of revision 1, known by the keyed hash of its secret."""

    uid: str
    credential: bytes
    label: str
    time_ms: int


class PasswordDeviceGone(Struct, frozen=True, tag="no device", tag_field="fact"):
    """It was barred, or gave way."""

    uid: str
    credential: bytes


class PasswordGaveWay(Struct, frozen=True, tag="keys", tag_field="fact"):
    """A device of revision 1 has a key from now on, and its secret is good for nothing."""

    uid: str
    credential: bytes
    public: str
    box: str


class AliasTaken(Struct, frozen=True, tag="alias", tag_field="fact"):
    """A name is an account's for ever (D1)."""

    uid: str
    alias: str


class GroupFounded(Struct, frozen=True, tag="group", tag_field="fact"):
    """A group has a name for ever, and an owner."""

    gid: str
    owner: str


class OwnerSet(Struct, frozen=True, tag="owner", tag_field="fact"):
    """A group has another owner."""

    gid: str
    owner: str


class MemberSet(Struct, frozen=True, tag="member", tag_field="fact"):
    """An account's place in a group: whether it is invited, joined, gone or barred."""

    gid: str
    uid: str
    alias: str
    status: int
    since_ms: int


class IdentityBound(Struct, frozen=True, tag="identity", tag_field="fact"):
    """An account is a person's whom a provider of sign-in knows, who signed in at `since_s` of its clock."""

    uid: str
    issuer: str
    subject: str
    session: str
    since_s: int


class SignedOutSet(Struct, frozen=True, tag="signed out", tag_field="fact"):
    """A provider ended an account's sign-ins at `since_s`: a later sign-in lifts the bar, which no other bar has."""

    uid: str
    since_s: int


class UsedOnce(Struct, frozen=True, tag="used", tag_field="fact"):
    """What a provider has vouched for with this is used up; until `until_ms` it could be brought again."""

    once: bytes
    until_ms: int


class BridgeNamed(Struct, frozen=True, tag="bridge", tag_field="fact"):
    """An account is the one of the bridge that the settings call `name`."""

    uid: str
    name: str


Fact = (
    AccountOpened
    | GhostMade
    | StatusSet
    | BlockSet
    | IntroductionsSet
    | InvitationLeft
    | RecordAppended
    | LogDropped
    | PasswordDeviceAdded
    | PasswordDeviceGone
    | PasswordGaveWay
    | AliasTaken
    | GroupFounded
    | OwnerSet
    | MemberSet
    | IdentityBound
    | SignedOutSet
    | UsedOnce
    | BridgeNamed
)


class Told(Struct, frozen=True):
    """Facts of one transaction: the number of the first, themselves, and the highest message number given so far."""

    first: int
    facts: tuple[Fact, ...]
    highest: int


class Journal(Protocol):
    """Where facts go that a lost machine must not take with it."""

    def known(self, number: int) -> None:
        """Once, before the first `append`: the number of the last fact that the database has. Never raises."""

    def append(self, told: Told) -> None:
        """From the writer's thread, after the commit. Never raises: what cannot be written now is written later."""


def encode_told(told: Told) -> bytes:
    """As a journal keeps it."""
    return msgspec.json.encode(told)


def decode_told(raw: bytes) -> Told:
    """Undo `encode_told`. Raises ValueError."""
    try:
        return msgspec.json.decode(raw, type=Told)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"these are no facts: {error}") from None


def facts_of(stories: Sequence[Told], after: int) -> tuple[list[Fact], list[tuple[int, int]]]:
    """The facts with numbers above `after`, in order, each once; and the numbers (from, to) that are missing.

    `FACTS_LEAP`s are not missing: after a restore numbering goes on from the next one. A story without facts says that
    those before its `first` there were.
    """
    facts: list[Fact] = []
    missing: list[tuple[int, int]] = []
    told = after
    for story in sorted(stories, key=lambda one: one.first):
        told = max(told, (story.first - 1) // FACTS_LEAP * FACTS_LEAP)
        if story.first > told + 1:
            missing.append((told + 1, story.first - 1))
            told = story.first - 1
        for number, fact in enumerate(story.facts, story.first):
            if number > told:
                facts.append(fact)
                told = number
    return facts, missing


FACTS_LEAP: Final = 1 << 32
"""After a restore facts are numbered from the next multiple of this on, or two of one number would be in a journal."""
