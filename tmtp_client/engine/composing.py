# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person writes becomes an entry of the outbox: new messages, replies, forwards, pings, invitations (B1, D2).

Everything is judged here, while the person is there to hear of it; what can only show when it is sent is said by the
entry's state. All raise `ProblemError`.
"""

from typing import Any, Literal

import msgspec
from sqlalchemy import Connection as Rows
from sqlalchemy import select

from tmtp_client import limits
from tmtp_client.api import models, operations, problems
from tmtp_client.engine import drafts, forwarding, posting, recipients, sealing, sending, staging
from tmtp_client.engine.context import Context
from tmtp_client.engine.recipients import Recipients
from tmtp_client.store import messages, outbox, threads
from tmtp_client.store.outbox import Content, File
from tmtp_client.store.tables import attachment, message
from tmtp_client.sync import settings
from tmtp_core import limits as core_limits
from tmtp_core.wire.payload import Forwarded, Subscriber


class Composing:
    """For one account. What is returned is durable; the sender is told to look."""

    def __init__(self, context: Context) -> None:
        self._context = context

    # -- messages ----------------------------------------------------------------------------------------------------
    async def send(self, asked: operations.Send, extra: tuple[File, ...] = ()) -> models.Waiting:
        """A message, or a reply. `extra`: forms, blank or filled, already in the vault."""
        _check_text(asked.text)
        subject = _subject(asked.subject)
        if not asked.text.strip() and not asked.files and not extra:
            raise problems.usage("a message needs a text or a file", "text")
        return await self._enqueued(lambda c: self._send(c, asked, subject, extra))

    async def forward(self, asked: operations.Forward) -> models.Waiting:
        """Messages with their attachments, in a new thread, marked as what they are; no file is copied."""
        _check_text(asked.text)
        if not asked.messages:
            raise problems.usage("say which messages", "messages")
        if len(asked.messages) > limits.COPIED_MAX:
            raise problems.usage(f"it takes {limits.COPIED_MAX} messages at most", "messages")
        return await self._enqueued(lambda c: self._forward(c, asked))

    async def add(self, asked: operations.AddReaders) -> models.Waiting:
        """Ask people into a thread, with a note."""
        check_unicode(asked.note, "note")
        if len(asked.note.encode()) > limits.NOTE_MAX_BYTES:
            raise problems.usage(f"a note has at most {limits.NOTE_MAX_BYTES} octets", "note")
        return await self._enqueued(lambda c: self._add(c, asked))

    # -- first contacts ----------------------------------------------------------------------------------------------
    async def ping(self, alias: str, text: str) -> models.Waiting:
        """A first contact: plain text, 140 UTF-16 units of it (D2)."""
        _check_ping(text)
        content = Content(to=((_alias(alias), 0),), names=(alias,), text=text)
        return await self._enqueued(lambda c: self._at_once(c, "ping", content))

    async def invite(self, gid: str, alias: str, text: str) -> models.Waiting:
        """Invite somebody into a group; the rules of a ping."""
        _check_ping(text)
        if len(gid.encode()) < core_limits.NAME_MIN_BYTES:
            raise problems.usage(f"a group's name has at least {core_limits.NAME_MIN_BYTES} octets", "gid")
        content = Content(to=((_alias(alias), 0),), names=(alias,), text=text, gid=gid)
        return await self._enqueued(lambda c: self._at_once(c, "invitation", content))

    # -- what waits --------------------------------------------------------------------------------------------------
    async def act(self, request: str, act: Literal["undo", "now", "retry", "drop"]) -> None:
        """Undo, send now, retry, drop. What is on its way can be taken back until all of it was said."""
        context = self._context
        underway = context.underway
        if act in {"undo", "drop"} and underway is not None and underway.request_id == request and not underway.said:
            underway.taken_back.set()
            if underway.is_tried:
                await underway.gone.wait()
            else:
                await context.database.write(lambda c: sending.take_back(c, context, request))
                context.to_send.set()  # what stood behind it in its lane
            if await context.database.read(lambda c: outbox.find(c, request)) is None and not underway.said:
                return

        def change(c: Rows) -> None:
            if act in {"undo", "drop"} and (whole := outbox.find(c, request)) is not None:
                for part in outbox.parts_of(c, whole):
                    if part.prepared and part.state != "sending":
                        sealing.never_sent(c, context, part.request_id)
            entry = outbox.act(c, request, act, context.clock(), context.random_bytes)
            if entry.prepared and act != "now":
                sealing.never_sent(c, context, request)

        try:
            await context.database.write(change)
        except KeyError:
            raise problems.not_found("nothing of this name waits", "request") from None
        except outbox.Conflict as conflict:
            raise problems.ProblemError("conflict", str(conflict), "request") from None
        context.to_send.set()

    # -- inside ------------------------------------------------------------------------------------------------------
    async def _enqueued(self, work: Any) -> models.Waiting:
        def change(c: Rows) -> models.Waiting:
            try:
                waiting = outbox.view(c, work(c))
            except recipients.Unknown as unknown:
                raise problems.not_found(str(unknown), "to") from None
            except ValueError as error:
                field, _, text = str(error).partition(": ")
                raise (problems.usage(text, field) if field.isidentifier() else problems.usage(str(error))) from None
            assert waiting is not None
            return waiting

        waiting = await self._context.database.write(change)
        self._context.to_send.set()
        return waiting

    def _at_once(self, c: Rows, kind: outbox.Kind, content: Content) -> str:
        now_ms = self._context.clock()
        return self._enqueue(c, kind, content, now_ms, now_ms)

    def _enqueue(
        self, c: Rows, kind: outbox.Kind, content: Content, due_ms: int, now_ms: int, *, scheduled: bool = False
    ) -> str:
        """Unless it is more than a recipient reads: a head of so many octets, or recipients than a request can name."""
        context = self._context
        if len(content.to) + len(content.known) > limits.RECIPIENTS_MAX:
            raise problems.usage(f"at most {limits.RECIPIENTS_MAX} people and groups get one message", "to")
        request = outbox.enqueue(c, kind, content, due_ms, now_ms, context.random_bytes, scheduled=scheduled)
        if kind in {"message", "note"}:
            head = posting.body(outbox.must_find(c, request), context.identity.alias).head_octets
            if len(head) + limits.POST_HEAD_MARGIN_BYTES > limits.PAYLOAD_HEAD_MAX_BYTES:
                raise problems.usage("it has too many people, files or messages in it: send less at once")
        return request

    def _send(self, c: Rows, asked: operations.Send, subject: str, extra: tuple[File, ...]) -> str:
        context = self._context
        now_ms = context.clock()
        thread, to = self._where(c, asked)
        files = staging.named_apart([*staging.taken(c, asked.files), *extra])
        if thread:
            known = threads.view(c, thread)
            subject = "" if known is not None and subject == known.subject else subject
        content = Content(
            to=to.to,
            names=to.names,
            subject=subject,
            thread=thread,
            text=asked.text,
            cc=() if thread else self._readers(to),
            files=files,
        )
        delay_s = asked.delay_s if asked.delay_s is not None else settings.get(c, "undo_s")
        if not 0 <= delay_s <= limits.UNDO_MAX_S:
            raise problems.usage(f"a message waits {limits.UNDO_MAX_S} seconds at most to be undone", "delay_s")
        if asked.due_ms - now_ms > limits.SCHEDULE_MAX_MS:
            raise problems.usage("a message can be scheduled for the next five years", "due_ms")
        due_ms = asked.due_ms or now_ms + 1000 * delay_s
        scheduled = asked.due_ms > now_ms
        request = self._enqueue(c, "message", content, due_ms, now_ms, scheduled=scheduled)
        if asked.draft:
            drafts.drop(c, context.at(), asked.draft)
        return request

    def _where(self, c: Rows, asked: operations.Send) -> tuple[str, Recipients]:
        """In which thread ("": a new one), and to whom."""
        if not asked.reply:
            return "", recipients.resolve(c, asked.to)
        named = messages.named(c, asked.reply)
        if named is None:
            raise problems.not_found("no message here is called so", "reply")
        row = c.execute(select(message).where(message.c.id == named)).one()
        if row.kind in {"ping", "invitation"}:
            return "", recipients.of_uids(c, [row.author]) if not asked.to else recipients.resolve(c, asked.to)
        readers = recipients.readers_of(c, row.thread, self._context.uid) or self._writers(c, row.thread)
        if asked.only_author:
            if row.outgoing:
                raise problems.usage("the message is your own: nobody but you is its author", "only_author")
            return row.thread, recipients.of_uids(c, [row.author])
        if not asked.to:
            if not readers:
                raise problems.usage("nobody else reads this conversation: say to whom", "to")
            return row.thread, recipients.of_uids(c, readers)
        to = recipients.resolve(c, asked.to)
        strangers = [name for name, uid in to.people if uid not in readers]
        if strangers:
            raise problems.usage(
                f"{', '.join(strangers)} cannot see this conversation yet: ask them in, or begin another", "to"
            )
        return row.thread, to

    def _writers(self, c: Rows, thread: str) -> tuple[str, ...]:
        """Who is in a thread whose first message, of another client, named no readers."""
        gid = (known := threads.view(c, thread)) and known.gid
        if gid:
            return (gid,)
        found: dict[str, None] = {}
        for row in c.execute(
            select(message.c.author, message.c.to, message.c.outgoing).where(message.c.thread == thread)
        ):
            sent_to = [one for one, kind in msgspec.json.decode(row.to, type=list[tuple[str, int]]) if kind == 1]
            found.update(dict.fromkeys(sent_to if row.outgoing else [row.author]))
        found.pop(self._context.uid, None)
        return tuple(found)

    def _readers(self, to: Recipients) -> tuple[Subscriber, ...]:
        identity = self._context.identity
        return posting.readers(identity.alias, identity.uid, to.people)

    def _forward(self, c: Rows, asked: operations.Forward) -> str:
        context = self._context
        to = recipients.resolve(c, asked.to)
        rows = c.execute(
            select(message)
            .where(message.c.thread == asked.thread, message.c.id.in_(asked.messages))
            .order_by(message.c.posted, message.c.id)
        ).all()
        missing = set(asked.messages) - {row.id for row in rows}
        if missing:
            raise problems.not_found(f"the conversation has no message {sorted(missing)[0]}", "messages")
        text = asked.text.rstrip()
        files: list[File] = []
        marks = []
        for row in rows:
            if row.state in {"sealed", "unreadable"}:
                raise problems.refused("a message that cannot be read here cannot be handed on", "messages")
            text += "\n\n" if text else ""
            text += f"---\n\n**{_plain(row.alias)}**, {row.posted}:\n\n"
            start = len(text.encode())
            text += row.text
            attach = []
            for one in c.execute(select(attachment).where(attachment.c.message == row.id).order_by("place")):
                if not one.file:
                    raise problems.not_now(f"{one.name} has not come yet: forward the message when it is here")
                attach.append(len(files))
                files.append(File(one.name, one.kind, one.file, one.size, one.hash, one.form))
            size = len(row.text.encode())
            marks.append(Forwarded(row.id, row.author, row.alias, row.posted, row.subject, start, size, tuple(attach)))
        _check_text(text)
        if len(files) > limits.ATTACHMENTS_MAX:
            raise problems.usage(f"at most {limits.ATTACHMENTS_MAX} files go with one message", "messages")
        known = threads.view(c, asked.thread)
        subject = known.subject if known is not None else ""
        content = Content(
            to=to.to,
            names=to.names,
            subject=_forwarded(subject),
            text=text,
            cc=self._readers(to),
            files=staging.named_apart(files),
            forwarded=tuple(marks),
        )
        now_ms = context.clock()
        due_ms = now_ms + 1000 * int(settings.get(c, "undo_s"))
        return self._enqueue(c, "message", content, due_ms, now_ms)

    def _add(self, c: Rows, asked: operations.AddReaders) -> str:
        context, identity = self._context, self._context.identity
        if threads.view(c, asked.thread) is None:
            raise problems.not_found("there is no such conversation", "thread")
        to = recipients.resolve(c, asked.to)
        known = recipients.readers_of(c, asked.thread, context.uid) or self._writers(c, asked.thread)
        again = [name for name, uid in to.people if uid in known or uid == context.uid]
        if again:
            raise problems.usage(f"{', '.join(again)} can see this conversation already", "to")
        cc = tuple(
            Subscriber(name, uid, identity.alias, context.uid, posting.NOT_YET, asked.note, subscribe=True)
            for name, uid in to.people
        )
        content = Content(
            to=to.to,
            names=to.names,
            thread=asked.thread,
            text=forwarding.copy_of(c, asked.thread, context.uid),
            note=asked.note,
            cc=cc,
            known=recipients.of_uids(c, known).to,
        )
        return self._at_once(c, "note", content)


def _check_text(text: str) -> None:
    if len(text.encode(errors="replace")) > limits.TEXT_MAX_BYTES:
        raise problems.usage(f"a text has at most {limits.TEXT_MAX_BYTES} octets; send it as a file", "text")
    check_unicode(text)


def check_unicode(text: str, field: str = "text") -> None:
    """Raise `ProblemError` for a text that UTF-8 cannot say."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise problems.usage("the text has half a character in it", field) from None


def _check_ping(text: str) -> None:
    """What a service would end the connection for (wire.md §6)."""
    check_unicode(text)
    units = len(text.encode("utf-16-le")) // 2
    if units > core_limits.PING_MAX_UTF16_UNITS:
        raise problems.usage(
            f"a ping has at most {core_limits.PING_MAX_UTF16_UNITS} characters; this has {units}", "text"
        )
    if "\ufffd" in text:
        raise problems.usage("a ping cannot have the character U+FFFD in it", "text")


def _alias(alias: str) -> str:
    if not alias or not alias.isprintable():
        raise problems.usage("say whom, by a name that he has here", "alias")
    return alias


def _subject(subject: str) -> str:
    bare = subject.strip()
    if len(bare) > limits.SUBJECT_MAX_CHARACTERS:
        raise problems.usage(f"a subject has at most {limits.SUBJECT_MAX_CHARACTERS} characters", "subject")
    if not bare.isprintable():
        raise problems.usage("a subject is one line of plain text", "subject")
    return bare


def _forwarded(subject: str) -> str:
    marked = subject if subject.startswith("Fwd: ") else f"Fwd: {subject}".strip()
    return marked[: limits.SUBJECT_MAX_CHARACTERS]


def _plain(alias: str) -> str:
    """A name between asterisks, with nothing in it that is markup."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]()<>#+-.!|~" else char for char in alias)
