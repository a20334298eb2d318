# SPDX-License-Identifier: AGPL-3.0-or-later
"""Devices and keys."""

from typing import Final, Literal

from msgspec import Struct

from tmtp_client.api import models as m
from tmtp_client.api.operations.operation import OfAccount, Operation
from tmtp_client.api.operations.people import OfPerson


class OnDevice(Struct, frozen=True, forbid_unknown_fields=True):
    """Act on a device of one's own. `words`: where the recovery key has to sign."""

    account: str
    act: Literal["suspend", "revoke", "confirm", "resume", "contest"]
    device: str
    words: str = ""


class NameDevice(Struct, frozen=True, forbid_unknown_fields=True):
    """What the person calls it, on all devices."""

    account: str
    device: str
    label: str


class SeenKeys(Struct, frozen=True, forbid_unknown_fields=True):
    """The person has seen what changed up to the head of the log that was shown; messages that were held go out.

    `head`: as it came with what was shown; a change that came since is not seen by this.
    """

    account: str
    uid: str
    head: str
    compared: bool = False


class CompareKeys(Struct, frozen=True, forbid_unknown_fields=True):
    """`shown`: what the other's device shows, as the camera read its QR code, or its 60 digits as they were typed."""

    account: str
    uid: str
    shown: str


class Compared(Struct, frozen=True):
    """`wrong`: what differs, in plain words. Nothing: `keys.seen` with this `head` and `compared` keeps that."""

    same: bool
    wrong: tuple[str, ...]
    head: str


class GrantKey(Struct, frozen=True, forbid_unknown_fields=True):
    """The person's word on a wish of `keys.wishes`."""

    account: str
    message: str
    uid: str
    device: str
    agreed: bool


class CheckRecovery(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether these 24 words are the account's recovery key."""

    account: str
    words: str


class NewRecovery(Struct, frozen=True, forbid_unknown_fields=True):
    """Replace the recovery key; the old one's words sign."""

    account: str
    words: str


class RecoverySheet(Struct, frozen=True):
    """A recovery key: 24 words and their QR code, told until `accounts.told`: asking again tells the same."""

    words: str
    qr: str


class StartLink(Struct, frozen=True, forbid_unknown_fields=True):
    """On a device of the account: what the new one has to know."""

    account: str


class AnswerLink(Struct, frozen=True, forbid_unknown_fields=True):
    """On the new device: takes the first text, makes keys, gives the second text."""

    account: str
    offer: str
    label: str = ""


class FinishLink(Struct, frozen=True, forbid_unknown_fields=True):
    """On a device of the account: takes the second text; the new device is added, provisional until confirmed.

    `fingerprint`: as the new device shows it, typed or confirmed by the person; nothing is signed where it is another.
    """

    account: str
    answer: str
    fingerprint: str


class CheckLink(Struct, frozen=True, forbid_unknown_fields=True):
    """On a device of the account: what the second text would add, before anything is signed."""

    account: str
    answer: str


DEVICES: Final = (
    Operation("devices.list", OfAccount, m.Devices, "One's own devices, and the log in plain words."),
    Operation("devices.of", OfPerson, m.Devices, "Another's."),
    Operation("devices.act", OnDevice, m.Devices, "Suspend, revoke, confirm, resume, contest (B4)."),
    Operation("devices.name", NameDevice, m.Devices, "Name a device."),
    Operation("devices.check_recovery", CheckRecovery, m.Done, "Check the recovery sheet."),
    Operation("devices.new_recovery", NewRecovery, RecoverySheet, "Make a new recovery key."),
    Operation("devices.start_link", StartLink, m.Link, "Add a device: the first text."),
    Operation("devices.answer_link", AnswerLink, m.Link, "Add a device: the second text, on the new one."),
    Operation("devices.check_link", CheckLink, m.Link, "Add a device: the fingerprint of the one that answered."),
    Operation("devices.finish_link", FinishLink, m.Devices, "Add a device: sign."),
    Operation("keys.seen", SeenKeys, m.Person, "What changed was seen."),
    Operation("keys.wishes", OfAccount, m.KeyWish, "Who asks to read what was sent before they were there.", many=True),
    Operation("keys.grant", GrantKey, m.Done, "Let them, or not."),
    Operation("keys.safety", OfPerson, m.SafetyNumber, "The number to compare."),
    Operation("keys.compare", CompareKeys, Compared, "Hold it against what the other's device shows."),
)
