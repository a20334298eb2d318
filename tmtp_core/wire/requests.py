# SPDX-License-Identifier: AGPL-3.0-or-later
"""How headers of clients become requests, as revision 1 reads them (wire.md §1.3, §2)."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from tmtp_core.errors import ProtocolError
from tmtp_core.wire.header import HeaderShape, with_plain_names
from tmtp_core.wire.messages import (
    WIRE_NAMES,
    Ack,
    GroupEdit,
    GroupInvite,
    Int64,
    Login,
    OhiEdit,
    Ping,
    Post,
    PostNotify,
    Pulse,
    Quit,
    Recipient,
    Register,
    Request,
    TmtpRev,
    UInt64,
    UserEdit,
)


class AnyRequest(Struct, frozen=True, forbid_unknown_fields=True, rename=WIRE_NAMES):
    """All fields of all requests: a field of the wrong type is an error whatever the operation (wire.md §1.3)."""

    op: Annotated[int, Meta(ge=0, le=255)] = 255
    id: str = ""
    datalen: Int64 = 0
    datahead: Int64 = 0
    datasum: UInt64 = 0
    newnode: str = ""
    newalias: str = ""
    oidc: dict[str, Any] | None = None
    invite: str | None = None
    uid: str = ""
    node: str = ""
    for_: tuple[Recipient, ...] | None = None
    type: str = ""
    gid: str = ""
    from_: str = ""
    to: str = ""
    act: str = ""
    notefor: tuple[Recipient, ...] = ()
    fornotself: bool = False
    notelen: Int64 = 0
    notehead: Int64 = 0
    notesum: UInt64 = 0


_ANY_REQUEST: Final = HeaderShape(AnyRequest, Recipient)
_FREQUENT: Final = msgspec.json.Decoder(Post | Ack | Pulse)
_UINT64_MAX: Final = 2**64 - 1
_OPS_WITH_DATA: Final = (5, 7, 8, 9)


def parse_request(raw: bytes) -> Request:
    """Parse and check a request's header. Raises `ProtocolError("invalid header")` (wire.md §1.3, §2)."""
    frequent = parse_frequent(raw if b'"op":' in raw else with_plain_names(raw))
    if frequent is not None and not _has_more_than_revision_1(frequent):
        return frequent
    head = _ANY_REQUEST.parse(raw)
    if head.oidc is not None:  # its inner names are folded too, however deep, and its nulls dropped
        head = _ANY_REQUEST.parse_the_long_way(raw)
    build = BUILDERS.get(head.op)
    if build is None or not well_formed(head):
        raise ProtocolError("invalid header")
    request = build(head)
    if request is None:
        raise ProtocolError("invalid header")
    return request


def parse_frequent(raw: bytes) -> Post | Ack | Pulse | None:
    """A header of one of the operations that make up nearly all traffic, if it is plainly one.

    That is: nothing in it is unknown to the operation, and everything is as it must be. What any other is, or what is
    wrong with it, the general way finds out, which gives the same answer for every header that this one takes (tested).
    """
    try:
        request: Post | Ack | Pulse = _FREQUENT.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if type(request) is Ack:  # not isinstance: see `tmtp_core.wire.link`
        whole = bool(request.id and request.type and not request.datalen)
    elif type(request) is Post:
        sizes_fit = 0 <= request.datahead <= request.datalen > 0 and request.datasum <= _UINT64_MAX
        whole = bool(request.id and sizes_fit and (request.as_ is None or request.as_.address))
        for entry in request.for_:
            whole = whole and 1 <= entry.type <= 3 and bool(entry.id)
    else:
        whole = not request.datalen
    return request if whole else None


def _has_more_than_revision_1(request: Post | Ack | Pulse) -> bool:
    """Whether a header has fields that only revision 2 looks at."""
    if type(request) is Ack:
        return bool(request.ids)
    return type(request) is Post and (bool(request.from_) or request.as_ is not None)


def well_formed(head: AnyRequest) -> bool:
    """What holds in both revisions: lengths that fit one another, recipients that name somebody."""
    return _lengths_hold(head) and _recipients_hold(head)


def _lengths_hold(head: AnyRequest) -> bool:
    """0 <= datahead <= datalen, the same for notes, and neither where the operation carries none."""
    if max(head.datasum, head.notesum) > _UINT64_MAX:
        return False
    if not 0 <= head.datahead <= head.datalen or not 0 <= head.notehead <= head.notelen:
        return False
    if head.datalen and head.op not in _OPS_WITH_DATA:
        return False
    return not head.notelen or head.op == 8


def _recipients_hold(head: AnyRequest) -> bool:
    """Every entry has an id and, except in op 4, a type of 1 to 3."""
    return all(
        entry.id and (head.op == 4 or 1 <= entry.type <= 3)
        for entries in (head.for_ or (), head.notefor)
        for entry in entries
    )


def _build_ohi_edit(head: AnyRequest) -> OhiEdit | None:
    if not (head.id and head.for_ and head.type in {"add", "drop", "init"}):
        return None
    return OhiEdit(head.id, head.type, head.for_)


def _build_user_edit(head: AnyRequest) -> UserEdit | None:
    if not head.id or bool(head.newnode) == bool(head.newalias):
        return None
    return UserEdit(head.id, head.newnode or None, head.newalias or None)


def _build_group_edit(head: AnyRequest) -> GroupEdit | None:
    if not (head.id and head.gid):
        return None
    allowed = {"join": True, "alias": bool(head.newalias), "drop": bool(head.to)}
    if not allowed.get(head.act, False):
        return None
    return GroupEdit(head.id, head.act, head.gid, head.newalias or None, head.to or None)


def _build_post(head: AnyRequest) -> Post | None:
    if not head.id or head.for_ is None or not head.datalen:
        return None
    return Post(head.id, head.for_, head.datalen, head.datahead, head.datasum)


def _build_post_notify(head: AnyRequest) -> PostNotify | None:
    if not head.id or head.for_ is None or not head.datalen or not head.notelen:
        return None
    return PostNotify(
        head.id,
        head.for_,
        head.notefor,
        head.fornotself,
        head.datalen,
        head.datahead,
        head.datasum,
        head.notelen,
        head.notehead,
        head.notesum,
    )


def _build_group_invite(head: AnyRequest) -> GroupInvite | None:
    if not (head.id and head.gid and head.from_ and head.to):
        return None
    return GroupInvite(head.id, head.gid, head.from_, head.to, head.datalen, head.datahead, head.datasum)


def _build_ping(head: AnyRequest) -> Ping | None:
    if not (head.id and head.from_ and head.to):
        return None
    return Ping(head.id, head.from_, head.to, head.datalen, head.datahead, head.datasum)


def _build_register(head: AnyRequest) -> Register | None:
    if not (head.newnode and head.newalias):
        return None
    return Register(head.newnode, head.newalias, head.oidc, head.invite)


BUILDERS: Final[dict[int, Callable[[AnyRequest], Request | None]]] = {
    0: lambda head: TmtpRev(head.id) if head.id else None,
    1: _build_register,
    2: lambda head: Login(head.uid, head.node) if head.uid and head.node else None,
    3: _build_user_edit,
    4: _build_ohi_edit,
    5: _build_group_invite,
    6: _build_group_edit,
    7: _build_post,
    8: _build_post_notify,
    9: _build_ping,
    10: lambda head: Ack(head.id, head.type) if head.id and head.type else None,
    11: lambda head: Pulse(),
    12: lambda head: Quit(),
}
