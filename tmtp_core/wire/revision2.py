# SPDX-License-Identifier: AGPL-3.0-or-later
"""What revision 2 adds to the wire (docs/protocol.md): devices that prove themselves by key, consent, bridges.

Revision 1's structs serve both revisions where the operation is the same. A revision 2 header's names are exact and
unknown ones are left alone; a device that speaks revision 1 never gets anything that is defined here.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from tmtp_core import limits
from tmtp_core.crypto.log_records import Signature
from tmtp_core.errors import ProtocolError
from tmtp_core.wire import messages as m
from tmtp_core.wire import requests

REVISION: Final = "2"


# -- requests --------------------------------------------------------------------------------------------------------
class RegisterKeys(Struct, frozen=True, tag_field="op", tag=1, omit_defaults=True):
    """Op 1: a new account, or by an administrator's invitation a new beginning of an old one.

    `entry` with its `sigs` begins the account's log; `sig` and `recoverysig` prove that both keys are
    here, on this link (`tmtp_core.crypto.possession`). `newnode` is a label for the person's own eyes. `oidc`: what a
    provider of sign-in answered; `work`: where the greeting asks for it (`tmtp_core.crypto.work`).
    """

    newnode: str
    newalias: str
    device: str
    entry: str
    sigs: tuple[Signature, ...]
    sig: str
    recoverysig: str
    invite: str | None = None
    oidc: dict[str, Any] | None = None
    work: str = ""
    datalen: int = 0


class LoginByKey(Struct, frozen=True, tag_field="op", tag=2, omit_defaults=True):
    """Op 2: `sig` is `tmtp_core.crypto.possession.login_proof`. `device` is its key, or `recovery` (B4).

    `oidc`: of a device whose account the provider has signed out, and whose person has signed in again.
    """

    uid: str
    device: str
    sig: str
    oidc: dict[str, Any] | None = None
    datalen: int = 0


class LogAppend(Struct, frozen=True, tag_field="op", tag=13, omit_defaults=True):
    """Op 13: a further entry of the own log. From a password device, with a genesis: the account moves to keys.

    Then `sig` and `recoverysig` prove that both keys are here, as in op 1. With `time` and `stamp` it is a record that
    the service made and has lost, since it was restored from a backup.
    """

    id: str
    entry: str
    sigs: tuple[Signature, ...]
    sig: str = ""
    recoverysig: str = ""
    time: int = 0
    stamp: str = ""
    datalen: int = 0


class LogFetch(Struct, frozen=True, tag_field="op", tag=14, omit_defaults=True):
    """Op 14: the records of a log from number `since` on, of oneself or an acquaintance."""

    id: str
    uid: str
    since: int = 0
    datalen: int = 0


class InviteEdit(Struct, frozen=True, tag_field="op", tag=15, omit_defaults=True):
    """Op 15: `act` is create (`uses`, `expires` in ms since 1970, `note`, `gid`), revoke (`invitation`) or list."""

    id: str
    act: str
    uses: int = 1
    expires: int = 0
    note: str = ""
    gid: str = ""
    invitation: str = ""
    datalen: int = 0


class BlockEdit(Struct, frozen=True, tag_field="op", tag=16, omit_defaults=True):
    """Op 16: `act` is block or unblock (`uid`), or introductions_off or introductions_on."""

    id: str
    act: str
    uid: str = ""
    datalen: int = 0


class Find(Struct, frozen=True, tag_field="op", tag=17, omit_defaults=True):
    """Op 17: aliases that begin with `text`, where the instance has a directory."""

    id: str
    text: str
    datalen: int = 0


class ServiceInfo(Struct, frozen=True, tag_field="op", tag=18, omit_defaults=True):
    """Op 18: the service's signed skin (B2)."""

    id: str
    datalen: int = 0


class KeyEdit(Struct, frozen=True, tag_field="op", tag=19, omit_defaults=True):
    """Op 19: this device's present prekey, an X25519 key; `time` when it was made, in ms since 1970.

    `sig` is the device's over `prekey_signed`.
    """

    id: str
    key: str
    time: int
    sig: str
    datalen: int = 0


class GroupInfo(Struct, frozen=True, tag_field="op", tag=20, omit_defaults=True):
    """Op 20: who has joined a group, for those who have."""

    id: str
    gid: str
    datalen: int = 0


class Report(Struct, frozen=True, tag_field="op", tag=21, omit_defaults=True):
    """Op 21: tell the administrators of somebody who has reached one; `reason`: of `REASONS`; `text`: own words."""

    id: str
    uid: str
    reason: str
    text: str = ""
    datalen: int = 0


Request = (
    m.Request
    | RegisterKeys
    | LoginByKey
    | LogAppend
    | LogFetch
    | InviteEdit
    | BlockEdit
    | Find
    | ServiceInfo
    | KeyEdit
    | GroupInfo
    | Report
)

MEMBER_REQUESTS: Final = (LogAppend, LogFetch, InviteEdit, BlockEdit, Find, ServiceInfo, KeyEdit, GroupInfo, Report)
REPORTS: Final = "reports"
"""Among a service's features: it takes op 21."""
REASONS: Final = ("spam", "abuse", "impersonation", "other")
"""Why somebody is reported; `impersonation`: he pretends to be somebody else."""
PREKEY: Final = b"tmtp-prekey"
SKIN: Final = b"tmtp-skin"
REGISTERED_BEFORE: Final = "registered before, log in"
"""`quit` after `registered`, when a device registers again that lost the answer."""


def prekey_signed(service_key: bytes, uid: str, time_ms: int, key: bytes) -> tuple[bytes, ...]:
    """Purpose and parts of a device's signature over its prekey: for one account, one service and one time."""
    return PREKEY, service_key, uid.encode(), time_ms.to_bytes(8), key


# -- from the service, not stored ------------------------------------------------------------------------------------
class Prekey(Struct, frozen=True):
    """A device's present prekey, made at `time`; the signature is the device's (`prekey_signed`)."""

    device: str
    key: str
    time: int
    sig: str


class LogPage(Struct, frozen=True, tag_field="op", tag="logpage", omit_defaults=True):
    """The answer to op 14. Data: a JSON array of records from `since` on; `more` says whether others follow."""

    id: str
    uid: str
    since: int
    head: str
    more: bool = False
    prekeys: tuple[Prekey, ...] = ()
    datalen: int = 0


class Listing(Struct, frozen=True, tag_field="op", tag="listing", omit_defaults=True):
    """The answer to ops 15 (list), 17 and 20. Data: a JSON array of `InvitationListed`, aliases or `MemberListed`."""

    id: str
    datalen: int = 0


class InvitationListed(Struct, frozen=True, omit_defaults=True):
    """One of the asking account's invitations; never its token."""

    invitation: str
    uses_left: int
    expires: int = 0
    note: str = ""
    gid: str = ""


class MemberListed(Struct, frozen=True, omit_defaults=True):
    """A joined member of a group."""

    uid: str
    alias: str
    owner: bool = False


class Skin(Struct, frozen=True, tag_field="op", tag="skin", omit_defaults=True):
    """The answer to op 18. Data: the skin; `sig` is the service key's (`SKIN`)."""

    id: str
    sig: str
    datalen: int = 0


# -- from the service, stored until acknowledged ---------------------------------------------------------------------
class LogEvent(m.Stored, frozen=True, tag="log", kw_only=True):
    """The log of account `uid` has a further record: number `place`, in the data; `head` is the log's new one."""

    uid: str
    place: int
    head: str


class BlockEvent(m.Stored, frozen=True, tag="block", kw_only=True):
    """Another of one's devices blocked or unblocked `uid`, or switched introductions."""

    act: str
    uid: str = ""


class ReturnEvent(m.Stored, frozen=True, tag="return", kw_only=True, rename=m.WIRE_NAMES):
    """Message `msgid` was not delivered to these uids and is given up (A4)."""

    msgid: str
    for_: tuple[str, ...]
    reason: str


StoredEvent = m.StoredEvent | LogEvent | BlockEvent | ReturnEvent
Event = m.Event | LogPage | Listing | Skin | LogEvent | BlockEvent | ReturnEvent
STORED_ONLY_HERE: Final = (LogEvent, BlockEvent, ReturnEvent)

_EVENTS: Final = msgspec.json.Decoder(Event)


def parse_event(raw: bytes) -> Event:
    """Parse a header from a service of either revision (the client's side). Raises `ProtocolError`."""
    try:
        event: Event = _EVENTS.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"invalid header from the service: {error}") from None
    m.check_event(event)
    return event


# -- reading requests ------------------------------------------------------------------------------------------------
class _AnyRequest(requests.AnyRequest, frozen=True, forbid_unknown_fields=False, rename=m.WIRE_NAMES):
    """All fields of all requests of revision 2."""

    device: str = ""
    entry: str = ""
    sigs: tuple[Signature, ...] = ()
    sig: str = ""
    recoverysig: str = ""
    work: str = ""
    since: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    uses: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 1
    expires: Annotated[int, Meta(ge=0, le=limits.DATE_MAX_MS)] = 0
    note: str = ""
    invitation: str = ""
    text: str = ""
    key: str = ""
    time: Annotated[int, Meta(ge=0, le=2**53 - 1)] = 0
    stamp: str = ""
    ids: tuple[str, ...] = ()
    reason: str = ""
    as_: m.Outsider | None = None


_ANY: Final = msgspec.json.Decoder(_AnyRequest)


def parse_request(raw: bytes) -> Request:
    """Parse and check a request's header on a link that speaks revision 2. Raises `ProtocolError`."""
    frequent = requests.parse_frequent(raw)
    if frequent is not None:
        return frequent
    try:
        head = _ANY.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError("invalid header") from None
    build = _BUILDERS.get(head.op)
    if build is None or not requests.well_formed(head):
        raise ProtocolError("invalid header")
    request = build(head)
    if request is None:
        raise ProtocolError("invalid header")
    return request


def _build_register(head: _AnyRequest) -> RegisterKeys | None:
    proofs = head.sigs and head.sig and head.recoverysig
    if not (head.newnode and head.newalias and head.device and head.entry and proofs):
        return None
    return RegisterKeys(
        head.newnode,
        head.newalias,
        head.device,
        head.entry,
        head.sigs,
        head.sig,
        head.recoverysig,
        head.invite,
        head.oidc,
        head.work,
    )


def _build_login(head: _AnyRequest) -> Request | None:
    """By key, or with a password to move the account over to keys."""
    if head.uid and head.device and head.sig:
        return LoginByKey(head.uid, head.device, head.sig, head.oidc)
    return requests.BUILDERS[2](head)


def _build_post(head: _AnyRequest) -> Request | None:
    post = requests.BUILDERS[7](head)
    if not isinstance(post, m.Post) or (head.as_ is not None and not head.as_.address):
        return None
    return msgspec.structs.replace(post, from_=head.from_, as_=head.as_)


def _build_post_notify(head: _AnyRequest) -> Request | None:
    post = requests.BUILDERS[8](head)
    return msgspec.structs.replace(post, from_=head.from_) if isinstance(post, m.PostNotify) else None


def _build_invite_edit(head: _AnyRequest) -> InviteEdit | None:
    if not head.id or head.act not in {"create", "revoke", "list"} or (head.act == "revoke" and not head.invitation):
        return None
    return InviteEdit(head.id, head.act, head.uses, head.expires, head.note, head.gid, head.invitation)


def _build_block_edit(head: _AnyRequest) -> BlockEdit | None:
    known = {"block": True, "unblock": True, "introductions_off": False, "introductions_on": False}
    if not head.id or head.act not in known or (known[head.act] and not head.uid):
        return None
    return BlockEdit(head.id, head.act, head.uid if known[head.act] else "")


def _build_log_append(head: _AnyRequest) -> LogAppend | None:
    if not (head.id and head.entry and head.sigs):
        return None
    return LogAppend(head.id, head.entry, head.sigs, head.sig, head.recoverysig, head.time, head.stamp)


def _build_report(head: _AnyRequest) -> Report | None:
    if not (head.id and head.uid and head.reason in REASONS):
        return None
    return Report(head.id, head.uid, head.reason, head.text)


def _build_ack(head: _AnyRequest) -> m.Ack | None:
    if not head.type or not (head.id or head.ids):
        return None
    return m.Ack(head.id, head.type, 0, head.ids)


_BUILDERS: Final[dict[int, Callable[[Any], Request | None]]] = {
    **requests.BUILDERS,
    1: _build_register,
    2: _build_login,
    7: _build_post,
    8: _build_post_notify,
    10: _build_ack,
    13: _build_log_append,
    14: lambda head: LogFetch(head.id, head.uid, head.since) if head.id and head.uid else None,
    15: _build_invite_edit,
    16: _build_block_edit,
    17: lambda head: Find(head.id, head.text) if head.id and head.text else None,
    18: lambda head: ServiceInfo(head.id) if head.id else None,
    19: lambda head: KeyEdit(head.id, head.key, head.time, head.sig) if head.id and head.key and head.sig else None,
    20: lambda head: GroupInfo(head.id, head.gid) if head.id and head.gid else None,
    21: _build_report,
}
