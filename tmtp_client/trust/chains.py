# SPDX-License-Identifier: AGPL-3.0-or-later
"""Chains of sealed messages (B9): what each device sent to each account, so that nothing is left out, turned round or
told twice unnoticed.

A message says how many its device sealed to the account before, and the hash of the last of these that the service has
not given back. So what was returned or refused is no gap. What comes to a device that was away for long may have been
given back in the meantime; and what it has no key for may come to be read later: neither is a doubt by itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection as Rows
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client.store import tables as t
from tmtp_core.crypto.manifest import Link
from tmtp_core.prepared import Prepared

ANEW: Final = -1
"""As a chain's next place: whatever comes next begins it."""

# What each message asks and writes.
_to = t.link.c.uid == bindparam("uid")
_COUNT: Final = Prepared(select(func.max(t.link.c.count)).where(_to))
_LAST: Final = Prepared(select(t.link.c.hash).where(_to, t.link.c.gone == 0).order_by(t.link.c.count.desc()).limit(1))
_LINK: Final = Prepared(insert(t.link), *(column.name for column in t.link.c))
_SAME: Final = Prepared(
    select(t.opened.c.message).where(
        t.opened.c.device == bindparam("device"), t.opened.c.request_id == bindparam("request_id")
    )
)
_STANDS: Final = Prepared(select(t.chain.c.count, t.chain.c.last).where(t.chain.c.device == bindparam("device")))
_WRITE: Final = Prepared(insert(t.opened), *(column.name for column in t.opened.c))
_put = upsert(t.chain)
_STAND: Final = Prepared(
    _put.on_conflict_do_update(
        index_elements=["device"], set_={name: _put.excluded[name] for name in ("author", "count", "last")}
    ),
    *(column.name for column in t.chain.c),
)
_FOUND: Final = Prepared(
    select(t.missing.c.message).where(t.missing.c.device == bindparam("device"), t.missing.c.hash == bindparam("hash"))
)


@dataclass(frozen=True, slots=True)
class Place:
    """A message in the chain of its device to this account, as its manifest says."""

    device: str
    author: str
    message: str
    request_id: str
    hash: str  # of its manifest
    said: Link


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What may explain a gap. `newer_here`: this device stood in its log before the author's did in his.

    `away`: this device was away for so long before this came that the service may have given messages back, or its
    author is blocked. `waited`: it came in its time and is opened only now. `unopened`: others of its author wait for a
    key.
    """

    newer_here: bool = False
    away: bool = False
    waited: bool = False
    unopened: bool = False


# -- out -------------------------------------------------------------------------------------------------------------
def next_link(c: Rows, uid: str) -> Link:
    """What the next message to an account says of those before."""
    [count] = _COUNT(c, {"uid": uid}).fetchone()
    last = _LAST(c, {"uid": uid}).fetchone()
    return Link(0 if count is None else count + 1, last[0] if last is not None else "")


def sealed(c: Rows, request_id: str, links: Iterable[tuple[str, int]], manifest_hash: str) -> None:
    """A message was sealed to these accounts, at these places."""
    for uid, count in links:
        _LINK(c, {"uid": uid, "count": count, "request_id": request_id, "hash": manifest_hash, "gone": 0})


def gone(c: Rows, request_id: str, uids: Iterable[str] | None = None) -> None:
    """It did not reach these accounts; None: none of all."""
    which = t.link.c.request_id == request_id
    if uids is not None:
        which &= t.link.c.uid.in_(list(uids))
    c.execute(update(t.link).where(which).values(gone=1))


def has(c: Rows, request_id: str) -> bool:
    """Whether a request was sealed to anybody."""
    return c.scalar(select(t.link.c.uid).where(t.link.c.request_id == request_id).limit(1)) is not None


def rename(c: Rows, request_id: str, name: str) -> None:
    """A request's places go by another name."""
    c.execute(update(t.link).where(t.link.c.request_id == request_id).values(request_id=name))


# -- in --------------------------------------------------------------------------------------------------------------
def repeats(c: Rows, place: Place) -> str:
    """The message that this one is again, under another id of the service; empty: none."""
    before = _known_as(c, place)
    return before if before is not None and before != place.message else ""


def take(c: Rows, place: Place, about: Callable[[], Circumstances]) -> tuple[str, ...]:
    """Write down that a message was opened; what its place in the chain does not bear out, in plain words.

    `about` is asked only where something is out of its place.
    """
    if _is_written(c, place):
        return ()
    said = place.said
    doubts: tuple[str, ...] = ()
    row = _STANDS(c, {"device": place.device}).fetchone()
    due = Link(row[0], row[1]) if row is not None else None
    if due is None or due.count == ANEW:
        if due is None and said.last and (now := about()).newer_here:
            doubts = _miss(c, place, 0, now)
    elif said.count < due.count:
        doubts = _late(c, place, about())
    elif said.last != due.last and not _knows(c, place.device, said.last):
        doubts = _miss(c, place, due.count, about())
    _write(c, place)
    if due is None or said.count >= due.count:
        _stand(c, place, said.count + 1, place.hash)
    return doubts


def found(c: Rows, device: str, manifest_hash: str) -> list[str]:
    """The messages that said this one was missing, and do not any more."""
    messages = [str(row[0]) for row in _FOUND(c, {"device": device, "hash": manifest_hash}).fetchall()]
    if messages:
        c.execute(delete(t.missing).where(t.missing.c.device == device, t.missing.c.hash == manifest_hash))
    return messages


def begin_anew(c: Rows, author: str, devices: Iterable[str]) -> None:
    """What comes next from these devices begins their chains: their account was blocked, and not delivered."""
    for device in devices:
        _STAND(c, {"device": device, "author": author, "count": ANEW, "last": ""})


def _late(c: Rows, place: Place, about: Circumstances) -> tuple[str, ...]:
    """A message whose place is before others that are here."""
    if about.waited:
        return ()
    first = c.scalar(select(func.min(t.opened.c.count)).where(t.opened.c.device == place.device))
    if first is not None and place.said.count < first:
        return (BEFORE_FIRST,)
    same = select(t.opened.c.message).where(t.opened.c.device == place.device, t.opened.c.count == place.said.count)
    return (TWO_AT_ONE_PLACE,) if c.scalar(same) is not None else (OUT_OF_ORDER,)


def _miss(c: Rows, place: Place, since: int, about: Circumstances) -> tuple[str, ...]:
    """It names one before it that never came. Told, unless there may be a good reason."""
    told = not (about.away or about.unopened)
    row = {
        "message": place.message,
        "device": place.device,
        "since": since,
        "until": place.said.count,
        "hash": place.said.last,
        "told": int(told),
    }
    c.execute(insert(t.missing), row)
    return (MISSING,) if told else ()


def _knows(c: Rows, device: str, manifest_hash: str) -> bool:
    """Whether this one has come. An empty one is "nothing was before": all that was has been given back."""
    if not manifest_hash:
        return True
    which = select(t.opened.c.message).where(t.opened.c.device == device, t.opened.c.hash == manifest_hash)
    return c.scalar(which) is not None


def _is_written(c: Rows, place: Place) -> bool:
    """The same message once more: it was not acknowledged the last time."""
    return _known_as(c, place) == place.message


def _known_as(c: Rows, place: Place) -> str | None:
    """As which message its device's request was opened before."""
    row = _SAME(c, {"device": place.device, "request_id": place.request_id}).fetchone()
    return None if row is None else str(row[0])


def _write(c: Rows, place: Place) -> None:
    row = {
        "device": place.device,
        "request_id": place.request_id,
        "message": place.message,
        "author": place.author,
        "count": place.said.count,
        "hash": place.hash,
    }
    _WRITE(c, row)


def _stand(c: Rows, place: Place, count: int, last: str) -> None:
    _STAND(c, {"device": place.device, "author": place.author, "count": count, "last": last})


MISSING: Final = (
    "Before this message came others of the same device that are not here: the service has kept them back, or this "
    "device has lost them."
)
OUT_OF_ORDER: Final = "This message was written before others that came first: the service has turned them round."
BEFORE_FIRST: Final = "This message is older than the first that this device had from its sender: it came out of order."
TWO_AT_ONE_PLACE: Final = (
    "Its sender's device has written two messages in one place: it was set back to an earlier state, or copied."
)
OF_ORDER: Final = frozenset({MISSING, OUT_OF_ORDER, BEFORE_FIRST, TWO_AT_ONE_PLACE})
"""Doubts about what came before or after a message, and none about who signed it."""
