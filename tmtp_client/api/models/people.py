# SPDX-License-Identifier: AGPL-3.0-or-later
"""People and groups."""

from typing import Literal

from msgspec import Struct

PersonStands = Literal["stranger", "asked", "asks", "contact", "ignored", "self", "outside"]
"""asked: was pinged by us; asks: pinged us, not answered yet; outside: writes by a bridge, not accepted yet."""

KeysStand = Literal["none", "unseen", "seen", "compared", "trouble"]


class Person(Struct, frozen=True, omit_defaults=True):
    """Somebody this account has heard of. `people.show` and `people.list` tell what of his keys has to be seen."""

    uid: str
    alias: str
    aliases: tuple[str, ...]
    stands: PersonStands
    known_by: str
    blocked: bool = False
    present: bool = False
    via: str = ""
    proof: str = ""
    keys: KeysStand = "none"
    keys_changed: tuple[str, ...] = ()  # what changed and was not seen, in plain words
    keys_head: str = ""  # of the log that this shows; `keys.seen` wants it back


class Member(Struct, frozen=True, omit_defaults=True):
    """One of a group."""

    uid: str
    alias: str
    stands: str
    owner: bool = False


class Group(Struct, frozen=True, omit_defaults=True):
    """A list to write to, and who is on it (A6)."""

    gid: str
    stands: Literal["invited", "joined", "left", "barred"]
    alias: str
    members: tuple[Member, ...] = ()
