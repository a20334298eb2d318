# SPDX-License-Identifier: AGPL-3.0-or-later
"""People and groups."""

from typing import Final, Literal

from msgspec import Struct

from tmtp_client.api import models as m
from tmtp_client.api.operations.operation import OfAccount, Operation


class OfPerson(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody, by uid."""

    account: str
    uid: str


class Find(Struct, frozen=True, forbid_unknown_fields=True):
    """Aliases that begin so: of people known here, and, where the service has a directory, of its members."""

    account: str
    text: str


class SendPing(Struct, frozen=True, forbid_unknown_fields=True):
    """At most 140 UTF-16 units of plain text (D2)."""

    account: str
    alias: str
    text: str


class AnswerPing(Struct, frozen=True, forbid_unknown_fields=True):
    """accept: they may write, by a ping back with `text`; ignore: they hear nothing; block; for ghosts too."""

    account: str
    uid: str
    act: Literal["accept", "ignore", "block", "unblock"]
    text: str = ""


class ReportPerson(Struct, frozen=True, forbid_unknown_fields=True):
    """To the administrators of the service: who it is, why, and `text`, at most 500 UTF-16 units in one's own words.

    Nothing of what was written goes along. `impersonation`: pretends to be somebody else.
    """

    account: str
    uid: str
    reason: Literal["spam", "abuse", "impersonation", "other"]
    text: str = ""


class SetIntroductions(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether others may make people known to this account by addressing both (A3)."""

    account: str
    wanted: bool


class OfGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """A group."""

    account: str
    gid: str


class InviteToGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """A group that is not there yet is founded."""

    account: str
    gid: str
    alias: str
    text: str = ""


class ActOnGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """join, leave, or drop a member; `alias`: whom, or under which name to join."""

    account: str
    gid: str
    act: Literal["join", "leave", "drop", "alias"]
    alias: str = ""


PEOPLE: Final = (
    Operation("people.list", OfAccount, m.Person, "Everybody known.", many=True),
    Operation("people.show", OfPerson, m.Person, "One of them."),
    Operation("people.find", Find, m.Person, "Whom one could write to.", many=True),
    Operation("people.ping", SendPing, m.Waiting, "A first contact."),
    Operation("people.answer", AnswerPing, m.Person, "Accept, ignore, block."),
    Operation("people.report", ReportPerson, m.Person, "Tell the administrators of somebody who has written."),
    Operation("people.introductions", SetIntroductions, m.Account, "Let others introduce people, or not."),
    Operation("groups.list", OfAccount, m.Group, "Groups.", many=True),
    Operation("groups.show", OfGroup, m.Group, "One, with its members as the service has them."),
    Operation("groups.invite", InviteToGroup, m.Waiting, "Invite somebody; found a group."),
    Operation("groups.act", ActOnGroup, m.Group, "Join, leave, drop somebody."),
)
