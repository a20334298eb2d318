# SPDX-License-Identifier: AGPL-3.0-or-later
"""This device."""

from typing import Final

from msgspec import Struct

from tmtp_client.api import models as m
from tmtp_client.api.operations.operation import Nothing, Operation


class Unlock(Struct, frozen=True, forbid_unknown_fields=True):
    """By a passphrase or by 24 words of a recovery sheet."""

    secret: str


class SetPassphrase(Struct, frozen=True, forbid_unknown_fields=True):
    """`new` empty: take the passphrase away. Needs an open home."""

    new: str


class SetIdleLock(Struct, frozen=True, forbid_unknown_fields=True):
    """After so many seconds without a request from a person; 0: never."""

    idle_s: int


class Watch(Struct, frozen=True, forbid_unknown_fields=True):
    """Events after these numbers, account by account; an account that is not named: from now on."""

    since: dict[str, int] = {}


HOME: Final = (
    Operation("home.state", Nothing, m.Home, "This device, its slots and accounts.", locked=True, keeps_open=False),
    Operation("home.unlock", Unlock, m.Home, "Open the history.", locked=True),
    Operation("home.lock", Nothing, m.Home, "Close it: keys leave the memory, connections end.", locked=True),
    Operation("home.passphrase", SetPassphrase, m.Home, "Set, change or take away the passphrase."),
    Operation("home.keyring", Nothing, m.Home, "Let the system's keyring open it, too."),
    Operation("home.forget_keyring", Nothing, m.Home, "Let the system's keyring open it no more."),
    Operation("home.idle_lock", SetIdleLock, m.Home, "Lock by itself."),
    Operation("home.watch", Watch, m.Watching, "Events from now on.", locked=True, keeps_open=False),
)
