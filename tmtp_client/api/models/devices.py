# SPDX-License-Identifier: AGPL-3.0-or-later
"""Devices of an account, its log, and keys."""

from typing import Literal

from msgspec import Struct


class Device(Struct, frozen=True, omit_defaults=True):
    """A device of an account, as the log has it. `acts`: what this device may do to it just now."""

    key: str
    label: str  # what the person calls it; of others' devices the first characters of the key
    stands: str  # full, provisional, suspended, revoked
    this: bool = False
    added_ms: int = 0
    sponsor: str = ""
    acts: tuple[Literal["suspend", "revoke", "confirm", "resume", "contest"], ...] = ()
    by_words: tuple[Literal["suspend", "revoke", "confirm", "resume", "contest"], ...] = ()  # with the recovery sheet
    cannot: tuple[str, ...] = ()  # why not the others, in plain words


class LogLine(Struct, frozen=True, omit_defaults=True):
    """A record of an account's log in plain words."""

    place: int
    time_ms: int
    text: str
    act: str
    target: str = ""
    by: tuple[str, ...] = ()


class Devices(Struct, frozen=True, omit_defaults=True):
    """An account's devices and how they came and went. `unseen`: changes the person has not confirmed to have seen."""

    uid: str
    devices: tuple[Device, ...]
    log: tuple[LogLine, ...]
    head: str = ""  # of the log that this shows; `keys.seen` wants it back
    trouble: str = ""
    unseen: tuple[str, ...] = ()


class KeyWish(Struct, frozen=True):
    """Another device asks to read a message that was sent before it was one of its account. `text`: in plain words."""

    message: str
    uid: str
    alias: str
    device: str
    text: str


class SafetyNumber(Struct, frozen=True):
    """The same on both sides while nobody's keys are somebody else's: 60 digits in groups of five, and a QR code."""

    uid: str
    digits: str
    qr: str  # SVG
    compared: bool
    head: str = ""  # of the log whose keys it stands for; `keys.seen` wants it back
    code: str = ""  # what the QR code says


class Link(Struct, frozen=True):
    """What is carried by hand from one device to the other to add one: text and its QR code."""

    text: str
    qr: str  # SVG
    fingerprint: str  # both devices show it; a person compares
