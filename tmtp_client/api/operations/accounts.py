# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accounts, and how one comes in."""

from typing import Any, Final, Literal

from msgspec import Struct

from tmtp_client.api import models as m
from tmtp_client.api.operations.operation import Nothing, OfAccount, Operation


class Join(Struct, frozen=True, forbid_unknown_fields=True):
    """`address`: host:port, or a tmtp:// link. `sign_in`: what an answer `SignIn` said, once the person was there."""

    account: str
    address: str
    alias: str
    label: str = ""
    invite: str = ""
    pin: str = ""
    ca_file: str = ""
    wants_sign_in: bool = False
    sign_in: str = ""


class SignInAgain(Struct, frozen=True, forbid_unknown_fields=True):
    """`sign_in`: what an answer `SignIn` said, once the person was there."""

    account: str
    sign_in: str = ""


class Recover(Struct, frozen=True, forbid_unknown_fields=True):
    """Come back with the recovery sheet's 24 words, as a new device."""

    account: str
    address: str
    uid: str
    alias: str
    words: str
    label: str = ""
    pin: str = ""
    ca_file: str = ""
    revoke_others: bool = False


class Settle(Struct, frozen=True, forbid_unknown_fields=True):
    """`account` empty: all. After `longest_s` it is answered all the same: `state` and `waiting` say how it is."""

    account: str = ""
    longest_s: float = 30.0


class ReadCode(Struct, frozen=True, forbid_unknown_fields=True):
    """A picture of this device, with a QR code. Pages send it instead: `POST /codes?of=…`.

    `of`: an `invitation` to a service, or a text that adds a device (`link`).
    """

    path: str
    of: Literal["invitation", "link"]


class SetAlias(Struct, frozen=True, forbid_unknown_fields=True):
    """A further alias; messages go out under it from now on. One that is the account's already: just that."""

    account: str
    alias: str


class ReviseSkin(Struct, frozen=True, forbid_unknown_fields=True):
    """The person's own tokens over the service's; {}: as the service has it."""

    account: str
    revised: dict[str, Any]


ACCOUNTS: Final = (
    Operation("accounts.list", Nothing, m.Account, "All accounts.", many=True, keeps_open=False),
    Operation(
        "accounts.settle",
        Settle,
        m.Account,
        "Wait until what the service has kept is here, and what is due to be sent is there.",
        many=True,
        keeps_open=False,
        only_waits=True,
    ),
    Operation("accounts.join", Join, (m.Joined, m.SignIn), "Open an account on a service."),
    Operation("accounts.told", OfAccount, m.Done, "The recovery sheet is written down: its key leaves this device."),
    Operation("accounts.recover", Recover, m.Joined, "Come back to an account by its recovery sheet."),
    Operation("accounts.alias", SetAlias, m.Account, "Take or choose an alias."),
    Operation("accounts.leave", OfAccount, m.Done, "Forget an account here: its key is destroyed, all else with it."),
    Operation("accounts.skin", OfAccount, m.Skin, "The service's look.", keeps_open=False),
    Operation("accounts.revise_skin", ReviseSkin, m.Skin, "Revise it (B2)."),
    Operation("accounts.sign_in", SignInAgain, (m.Done, m.SignIn), "Sign in with the provider again."),
    Operation("codes.read", ReadCode, m.Text, "What the QR code in a picture says (B7)."),
)
