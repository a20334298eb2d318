# SPDX-License-Identifier: AGPL-3.0-or-later
"""One event of the service becomes what this device knows: all of it in the caller's transaction, once (B3).

The service repeats what was not acknowledged: an id that is known, of a message or of what left none, changes nothing.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Literal

import msgspec
from sqlalchemy import Connection as Rows
from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.engine import between, forwarding, gathering, meeting, notifying, parts, sealing
from tmtp_client.engine.arrival import After, Arrival, safe_name, together
from tmtp_client.engine.context import Context
from tmtp_client.engine.unforeseen import report
from tmtp_client.store import groups, messages, people, threads, views
from tmtp_client.store.database import DISK_FAILED
from tmtp_client.store.messages import NewAttachment, NewMessage
from tmtp_client.store.tables import heard, message
from tmtp_client.sync import registers, state
from tmtp_client.trust.chains import OF_ORDER
from tmtp_client.trust.judging import Sealed
from tmtp_core.crypto.content_key import DEVICES
from tmtp_core.prepared import Prepared
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.messages import TO_GROUP
from tmtp_core.wire.payload import PostHead

_IS_KNOWN: Final = Prepared(
    select(message.c.id)
    .where(message.c.id == bindparam("id"))
    .union_all(select(heard.c.id).where(heard.c.id == bindparam("id")))
)
_HEARD: Final = Prepared(upsert(heard).on_conflict_do_nothing(), "id")


def known(c: Rows, ids: Iterable[str]) -> set[str]:
    """Those of these events that have been kept, or acted on."""
    names = list(ids)
    here = set(c.scalars(select(message.c.id).where(views.among(message.c.id, names))))
    return here | set(c.scalars(select(heard.c.id).where(views.among(heard.c.id, names))))


def arrive(c: Rows, context: Context, arrival: Arrival) -> After:
    """Keep an event and all that follows from it."""
    if _IS_KNOWN(c, {"id": arrival.event.id}).fetchone() is not None:
        return After(remove=tuple(one.file for one in arrival.files))
    # Who signed it may be known since a moment ago: what he wrote before is acted on before.
    before = again(c, context, arrival.event.from_) if isinstance(arrival.event, m.Delivery | m.Notify) else []
    after = together(*before, _keep(c, context, arrival))
    if arrival.head.copies:  # whose note may have come before it
        after = together(after, *again(c, context, arrival.event.from_))
    _HEARD(c, {"id": arrival.event.id})
    if after.caught_up:
        trim(c)
    return after


def pass_over(c: Rows, id: str) -> None:
    """An event that cannot be kept in any form is not taken in again, either."""
    _HEARD(c, {"id": id})


def trim(c: Rows) -> None:
    """Forget what came all but the latest `limits.HEARD_MAX` events; now and then, not with each of them."""
    oldest = select(heard.c.id).order_by(heard.c.id.desc()).limit(1).offset(limits.HEARD_MAX).scalar_subquery()
    c.execute(delete(heard).where(heard.c.id <= oldest))


def _keep(c: Rows, context: Context, arrival: Arrival) -> After:  # noqa: PLR0911 - a table of events
    now_ms = arrival.received_ms
    match arrival.event:
        case m.Delivery() | m.Notify():
            return _post(c, context, arrival)
        case m.PingEvent() | m.InviteEvent() as event:
            return _first_contact(c, context, arrival, event)
        case m.MemberEvent() as event:
            joined = meeting.membership(c, context, event, now_ms)
            return After(members_of=(event.gid,) if joined else (), aliases=True)
        case m.UserEvent() as event:
            if event.newalias:
                people.learn(c, context.uid, event.newalias, "self", now_ms)
            return After(aliases=True)
        case m2.ReturnEvent() as event:
            return _returned(c, context, event, now_ms)
        case m2.BlockEvent() as event:
            meeting.block(c, context, event, now_ms)
            return After(counts=True)
        case m2.LogEvent() as event:
            if context.trust is None or context.trust.heard(c, event, arrival.data):
                return After()
            own = event.uid == context.uid
            return After(own_log=own, look_at=() if own else (event.uid,))
        case m.LoginEvent():
            if context.trust is not None:
                context.trust.caught_up(c)
            return After(caught_up=True)
    return After()


# -- first contacts --------------------------------------------------------------------------------------------------
def _first_contact(c: Rows, context: Context, arrival: Arrival, event: m.PingEvent | m.InviteEvent) -> After:
    """A ping, or an invitation to a group. The service has checked that `alias` is the sender's."""
    outgoing = event.from_ == context.uid
    meeting.first_contact(c, context, event, arrival.received_ms)
    kind: Literal["ping", "invitation"] = "ping"
    to: tuple[tuple[str, int], ...] = ((event.to, 0),)
    if isinstance(event, m.InviteEvent):
        meeting.invited(c, context, event, arrival.received_ms)
        kind, to = "invitation", ((event.gid, TO_GROUP),)
    new = NewMessage(
        id=event.id,
        kind=kind,
        outgoing=outgoing,
        author=event.from_,
        alias=event.alias,
        verified=True,
        to=to,
        thread="",
        subject=event.gid if isinstance(event, m.InviteEvent) else "",
        text=arrival.text,
        posted=event.posted,
        received_ms=arrival.received_ms,
        state="sent" if outgoing else "received",
        seen=outgoing,
    )
    _record(c, context, new)
    return After(look_at=() if outgoing else (event.from_,), counts=True)


# -- posts -----------------------------------------------------------------------------------------------------------
def _post(c: Rows, context: Context, arrival: Arrival) -> After:
    """A post: between clients, or a message."""
    event = arrival.delivery
    assert event is not None
    gone = tuple(one.file for one in arrival.files)
    said = _judged(c, context, arrival)
    if said is not None:
        if said.again_of:
            return After(remove=gone)
        arrival = replace(arrival, sealed=msgspec.json.encode(said).decode())
    if arrival.state == "received" and _is_between_clients(context, arrival):
        after = between.clients(c, context, arrival, said if arrival.opened is not None else None)
    elif said is not None and said.forged:
        nobodys = replace(arrival, head=PostHead(), files=(), state="unreadable", problem=" ".join(said.doubts))
        after = replace(_message(c, context, nobodys, believed=False), remove=gone)
    elif _says_who_reads(arrival):
        after = _asked_in(c, context, arrival, said)
    else:
        tells = bool(arrival.head.confirmid) or _begins_late(c, arrival)
        after = _message(c, context, arrival, believed=_is_believed(c, context, arrival, said))
        if tells and arrival.opened is not None and said is not None and not said.settled:
            between.defer(c, replace(arrival, text=""))  # which is kept: it is a message of its own until then
    return replace(after, own_log=True) if said is not None and not said.settled else after


def again(c: Rows, context: Context, author: str = "") -> list[After]:
    """Logs have been looked at: what waited for that is acted on, where its device still stands in one. `author`: only
    what this account wrote.

    One by which something fails is undone and dropped: it would be in the way of all that comes after it.
    """
    done = []
    for id in between.deferred_ids(c, author):
        try:
            with c.begin_nested():
                after = _again(c, context, id)
        except DISK_FAILED:
            raise
        except Exception as error:
            report(f"{context.name} a post that waited", error)
            between.drop(c, id)
        else:
            done += [after] if after is not None else []
    return done


def _again(c: Rows, context: Context, id: str) -> After | None:
    """One of them; None where it waits on, or nothing follows from it."""
    ready = between.take_up(c, context, id)
    if ready is None:
        return None
    arrival, said = ready
    if arrival.head.confirmid:
        if between.is_barred(c, context, arrival, said) or not _is_believed(c, context, arrival, said):
            return None
        return After(remove=tuple(forwarding.confirmed_late(c, context, arrival)), counts=True)
    if _begins_late(c, arrival) and not _is_between_clients(context, arrival):
        if _is_believed(c, context, arrival, said):
            _read_by(c, context, arrival, arrival.event.id)
        return None
    if not _says_who_reads(arrival):
        return between.believed(c, context, arrival, said, ())
    return None if said.forged else _asked_in(c, context, arrival, said)


def _says_who_reads(arrival: Arrival) -> bool:
    """Whether it asks people into a thread: they are sealed to from then on."""
    event, head = arrival.delivery, arrival.head
    notified = isinstance(event, m.Notify) or (isinstance(event, m.Delivery) and event.notify)
    return arrival.state == "received" and not head.confirmid and bool(notified or head.adds or head.copies)


def _begins_late(c: Rows, arrival: Arrival) -> bool:
    """Whether it is the first message of a conversation that is here already: an answer was read before it."""
    head, id = arrival.head, arrival.event.id
    return not head.confirmid and (head.threadid or id) == id and threads.is_known(c, id)


def _asked_in(c: Rows, context: Context, arrival: Arrival, said: Sealed | None) -> After:
    """People are asked into a thread. Into a sealed one only by a device that has signed it and was not barred since:
    else the service could ask somebody in, and every reader's device would seal to him.
    """
    gone = tuple(one.file for one in arrival.files)
    thread = arrival.head.threadid or ""
    if arrival.opened is not None and said is not None:
        if between.waits(c, context, arrival, said):
            between.defer(c, arrival)
            return After(remove=gone, own_log=True)
        why = _BY_BARRED if between.is_barred(c, context, arrival, said) else ""
    else:
        wanted_plain = registers.get(c, "thread", thread, "encryption") == "off"
        why = _BY_NOBODY if sealing.was_sealed(c, thread) and not wanted_plain else ""
    if not why:
        return _message(c, context, arrival, believed=_is_believed(c, context, arrival, said))
    unheard = replace(arrival, head=PostHead(threadid=thread), files=(), state="unreadable", problem=why)
    return replace(_message(c, context, unheard, believed=False), remove=gone)


_BY_BARRED: Final = "it asks people into this conversation, and a device that was barred has signed it"
_BY_NOBODY: Final = "it asks people into this encrypted conversation, and nobody has signed it"


def _judged(c: Rows, context: Context, arrival: Arrival) -> Sealed | None:
    """What its signature is worth, or what is to be said of it since it has none; None: nothing."""
    event, trust = arrival.event, context.trust
    if trust is None or arrival.state != "received":
        return None
    if arrival.opened is not None:
        return trust.judge(c, event.id, event.from_, event.posted, arrival.opened, waited=arrival.waited)
    doubts = trust.plain(c, event.from_, arrival.head.threadid or "")
    return Sealed("", "", 0, "", doubts) if doubts else None


def _is_between_clients(context: Context, arrival: Arrival) -> bool:
    head = arrival.head
    own = arrival.event.from_ == context.uid
    return bool((own and head.nodesync) or head.control or head.part is not None)


def _is_believed(c: Rows, context: Context, arrival: Arrival, said: Sealed | None) -> bool:
    """Whether what it says of a thread's readers holds: a service that makes it up would be read to by all of them.

    Where a thread was sealed, only what a device has signed that stood in its account's log; that something before it
    is missing says nothing against that.
    """
    thread = arrival.head.threadid or arrival.event.id
    confirms = bool(arrival.head.confirmid and arrival.opened is not None)  # perhaps what is not here yet
    if context.trust is None or not (confirms or sealing.was_sealed(c, thread)):
        return True
    if arrival.opened is None:
        return bool(registers.get(c, "thread", thread, "encryption") == "off")
    return said is not None and said.settled and not set(said.doubts) - OF_ORDER


def _message(c: Rows, context: Context, arrival: Arrival, *, believed: bool = True) -> After:
    """What a person reads: a message, a note, the copy of a thread, a confirmation. What is not `believed` is shown,
    and nothing follows from it.
    """
    event, head = arrival.delivery, arrival.head
    assert event is not None
    _learn_author(c, context, arrival)
    if arrival.state == "received":
        if head.confirmid and believed:
            kept, copies = forwarding.confirmed(c, context, arrival, _new(c, context, arrival))
            if kept is None:
                return After(remove=tuple(one.file for one in arrival.files), sends=True, counts=True)
            _record(c, context, kept)
            gone = messages.remove(c, copies)
            has_parts = any(one.transfer is not None for one in head.attach)
            return After(remove=tuple(gone), parts=has_parts, sends=True, counts=True)
        if isinstance(event, m.Notify):
            return _note(c, context, arrival, event.postid, believed=believed)
        if head.adds:
            return _note(c, context, arrival, head.adds, believed=believed)
        if head.copies or event.notify:
            try:
                forwarding.copied(c, context, arrival, believed=believed)
            except ValueError as error:
                arrival = replace(arrival, head=PostHead(), state="unreadable", problem=str(error))
            else:
                return After(remove=tuple(one.file for one in arrival.files), counts=True)
    new = _new(c, context, arrival)
    is_first = not threads.is_known(c, new.thread or new.id)
    _record(c, context, new)
    # What answers it may have been read before, and then a service that makes it up would name readers of what is here.
    # The readers of a confirmed message come with its copy.
    if not head.confirmid and (is_first or (new.id == new.thread and new.state != "sealed" and believed)):
        _read_by(c, context, arrival, new.thread or new.id)
    if new.state == "sealed" and arrival.suite == DEVICES and context.trust is not None and arrival.via is None:
        between.ask_for_key(c, context, new.id, new.author)
    has_parts = any(one.transfer is not None for one in head.attach)
    return After(parts=has_parts, sends=True, look_at=() if new.outgoing else (event.from_,), counts=True)


def _note(c: Rows, context: Context, arrival: Arrival, copy: str, *, believed: bool) -> After:
    """People were asked into a thread; the note of op 8 goes by the id of the copy that they got, on all devices."""
    added = forwarding.noted(c, context, arrival, copy) if believed else arrival.head.cc
    if added is None:
        if arrival.opened is not None and not threads.readers(c, arrival.head.threadid or ""):
            between.defer(c, arrival)  # it has overtaken the copy that it goes with
        return After(remove=tuple(one.file for one in arrival.files))
    notes = dict.fromkeys(one.note for one in added if one.note)
    text = arrival.text or "\n".join(notes)
    # What its author calls the copy is no name for it: a message that is to come would be taken for known.
    id = copy if isinstance(arrival.event, m.Notify) else arrival.event.id
    new = replace(_new(c, context, arrival), id=id, kind="note", text=text, attachments=(), of=copy)
    _record(c, context, new)
    return After(remove=tuple(one.file for one in arrival.files), sends=True, counts=True)


def _new(c: Rows, context: Context, arrival: Arrival) -> NewMessage:
    event, head = arrival.delivery, arrival.head
    assert event is not None
    outgoing = event.from_ == context.uid
    alias = event.alias or meeting.alias_of(c, event.from_)
    blocked = not outgoing and people.is_blocked(c, event.from_)  # what still comes through a common group is folded
    files = _attachments(c, context, arrival)
    state_now: models.MessageState = arrival.state
    if arrival.state == "received" and outgoing:
        state_now = "sent"
    elif arrival.state == "received" and any(not one.file for one in files):
        state_now = "partial"
    text = arrival.text if arrival.state == "received" else _said(arrival)
    return NewMessage(
        id=event.id,
        kind="message",
        outgoing=outgoing,
        author=event.from_,
        alias=alias or head.alias[: limits.ALIAS_SHOWN_CHARACTERS] or event.from_,
        verified=bool(alias),
        to=(_signed_to(arrival) if outgoing else ()) or _groups_of(c, head),
        thread=head.threadid or event.id,
        subject=head.subject[: limits.SUBJECT_KEPT_CHARACTERS],
        text=text,
        posted=event.posted,
        received_ms=arrival.received_ms,
        state=state_now,
        seen=outgoing or blocked,
        suite=arrival.suite,
        sealed=arrival.sealed,
        attachments=files,
    )


def _said(arrival: Arrival) -> str:
    """What stands in place of a text that is not there."""
    return f"(This message cannot be read: {arrival.problem}.)" if arrival.state == "unreadable" else ""


def _attachments(c: Rows, context: Context, arrival: Arrival) -> tuple[NewAttachment, ...]:
    """Those that came with it, and those that come in parts. Of what could not be read, its octets."""
    here = iter(arrival.files)
    if arrival.state != "received":
        return tuple(NewAttachment("file", one.name, "", one.size, one.file, one.size) for one in here)
    found = []
    for attached in arrival.head.attach:
        if attached.transfer is not None:
            author = arrival.event.from_
            found.append(parts.attachment(c, author, attached, safe_name(attached), arrival.received_ms))
        else:
            one = next(here)
            found.append(NewAttachment(one.kind, one.name, one.form, one.size, one.file, one.size, hash=one.hash))
    return tuple(found)


def _signed_to(arrival: Arrival) -> tuple[tuple[str, int], ...]:
    """To whom another of one's own devices has sealed it."""
    if arrival.opened is None:
        return ()
    return tuple((one.id, one.type) for one in arrival.opened.manifest.for_)


def _groups_of(c: Rows, head: PostHead) -> tuple[tuple[str, int], ...]:
    """The groups that a new thread is for, of those that this account is in: their entries name them twice."""
    named = [one.whouid for one in head.cc if one.who == one.whouid]
    return tuple((gid, TO_GROUP) for gid in named if meeting.group_stands(c, gid) == "joined")


def _learn_author(c: Rows, context: Context, arrival: Arrival) -> None:
    event = arrival.delivery
    assert event is not None
    if event.from_ == context.uid:
        meeting.wrote_to(c, [one.whouid for one in arrival.head.cc if one.whouid != context.uid])
        return
    via = arrival.via
    if via is not None:
        received_ms = arrival.received_ms
        meeting.learn(c, context, event.from_, via.address, "ping", received_ms, via=via.bridge, proof=via.proof)
        return
    in_group = any(one.who == one.whouid for one in arrival.head.cc)
    known_by: people.KnownBy = "group" if in_group else "introduction"
    meeting.learn(c, context, event.from_, event.alias, known_by, arrival.received_ms)
    if not in_group:
        meeting.wrote(c, event.from_)


def _read_by(c: Rows, context: Context, arrival: Arrival, thread: str) -> None:
    """Who reads a thread that begins: those whom its first message names, else its author and this account."""
    event = arrival.event
    named = [one for one in arrival.head.cc if one.subscribe and one.whouid]
    if not named:
        author = meeting.alias_of(c, event.from_)
        named_readers = [models.Reader(event.from_, author), models.Reader(context.uid, context.identity.alias)]
    else:
        named_readers = [
            models.Reader(one.whouid, meeting.alias_of(c, one.whouid) or one.who, one.byuid, one.note) for one in named
        ]
    threads.add_readers(c, thread, named_readers, event.posted)


def _record(c: Rows, context: Context, new: NewMessage) -> bool:
    """Keep a message, and what devices agree about it already; tell of it. False when it was here."""
    if not messages.record(c, new, context.aliases):
        return False
    gathering.gather(c, context.files, new.id, new.author, new.attachments)
    state.arrived(c, context.at(), new.id, new.thread or new.id)
    notifying.message_came(c, context, new.id)
    return True


# -- returns ---------------------------------------------------------------------------------------------------------
def _returned(c: Rows, context: Context, event: m2.ReturnEvent, now_ms: int) -> After:
    """What somebody did not get, and why (A4). Of what no person wrote, nobody is told."""
    if context.trust is not None:
        context.trust.returned(c, event.msgid, event.for_)
    sent = messages.view(c, event.msgid) or messages.note_of(c, event.msgid)
    if sent is None or not sent.outgoing:
        return After()
    missed = [meeting.alias_of(c, uid) or uid for uid in event.for_]
    messages.change(c, sent.id, state="returned")
    new = NewMessage(
        id=event.id,
        kind="return",
        outgoing=False,
        author=event.for_[0] if event.for_ else "",
        alias=", ".join(missed),
        verified=True,
        to=(),
        thread=sent.thread,
        subject="",
        text=event.reason,
        posted=event.posted,
        received_ms=now_ms,
        state="received",
        seen=False,
        of=sent.id,
    )
    _record(c, context, new)
    return After(counts=True)


def members(c: Rows, context: Context, gid: str, listed: Iterable[m2.MemberListed], now_ms: int) -> None:
    """Who has joined a group, as the service has it (op 20)."""
    found = list(listed)
    for one in found:
        if one.uid != context.uid:
            meeting.learn(c, context, one.uid, one.alias, "group", now_ms)
    groups.replace_members(c, gid, [models.Member(one.uid, one.alias, "joined", one.owner) for one in found])
