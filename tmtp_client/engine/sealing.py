# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether an entry of the outbox leaves sealed, and in what (B9): trust's judgement, as the sender needs it.

Sealed unless it cannot be: a thread is plain only when a person said so, on whichever device, or while one of its
readers never had a key and nothing in it was ever sealed. What was sealed once never becomes plain by itself.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import msgspec
from sqlalchemy import Connection as Rows
from sqlalchemy import literal_column, select

from tmtp_client import limits
from tmtp_client.engine import posting, recipients
from tmtp_client.engine.context import Context
from tmtp_client.engine.posting import Body, ReadsFiles, Slice
from tmtp_client.store import outbox
from tmtp_client.store.outbox import PLAIN, Entry
from tmtp_client.store.tables import message
from tmtp_client.sync import registers, settings
from tmtp_client.trust import logs, shared_keys
from tmtp_client.trust.account import Trust
from tmtp_client.trust.planning import Held, Plan, Unsealable
from tmtp_client.trust.sealing import ToSeal
from tmtp_client.trust.shared_keys import SharedKey
from tmtp_client.trust.wrapping import GIVE
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.envelope import Composed, Sealing
from tmtp_core.crypto.manifest import Piece, digest
from tmtp_core.crypto.stream import EnvelopeRefused
from tmtp_core.wire.messages import TO_GROUP, TO_GROUP_NOT_SELF

Hashes = Mapping[Slice, bytes]
"""BLAKE2b-256 of octets of the vault's files, where nobody has kept it."""

_CLIENTS = frozenset(("sync", "control"))
"""What clients say to each other, of which nothing is for the service."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What all tries of one entry have in common, as `kept` in the outbox."""

    composed: Composed
    suite: int
    service_key: bytes

    @property
    def kept(self) -> bytes:
        """For the outbox: as secret as the message."""
        return msgspec.msgpack.encode((self.suite, self.composed))

    @property
    def datahead(self) -> int:
        """Octets of the outer head."""
        return len(self.composed.outer)

    @property
    def size(self) -> int:
        """Octets of the post."""
        return len(self.composed.outer) + self.composed.size

    async def pieces(self, body: Body, files: ReadsFiles) -> AsyncIterator[bytes]:
        """The post's octets, sealed as they pass; the same at every try."""
        yield self.composed.outer
        sealing = Sealing(self.composed, self.service_key)
        if body.text:
            yield sealing.push(body.text)
        for one in body.slices:
            async for piece in posting.slice_pieces(one, files):
                yield sealing.push(piece)
        for piece in sealing.finish():
            yield piece


@dataclass(frozen=True, slots=True)
class Stopped:
    """It does not leave: until the person has seen whose keys changed (held), for now (later), for good (refused)."""

    how: Literal["held", "later", "refused"]
    why: str


def concerns(c: Rows, context: Context, entry: Entry) -> tuple[str, ...]:
    """Whose keys have to be looked at before it is judged."""
    if context.trust is None or entry.kind in {"ping", "invitation", "sync"}:
        return ()
    return recipients.uids_of(c, entry.content.to + entry.content.known, context.uid)


def groups_of(context: Context, entry: Entry) -> tuple[str, ...]:
    """Groups of which it has to be known who is in them before it is judged."""
    if context.trust is None or entry.kind in {"ping", "invitation", "sync"}:
        return ()
    to = entry.content.to + entry.content.known
    return tuple(one for one, kind in to if kind in {TO_GROUP, TO_GROUP_NOT_SELF})


def is_stale(c: Rows, context: Context, entry: Entry, looked_at: str) -> bool:
    """Whether somebody's keys were not looked at for too long; not those of the request `looked_at`."""
    if entry.request_id == looked_at:
        return False
    now_ms = context.clock()
    asked_ms = (logs.standing(c, uid).asked_ms for uid in concerns(c, context, entry))
    return any(not 0 <= now_ms - one < limits.LOOK_AGAIN_MS for one in asked_ms)


def is_outdated(c: Rows, context: Context, entry: Entry) -> bool:
    """Whether what was sealed, and may not have left, was sealed for others than it would be now: a device was barred
    or has come, a member left; or somebody's keys have to be seen.
    """
    if not entry.prepared or entry.prepared == PLAIN or context.trust is None:
        return False
    sealed_for = context.trust.sealed_for(c, entry.request_id)
    plan = _plan(c, context, entry.content.to)
    return not isinstance(plan, Plan) or dict(plan.heads) != sealed_for


def unseal(c: Rows, context: Context, entry: Entry) -> None:
    """Give up how an entry was sealed: it is judged anew, and sealed under the same request. Where the service has the
    first after all it sends nothing twice.
    """
    _trust(context).unseal(c, entry.request_id)
    outbox.unprepared(c, entry.request_id)


def judge(c: Rows, context: Context, entry: Entry, body: Body, hashes: Hashes) -> Sealed | Stopped | None:
    """How it leaves; None: as plain text. What is prepared here belongs to the transaction that begins the entry."""
    content = entry.content
    if context.trust is None:
        return None
    if entry.prepared == PLAIN:
        return None
    if entry.prepared:
        suite, composed = msgspec.msgpack.decode(entry.prepared, type=tuple[int, Composed])
        return Sealed(composed, suite, _service_key(context))
    shared = shared_keys.of_thread(c, content.thread) if content.thread and entry.kind not in _CLIENTS else None
    must = entry.kind in _CLIENTS or bool(content.adds) or shared is not None or was_sealed(c, content.thread)
    if entry.kind not in _CLIENTS:
        wish = registers.get(c, "thread", content.thread, "encryption") if content.thread else None
        if wish == "off" or not (must or wish == "on" or settings.get(c, "encrypt")):
            return None
        must = must or wish == "on"
    return _sealed(c, context, entry, body, hashes, shared, must=must)


def _sealed(
    c: Rows,
    context: Context,
    entry: Entry,
    body: Body,
    hashes: Hashes,
    shared: SharedKey | None,
    *,
    must: bool,
) -> Sealed | Stopped | None:
    """Sealed, where everybody has keys and the person has seen what changed of them."""
    content, trust = entry.content, _trust(context)
    unknown = groups_unknown(c, context, content.to + content.known)
    if unknown:  # neither is it sealed for nobody, nor sent in the open for want of a list
        return Stopped("later", f"who else is in {', '.join(unknown)} is not known yet")
    if shared is not None and (why := _outlived(c, context, shared)):
        return Stopped("refused", why)
    plan = _plan(c, context, content.to + content.known, by_box=content.control == GIVE)
    if isinstance(plan, Held):
        for one in plan.unseen:
            trust.following.tell(c, one.uid)
        return Stopped("held", plan.text)
    if isinstance(plan, Unsealable):
        return _without_keys(c, context, plan.uids) if must else None
    if content.known:  # the copy is for who is asked in; the note that follows is for all
        plan = _plan(c, context, content.to)
        assert isinstance(plan, Plan)
    slices = [hashes.get(one) for one in body.slices]
    try:
        composed = trust.prepare(c, _to_seal(entry, body, slices), plan, shared)
    except EnvelopeRefused as refused:
        return Stopped("refused", f"it cannot be encrypted: {refused}")
    return Sealed(composed, 1 if shared is not None else 2, _service_key(context))


def _service_key(context: Context) -> bytes:
    return from_text(_trust(context).own.service_key)


def sent(c: Rows, context: Context, entry: Entry, msgid: str) -> None:
    """The service has a sealed entry, as message `msgid`."""
    _trust(context).sent(c, entry.request_id, msgid)


def never_sent(c: Rows, context: Context, request_id: str) -> None:
    """It will not be sent: where it was sealed already, it is left out of what later ones name as the last."""
    if context.trust is not None:
        context.trust.refused(c, request_id)


async def hashes_of(context: Context, entry: Entry) -> Hashes:
    """Of octets that nobody has hashed yet: parts of files, and files that are sent again."""
    found: dict[Slice, bytes] = {}
    for one in _unhashed(context, entry):
        hashed = blake2b(digest_size=32)
        async for piece in posting.slice_pieces(one, context.files):
            hashed.update(piece)
        found[one] = hashed.digest()
    return found


def lacks_hashes(context: Context, entry: Entry, hashes: Hashes) -> bool:
    """Whether `hashes_of` has to come first."""
    return any(one not in hashes for one in _unhashed(context, entry))


# -- inside ----------------------------------------------------------------------------------------------------------
def groups_unknown(c: Rows, context: Context, to: recipients.To) -> tuple[str, ...]:
    """The groups among these of which no other member is known here."""
    groups = (one for one in to if one[1] in {TO_GROUP, TO_GROUP_NOT_SELF})
    return tuple(one[0] for one in groups if not recipients.uids_of(c, (one,), context.uid))


def _plan(c: Rows, context: Context, to: recipients.To, *, by_box: bool = False) -> Plan | Held | Unsealable:
    """To whose devices."""
    return _trust(context).plan(c, recipients.uids_of(c, to, context.uid), by_box=by_box)


def _without_keys(c: Rows, context: Context, uids: tuple[str, ...]) -> Stopped:
    if uids == (context.uid,):
        return Stopped("later", "this account's own log has not been fetched yet")
    names = ", ".join(recipients.name_of(c, uid) for uid in uids)
    return Stopped(
        "refused",
        f"this conversation is encrypted, and no keys of {names} are known here: leave them out, or switch encryption "
        "off for it",
    )


def _outlived(c: Rows, context: Context, shared: SharedKey) -> str:
    """Why a conversation's key is not used any more; empty: it is (docs/protocol.md: the next epoch)."""
    readers = recipients.of_uids(c, recipients.readers_of(c, shared.thread, context.uid))
    among = {*recipients.uids_of(c, readers.to, context.uid), context.uid}
    uid, device = shared_keys.outlived(c, _trust(context).logs, shared, among)
    if not uid and shared.author not in among:
        uid = shared.author
    if not uid:
        return ""
    whose = "yours" if uid == context.uid else recipients.name_of(c, uid)
    who = f"a device of {whose} that was barred has" if device else f"{whose}, who does not read it any more, has"
    return f"{who} the key of this conversation: give it a new one, and send this again"


def was_sealed(c: Rows, thread: str) -> bool:
    """Whether anything in a thread that is here was sealed."""
    if not thread:
        return False
    sealed = select(message.c.id).where(message.c.thread == thread, message.c.suite > literal_column("0")).limit(1)
    return c.scalar(sealed) is not None


def _to_seal(entry: Entry, body: Body, slices: list[bytes | None]) -> ToSeal:
    """Attachments in the order of the head; of those that go ahead in parts there are no octets here."""
    content = entry.content
    if content.part is not None:
        hashes = [slices[0] or b""]
    else:
        known = iter(slices)
        hashes = [
            digest_of_nothing() if one.transfer is not None else (next(known) or one.hash) for one in content.files
        ]
    pieces = [Piece(attached.size, to_text(hashed)) for attached, hashed in zip(body.head.attach, hashes, strict=True)]
    to = posting.recipients(content.to)
    return ToSeal(entry.request_id, to, body.head_octets, body.text, tuple(pieces))


def digest_of_nothing() -> bytes:
    """Of a file that does not stand in its post."""
    return from_text(digest(b""))


def _unhashed(context: Context, entry: Entry) -> tuple[Slice, ...]:
    content = entry.content
    if context.revision < 2 or entry.prepared:
        return ()
    if content.part is not None:
        return (Slice(content.files[0].file, content.part.start, content.part.size),)
    return tuple(Slice(one.file, 0, one.size) for one in content.files if not one.hash)


def _trust(context: Context) -> Trust:
    """Of an account with keys."""
    assert context.trust is not None
    return context.trust
