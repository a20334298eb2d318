# SPDX-License-Identifier: AGPL-3.0-or-later
"""One struct per operation, in both directions (wire.md §2, §10).

Field names are the wire's; `for_` and `from_` stand for `for` and `from`. Sizes are octets. A struct that
exists is well formed: `tmtp_core.wire.requests` raises for a header that lacks what its operation requires.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from tmtp_core.errors import ProtocolError
from tmtp_core.ids import message_id_number
from tmtp_core.wire.header import encode_header, with_header_sum

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
UInt64 = Annotated[int, Meta(ge=0)]  # msgspec knows no upper bound beyond 63 bits: who reads a header checks it
Int8 = Annotated[int, Meta(ge=-128, le=127)]

TO_UID, TO_GROUP, TO_GROUP_NOT_SELF = 1, 2, 3
"""`type` of a recipient: a uid; a group; a group, and the sender is not one of its recipients (wire.md §7)."""

WIRE_NAMES: Final = {"for_": "for", "from_": "from", "as_": "as"}


class Recipient(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of `for`: a uid or a gid. `type` is ignored in op 4."""

    id: str = ""
    type: Int8 = 0


class OhiEntry(Struct, frozen=True):
    """One entry of `for` in an `ohiedit` message, with the reference server's capitals (wire.md §1.4)."""

    Id: str
    Type: int = 0


# -- requests --------------------------------------------------------------------------------------------------------
class TmtpRev(Struct, frozen=True, tag_field="op", tag=0):
    """Op 0: which revision the client speaks."""

    id: str
    datalen: int = 0


class Register(Struct, frozen=True, tag_field="op", tag=1, omit_defaults=True):
    """Op 1: a new account. `newalias` "_" means none; `invite` is this project's field for an invitation's token."""

    newnode: str
    newalias: str
    oidc: dict[str, Any] | None = None
    invite: str | None = None
    datalen: int = 0


class Login(Struct, frozen=True, tag_field="op", tag=2, omit_defaults=True):
    """Op 2: `node` is the secret that registration or op 3 gave."""

    uid: str
    node: str
    datalen: int = 0


class UserEdit(Struct, frozen=True, tag_field="op", tag=3, omit_defaults=True):
    """Op 3: exactly one of a further node or a further alias."""

    id: str
    newnode: str | None = None
    newalias: str | None = None
    datalen: int = 0


class OhiEdit(Struct, frozen=True, tag_field="op", tag=4, rename=WIRE_NAMES, omit_defaults=True):
    """Op 4: whom to tell that one is present; `type` is add, drop or init."""

    id: str
    type: str
    for_: tuple[Recipient, ...]
    datalen: int = 0


class GroupInvite(Struct, frozen=True, tag_field="op", tag=5, rename=WIRE_NAMES, omit_defaults=True):
    """Op 5: invite the owner of alias `to` into `gid`, with a text under the rules of a ping."""

    id: str
    gid: str
    from_: str
    to: str
    datalen: int = 0
    datahead: int = 0
    datasum: int = 0


class GroupEdit(Struct, frozen=True, tag_field="op", tag=6, omit_defaults=True):
    """Op 6: `act` is join (`newalias` optional), alias (`newalias`) or drop (`to`)."""

    id: str
    act: str
    gid: str
    newalias: str | None = None
    to: str | None = None
    datalen: int = 0


class Outsider(Struct, frozen=True, omit_defaults=True):
    """Whom a bridge speaks for (`as`): an address outside, and how it was proved (C2). The rest is not looked at."""

    address: str
    proof: str = ""


class Post(
    Struct, frozen=True, tag_field="op", tag=7, rename=WIRE_NAMES, omit_defaults=True, forbid_unknown_fields=True
):
    """Op 7: data for accounts and groups; an empty `for` reaches the sender's other nodes only.

    Revision 2: `from_` is the alias that speaks, `as_` whom a bridge speaks for.
    """

    id: str
    for_: tuple[Recipient, ...]
    datalen: Int64 = 0
    datahead: Int64 = 0
    datasum: UInt64 = 0
    from_: str = ""
    as_: Outsider | None = None


class PostNotify(Struct, frozen=True, tag_field="op", tag=8, rename=WIRE_NAMES, omit_defaults=True):
    """Op 8: a note of `notelen` octets for `for` and `notefor`, then data for `for`."""

    id: str
    for_: tuple[Recipient, ...]
    notefor: tuple[Recipient, ...] = ()
    fornotself: bool = False
    datalen: int = 0
    datahead: int = 0
    datasum: int = 0
    notelen: int = 0
    notehead: int = 0
    notesum: int = 0
    from_: str = ""


class Ping(Struct, frozen=True, tag_field="op", tag=9, rename=WIRE_NAMES, omit_defaults=True):
    """Op 9: at most 140 UTF-16 units of plain text to the owner of alias `to` (D2)."""

    id: str
    from_: str
    to: str
    datalen: int = 0
    datahead: int = 0
    datasum: int = 0


class Ack(Struct, frozen=True, tag_field="op", tag=10, omit_defaults=True, forbid_unknown_fields=True):
    """Op 10: this node keeps message `id`; the service may forget it. `type` is any text.

    Revision 2: `ids` are further messages.
    """

    id: str
    type: str
    datalen: int = 0
    ids: tuple[str, ...] = ()


class Pulse(Struct, frozen=True, tag_field="op", tag=11, omit_defaults=True, forbid_unknown_fields=True):
    """Op 11: still here."""

    datalen: int = 0


class Quit(Struct, frozen=True, tag_field="op", tag=12, omit_defaults=True):
    """Op 12: log out."""

    datalen: int = 0


Request = (
    TmtpRev
    | Register
    | Login
    | UserEdit
    | OhiEdit
    | GroupInvite
    | GroupEdit
    | Post
    | PostNotify
    | Ping
    | Ack
    | Pulse
    | Quit
)


Repeatable = GroupInvite | Post | PostNotify | Ping
"""Requests that are known by their id: asked again, they are answered again and not done again."""


def repetition_key(request: Repeatable) -> str:
    """What a repetition of a request is known by, within its node: its operation and its id."""
    return f"{request.__struct_config__.tag} {request.id}"


# -- from the service, not stored ------------------------------------------------------------------------------------
class SignIn(Struct, frozen=True):
    """One entry of `authby`: a provider's name and where to sign in; each pair is a URL and its parameters."""

    label: str
    login: tuple[str, str]
    token: tuple[str, str]


class ServiceKey(Struct, frozen=True):
    """Who the service is (`service` in revision 2's `tmtprev`): its Ed25519 key, its policy, its name."""

    key: str
    policy: str
    name: str


class AnnouncedLimits(Struct, frozen=True):
    """What a revision 2 client may count on: octets of a header and of a message, UTF-16 units of a ping, messages."""

    header: int
    message: int
    ping: int
    window: int
    queue: int


class Work(Struct, frozen=True):
    """What a registration on this link costs: leading zero bits (`tmtp_core.crypto.work`), and seconds for it."""

    bits: int
    seconds: int


class TmtpRevAnswer(Struct, frozen=True, tag_field="op", tag="tmtprev", omit_defaults=True):
    """The answer to op 0. `auth` 1: sign-in possible, 2: required. From `service` on: revision 2.

    `proofs`: the service key's signatures (`tmtp_core.crypto.possession.greeting_proof`), one for each certificate
    that the client may see.
    """

    id: str
    name: str
    auth: int = 0
    authby: tuple[SignIn, ...] = ()
    datalen: int = 0
    service: ServiceKey | None = None
    nonce: str = ""
    proofs: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    limits: AnnouncedLimits | None = None
    work: Work | None = None


class Registered(Struct, frozen=True, tag_field="op", tag="registered", omit_defaults=True):
    """The account exists; `nodeid` is the node's secret, told once. `error`: why the alias was not given.

    Revision 2 has `device`, the name of the device's key, and no secret.
    """

    uid: str
    nodeid: str = ""
    error: str = ""
    datalen: int = 0
    device: str = ""


class Info(Struct, frozen=True, tag_field="op", tag="info", omit_defaults=True):
    """Logged in; `ohi` lists the uids that are present now and have this account in their list.

    Revision 2: how many deliveries may await acks, and the head of the account's log.
    """

    info: str
    ohi: tuple[str, ...] = ()
    datalen: int = 0
    window: int = 0
    head: str = ""


class Acked(Struct, frozen=True, tag_field="op", tag="ack", omit_defaults=True):
    """The answer to the request `id`: stored under `msgid` at `posted`, or refused with `error`.

    Revision 2: the log's new `head` (op 13), an invitation's name and its `token`, told once (op 15).
    """

    id: str
    msgid: str = ""
    posted: str = ""
    error: str = ""
    datalen: int = 0
    head: str = ""
    invitation: str = ""
    token: str = ""


class Ohi(Struct, frozen=True, tag_field="op", tag="ohi", rename=WIRE_NAMES, omit_defaults=True):
    """Presence of another account: `status` 1 on, 2 off."""

    from_: str
    status: int
    datalen: int = 0


class QuitNotice(Struct, frozen=True, tag_field="op", tag="quit", omit_defaults=True):
    """The link closes after this."""

    error: str
    datalen: int = 0


# -- from the service, stored until acknowledged ---------------------------------------------------------------------
class Stored(Struct, frozen=True, tag_field="op", rename=WIRE_NAMES, omit_defaults=True, kw_only=True):
    """What every stored message carries. `datalen` has no default, so that it is written also when 0."""

    id: str  # stands right behind `headsum` where names are sorted: `encode_stored` counts on it
    from_: str
    posted: str
    datalen: int
    headsum: int | None = None


class LoginEvent(Stored, frozen=True, tag="login", kw_only=True):
    """One of the account's nodes logged in."""

    node: str


class UserEvent(Stored, frozen=True, tag="user", kw_only=True):
    """The account has a new alias or a new node; `nodeid`, the secret, only in the copy for the asking node."""

    newalias: str | None = None
    newnode: str | None = None
    nodeid: str | None = None


class OhiEditEvent(Stored, frozen=True, tag="ohiedit", kw_only=True):
    """The account's presence list was edited."""

    for_: tuple[OhiEntry, ...]
    type: str


class PingEvent(Stored, frozen=True, tag="ping", kw_only=True):
    """A first contact from the owner of `alias`, addressed to alias `to`."""

    alias: str
    to: str


class InviteEvent(Stored, frozen=True, tag="invite", kw_only=True):
    """An invitation of alias `to` into group `gid` by the owner of `alias`."""

    gid: str
    alias: str
    to: str


class MemberEvent(Stored, frozen=True, tag="member", kw_only=True):
    """A group's membership changed: `act` is invite, join, alias or drop."""

    act: str
    gid: str
    alias: str
    newalias: str | None = None


class Via(Struct, frozen=True, omit_defaults=True):
    """Where a message came from that no member wrote (C2, D1): the bridge, the address outside, how it was proved."""

    bridge: str
    address: str
    proof: str = ""


class Delivery(Stored, frozen=True, tag="delivery", kw_only=True):
    """A post. `notify` counts whom a PostNotify tells.

    Revision 2: the sender's `alias`, verified by the service; `via` on what a bridge brought; `to`, for a bridge:
    the address outside that is written to.
    """

    datahead: int = 0
    datasum: int = 0
    notify: int = 0
    alias: str = ""
    via: Via | None = None
    to: str = ""


class Notify(Stored, frozen=True, tag="notify", kw_only=True):
    """The note of a PostNotify; `postid` names its delivery. Revision 2: the sender's `alias`."""

    postid: str
    datahead: int = 0
    datasum: int = 0
    alias: str = ""


StoredEvent = LoginEvent | UserEvent | OhiEditEvent | PingEvent | InviteEvent | MemberEvent | Delivery | Notify
Event = TmtpRevAnswer | Registered | Info | Acked | Ohi | QuitNotice | StoredEvent

_EVENT_DECODER: Final = msgspec.json.Decoder(Event)


def parse_event(raw: bytes) -> Event:
    """Parse a header from the service (the client's side). Raises `ProtocolError` for what no service sends."""
    event: Event
    try:
        event = _EVENT_DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"invalid header from the service: {error}") from None
    check_event(event)
    return event


def check_event(event: Any) -> None:
    """What holds for every message of a service, in both revisions. Raises `ProtocolError`."""
    if event.datalen < 0:
        raise ProtocolError("invalid header from the service: negative datalen")
    if isinstance(event, Stored) and message_id_number(event.id) is None:
        raise ProtocolError("invalid header from the service: the id is not 16 hex digits")
    if isinstance(event, Delivery | Notify) and event.datahead < 0:
        raise ProtocolError("invalid header from the service: negative datahead")


def encode_head(message: Struct) -> bytes:
    """The framed header of any message but a stored one, of either revision."""
    return encode_header(message)


def encode_stored(message: Stored) -> bytes:
    """The framed header of a stored message, with its `headsum` (wire.md §9)."""
    return with_header_sum(encode_header(message))


def encode_frame(message: Request | Event, data: bytes = b"") -> bytes:
    """Header and data in one piece; `datalen` must say how much data there is."""
    if message.datalen != len(data):
        raise ValueError(f"datalen is {message.datalen}, the data has {len(data)} octets")
    return encode_header(message) + data
