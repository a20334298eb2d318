# SPDX-License-Identifier: AGPL-3.0-or-later
"""This device: its home, its accounts, how one comes in."""

from typing import Any, Literal

from msgspec import Struct


class Slot(Struct, frozen=True):
    """One way to open this device's history."""

    id: str
    kind: Literal["passphrase", "keyring", "recovery", "device"]
    made_ms: int
    note: str = ""  # of a recovery slot: the account


class Coming(Struct, frozen=True, omit_defaults=True):
    """An account that this device waits to be added to (`devices.answer_link`). `trouble`: why it waits no more."""

    account: str
    service: str
    fingerprint: str
    trouble: str = ""


class Home(Struct, frozen=True):
    """This device. Locked: nothing but this can be told."""

    version: int
    locked: bool
    slots: tuple[Slot, ...]
    idle_lock_s: int  # 0: never
    protected: bool  # false: the only slot without a person's doing is a file beside the history
    accounts: tuple["Account", ...] = ()
    damaged: dict[str, str] = {}  # accounts that cannot be opened, and why
    coming: tuple[Coming, ...] = ()


AccountState = Literal["online", "connecting", "offline", "refused"]


class Account(Struct, frozen=True, omit_defaults=True):
    """One of the person's accounts. `trouble`: why it is not online, or what is wrong with its log."""

    name: str
    uid: str
    alias: str
    aliases: tuple[str, ...]
    service: str
    host: str
    port: int
    revision: int
    state: AccountState
    trouble: str = ""
    unseen: int = 0
    mentions: int = 0
    pings: int = 0
    waiting: int = 0
    device: str = ""  # this one's key
    introductions: bool = True  # whether others may introduce people to it; False as far as is known here
    link: str = ""  # where its service is, as an invitation has it: also how its certificate is known
    reports: bool = False  # whether its service takes `people.report`, as far as has been heard since it runs


class Joined(Struct, frozen=True, omit_defaults=True):
    """A new account on this device. `error`: why the alias was not given.

    `recovery`: its 24 words, told until `accounts.told`: another `accounts.join` gives them once more.
    """

    account: Account
    recovery: str = ""
    recovery_qr: str = ""  # SVG
    error: str = ""


class SignIn(Struct, frozen=True):
    """A provider of sign-in has to be asked first: open `url`, then ask the same operation again with `sign_in`: it is
    answered once the person was there. Whoever begins another sign-in, or locks the home, ends this one.
    """

    url: str
    sign_in: str


class Skin(Struct, frozen=True, omit_defaults=True):
    """The service's look, verified (`look`, JSON as docs/protocol.md has it; {}: none), and the person's revision."""

    look: dict[str, Any]
    revised: dict[str, Any] = {}
