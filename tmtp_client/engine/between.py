# SPDX-License-Identifier: AGPL-3.0-or-later
"""Posts between clients, which nobody reads: devices in step, parts of large files, keys asked for and given."""

from collections import Counter, defaultdict, deque
from contextlib import suppress
from dataclasses import replace

import msgspec
from sqlalchemy import ColumnElement, LargeBinary, cast, delete, func, insert, literal, select
from sqlalchemy import Connection as Rows

from tmtp_client import limits
from tmtp_client.engine import meeting, notifying, parts
from tmtp_client.engine.arrival import After, Arrival, ArrivedFile
from tmtp_client.engine.context import Context
from tmtp_client.engine.opening import SEALED_FILE, outer_of
from tmtp_client.store import messages, outbox, threads
from tmtp_client.store.outbox import Content
from tmtp_client.store.tables import attachment, deferred, message
from tmtp_client.sync import journal, state
from tmtp_client.trust import shared_keys, words
from tmtp_client.trust.judging import Sealed
from tmtp_client.trust.shared_keys import SharedKey
from tmtp_client.trust.wrapping import ASK, GIVE, Given, Wish
from tmtp_client.vault.files import FileDamaged
from tmtp_core.crypto.content_key import SHARED
from tmtp_core.crypto.envelope import Opened
from tmtp_core.crypto.sealed_heads import decode_outer
from tmtp_core.crypto.stream import EnvelopeRefused
from tmtp_core.wire import messages as m
from tmtp_core.wire.messages import TO_UID
from tmtp_core.wire.payload import E2e, decode_post_head, encode_post_head


def clients(c: Rows, context: Context, arrival: Arrival, said: Sealed | None) -> After:
    """What such a post says is done. `said`: what its signature is worth; None: it was not sealed.

    Under revision 2 nobody is believed who has not signed: the service could write such posts else.
    """
    gone = tuple(one.file for one in arrival.files)
    head = arrival.head
    if said is not None and said.forged:
        return After(remove=gone)
    if head.part is not None:
        gone, progress = parts.arrived(c, context, arrival)
        return After(remove=gone, progress=progress, parts=True)
    if len(arrival.text) > limits.SYNC_POST_MAX_BYTES:  # nor is it kept until it may be believed
        return After(remove=gone)
    if said is not None and waits(c, context, arrival, said):
        defer(c, arrival)
        return After(remove=gone, own_log=True)
    return believed(c, context, arrival, said, gone)


def waits(c: Rows, context: Context, arrival: Arrival, said: Sealed) -> bool:
    """Whether nothing may be done yet for who signed this: a log has to be looked at, or his device is suspended now. A
    thief's is at first; and the service that lets it in can date back what it says.
    """
    return not said.settled or _stands(c, context, arrival, said) == words.SUSPENDED


def deferred_ids(c: Rows, author: str = "") -> list[str]:
    """What waits, in its order. `author`: only what this account wrote, and the first `limits.DEFERRED_AT_ONCE` of
    that.
    """
    ids = select(deferred.c.id).order_by(deferred.c.id)
    if author:
        ids = ids.where(deferred.c.author == author).limit(limits.DEFERRED_AT_ONCE)
    return list(c.scalars(ids))


def take_up(c: Rows, context: Context, id: str) -> tuple[Arrival, Sealed] | None:
    """What was deferred and can be acted on now: it waits no more. None: it does, or has made room for another."""
    assert context.trust is not None
    row = c.execute(select(deferred).where(deferred.c.id == id)).one_or_none()
    if row is None:
        return None
    opened = msgspec.json.decode(row.opened, type=Opened)
    said = context.trust.judge(c, row.id, row.author, row.posted, opened, waited=True)
    event = m.Delivery(id=row.id, from_=row.author, posted=row.posted, datalen=0, alias=meeting.alias_of(c, row.author))
    head = decode_post_head(row.head)
    arrival = Arrival(event, context.clock(), head, row.text, suite=said.suite, opened=opened)
    if waits(c, context, arrival, said):
        return None
    drop(c, id)
    return replace(arrival, sealed=msgspec.json.encode(said).decode()), said


def drop(c: Rows, id: str) -> None:
    """It waits no more."""
    c.execute(delete(deferred).where(deferred.c.id == id))


def is_barred(c: Rows, context: Context, arrival: Arrival, said: Sealed) -> bool:
    """Whether it was signed by a device that was not to, or is none of its account any more."""
    return said.forged or said.barred or _stands(c, context, arrival, said) != ""


def _stands(c: Rows, context: Context, arrival: Arrival, said: Sealed) -> str:
    """Why the device that signed it may do nothing, by its account's log as it is now; empty: it may."""
    log = context.trust.logs.kept(c, arrival.event.from_) if context.trust is not None else None
    return words.not_standing(log.state, said.device) if log is not None else words.UNKNOWN


def ask_for_key(c: Rows, context: Context, message_id: str, author: str) -> None:
    """Ask the sender of a message to wrap its key for this device again."""
    assert context.trust is not None
    _control(c, context, author, ASK, context.trust.wrapping.ask(message_id))


def answer_wish(c: Rows, context: Context, message_id: str, uid: str, device: str, *, agreed: bool) -> bool:
    """What the person said to who asks for a key: whether it goes there."""
    assert context.trust is not None
    answer = context.trust.wrapping.answer(c, message_id, uid, device, agreed=agreed)
    if answer is not None:
        _control(c, context, uid, GIVE, answer)
    return answer is not None


def believed(c: Rows, context: Context, arrival: Arrival, said: Sealed | None, gone: tuple[str, ...]) -> After:
    head, author = arrival.head, arrival.event.from_
    if said is not None and is_barred(c, context, arrival, said):
        return After(remove=gone)
    if author == context.uid and head.nodesync:
        if journal.is_ours(head) and (said is not None or context.trust is None):
            with suppress(ValueError):
                _in_step(c, context, arrival, said)
        return After(remove=gone, counts=True)
    if said is None or said.doubts or context.trust is None:
        return After(remove=gone)
    try:
        return replace(_controlled(c, context, arrival, said), remove=gone)
    except EnvelopeRefused:  # nothing that could be acted on
        return After(remove=gone)


def _in_step(c: Rows, context: Context, arrival: Arrival, said: Sealed | None) -> None:
    """What another of one's own devices tells. Raises ValueError.

    B4: a barred device tells nothing, whatever the service still takes of it. What a provisional one decides about
    people or encryption waits until it is confirmed, and goes with it.
    """
    told = journal.read(arrival.text.encode())
    weight = "all" if said is None or context.trust is None else context.trust.weight(c, said)
    if weight == "none":
        return
    believed = told if weight == "all" else tuple(one for one in told if not state.decides(one))
    state.apply(c, context.at(), believed)
    if len(believed) < len(told):
        defer(c, arrival)


def _controlled(c: Rows, context: Context, arrival: Arrival, said: Sealed) -> After:
    """Of a device that stood in its account's log, without a doubt. Raises `EnvelopeRefused`."""
    trust, author, text = context.trust, arrival.event.from_, arrival.text.encode()
    assert trust is not None
    if arrival.head.control == ASK:
        known = {(one.message, one.device) for one in trust.wishes(c)}
        answer = trust.wrapping.asked(c, text, author, said.device)
        if isinstance(answer, Wish):
            if (answer.message, answer.device) in known:  # who asks again is not told of again (D3)
                return After()
            title = meeting.alias_of(c, author) or author
            notifying.tell(c, context, title, answer.why, message_id=answer.message)
        elif answer is not None:
            _control(c, context, author, GIVE, answer)
        return After(sends=True)
    if arrival.head.control == GIVE:
        came = trust.wrapping.regained(c, text, author, _waits_for(c, context, text))
        return After(keys=(came,) if came else ())
    if arrival.head.control == shared_keys.CONTROL:
        heads = arrival.opened.manifest.heads if arrival.opened is not None else None
        if not _keep_shared(c, context, shared_keys.received(text, author, heads), said):
            return After()
        return After(keys=tuple(row.id for row in messages.unopened(c, SHARED)))
    return After()


def _keep_shared(c: Rows, context: Context, key: SharedKey, said: Sealed) -> bool:
    """A conversation's next key, of who may give it one: of anybody else it would be a way to read it."""
    if not _may_share(c, context, key, said):
        return False
    present = shared_keys.of_thread(c, key.thread)
    if key.epoch > (present.epoch if present is not None else 0) + limits.EPOCH_STEP_MAX:
        return False
    return shared_keys.keep(c, key)


def _waits_for(c: Rows, context: Context, text: bytes) -> E2e | None:
    """How the message is sealed whose key came, where it waits here."""
    try:
        name = msgspec.json.decode(text, type=Given).message
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    file = waiting_file(c, name)
    try:
        return decode_outer(outer_of(context.files, file.file)) if file is not None else None
    except (FileDamaged, OSError, ValueError):  # then no key opens it
        return None


def _may_share(c: Rows, context: Context, shared: SharedKey, said: Sealed) -> bool:
    """Whether who passes a key on may: a reader of the conversation, or one's own device that decides.

    Else whoever knows a conversation's id could shut its readers out, with a key of a later epoch; or lay one down for
    a conversation that is to come.
    """
    if shared.author == context.uid:
        return context.trust is not None and context.trust.weight(c, said) == "all"
    return threads.reads(c, shared.thread, shared.author)


def waiting_file(c: Rows, message_id: str) -> ArrivedFile | None:
    """The octets of a sealed message that waits for its key."""
    a = attachment.c
    row = c.execute(
        select(a.file, a.size)
        .join(message, message.c.id == a.message)
        .where(a.message == message_id, message.c.state == "sealed", a.file != "")
    ).one_or_none()
    return None if row is None else ArrivedFile("file", SEALED_FILE.name, "", row.file, row.size, b"")


def _control(c: Rows, context: Context, uid: str, kind: str, text: bytes) -> None:
    """Say something to the devices of an account: of this one, to its others."""
    to = () if uid == context.uid else ((uid, TO_UID),)
    content = Content(to=to, text=text.decode(), control=kind)
    now_ms = context.clock()
    outbox.enqueue(c, "control", content, now_ms, now_ms, context.random_bytes)


def defer(c: Rows, arrival: Arrival) -> None:
    """Keep a post until more is known of who signed it."""
    event = arrival.delivery
    assert event is not None
    row = {
        "id": event.id,
        "author": event.from_,
        "posted": event.posted,
        "head": encode_post_head(arrival.head),
        "text": arrival.text,
        "opened": msgspec.json.encode(arrival.opened),
    }
    c.execute(insert(deferred).prefix_with("OR REPLACE"), row)
    if (c.scalar(select(func.count()).select_from(deferred)) or 0) > limits.DEFERRED_MAX:
        _bound(c, literal(1), limits.DEFERRED_MAX)
    if len(arrival.text) > limits.DEFERRED_SMALL_CHARACTERS:  # of small ones the number bounds the octets, too
        _bound(c, func.length(cast(deferred.c.text, LargeBinary)), limits.DEFERRED_MAX_BYTES)


def _bound(c: Rows, measure: ColumnElement[int], most: int) -> None:
    """The eldest of whom most waits go: who posts a thousand that cannot be believed pushes out nobody else's."""
    rows = c.execute(select(deferred.c.id, deferred.c.author, measure).order_by(deferred.c.id)).all()
    waiting: dict[str, deque[tuple[str, int]]] = defaultdict(deque)
    sizes: Counter[str] = Counter()
    for id, author, size in rows:
        waiting[author].append((id, size))
        sizes[author] += size
    while sizes.total() > most:
        author, _ = sizes.most_common(1)[0]
        id, size = waiting[author].popleft()
        sizes[author] -= size
        drop(c, id)
