# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations on forms: send one, fill one in, gather the answers (wire.md §11)."""

import asyncio
from typing import Literal

from sqlalchemy import Connection as Rows
from sqlalchemy import select

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api import problems
from tmtp_client.api.rooms import NO_MESSAGE, Handlers, Rooms, found
from tmtp_client.engine import answers, forms
from tmtp_client.engine.composing import Composing
from tmtp_client.engine.context import Context
from tmtp_client.store import messages, outbox
from tmtp_client.store.outbox import File
from tmtp_client.store.tables import attachment, message

_NO_FORM = "there is no form there"


class OnForms:
    """Their handlers; `messages.send` among them, which may bring one."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def handlers(self) -> Handlers:
        """By their operations' names."""
        return {
            "messages.send": self.send,
            "messages.fill": self.fill,
            "forms.answers": self.answers,
            "forms.csv": self.csv,
            "forms.waiting": self.waiting,
        }

    async def send(self, p: o.Send) -> m.Waiting:
        """Send or reply, with a blank form or without."""
        context = self._rooms.context(p.account)
        if p.form is None:
            return await Composing(context).send(p)
        form = m.Form(p.form.ffn or forms.new_ffn(context.random_bytes), p.form.title, p.form.fields)
        with problems.explained("form"):
            data = forms.write_form(form)
        file = await _kept(context, "form", form.title or "form", form.ffn, data)
        return await Composing(context).send(p, (file,))

    async def fill(self, p: o.FillForm) -> m.Waiting:
        """The answer goes to who asked; of one's own form to its conversation."""
        context = self._rooms.context(p.account)

        def look(c: Rows) -> tuple[str, bool, str, str, str]:
            id = found(messages.named(c, p.message), NO_MESSAGE, "message")
            a, of = attachment.c, message.c
            row = c.execute(
                select(a.name, a.form, a.file, of.outgoing)
                .join(message, of.id == a.message)
                .where(a.message == id, a.place == p.place, a.kind == "form")
            ).one_or_none()
            row = found(row, _NO_FORM, "place")
            return id, bool(row.outgoing), row.name, row.form, row.file

        id, own, name, ffn, stored = await context.database.read(look)
        form = await _read(context, stored, ffn)
        with problems.explained("values"):
            values = forms.check_values(form, p.values)
        file = await _kept(context, "filled", name, ffn, forms.write_values(values))
        reply = o.Send(p.account, text=p.text, reply=id, only_author=not own)
        return await Composing(context).send(reply, (file,))

    async def answers(self, p: o.OfForm) -> m.FormAnswers:
        """The table of a form's answers."""
        context = self._rooms.context(p.account)

        def look(c: Rows) -> tuple[str, str]:
            id = found(messages.named(c, p.message), NO_MESSAGE, "message") if p.message else ""
            stored = found(answers.blank_file(c, p.ffn, id, p.place), _NO_FORM, "ffn")
            return stored, answers.thread_of(c, id)

        stored, thread = await context.database.read(look)
        form = await _read(context, stored, p.ffn)
        return await context.database.read(lambda c: answers.table(c, form, thread))

    async def waiting(self, p: o.OfWaitingAnswer) -> m.WaitingAnswer:
        """So that an answer that is taken back can be changed, on whichever page that is done."""
        context = self._rooms.context(p.account)

        def look(c: Rows) -> tuple[str, str, int]:
            entry = found(outbox.find(c, p.request), "nothing of this name waits", "request")
            answer = next((one for one in entry.content.files if one.kind == "filled"), None)
            answer = found(answer, _NO_FORM, "request")
            a, of = attachment.c, message.c
            asking = select(a.message, a.place).join(message, of.id == a.message)
            asking = asking.where(of.thread == entry.content.thread, a.kind == "form", a.form == answer.form)
            row = c.execute(asking.order_by(of.posted.desc(), of.id.desc()).limit(1)).one_or_none()
            row = found(row, _NO_FORM, "request")
            return answer.file, row.message, row.place

        stored, id, place = await context.database.read(look)
        with problems.explained("request"):
            return m.WaitingAnswer(
                id, place, forms.read_values(await _octets(context, stored, limits.FILLED_MAX_BYTES))
            )

    async def csv(self, p: o.OfForm) -> m.Text:
        """The same as CSV."""
        return m.Text(answers.to_csv(await self.answers(p)))


async def _read(context: Context, stored: str, ffn: str) -> m.Form:
    """A blank form of the vault. Raises `ProblemError` for one that is none, or is not here yet."""
    if not stored:
        raise problems.not_now("the form has not come yet")
    with problems.explained("form"):
        return forms.read_form(await _octets(context, stored, limits.FORM_MAX_BYTES), ffn)


async def _octets(context: Context, stored: str, most: int) -> bytes:
    """A file of the vault; of a longer one its beginning, with which it is too long."""
    data = bytearray()
    pieces = context.files.read(stored)
    while len(data) <= most and (piece := await asyncio.to_thread(next, pieces, b"")):
        data += piece
    return bytes(data)


async def _kept(context: Context, kind: Literal["form", "filled"], name: str, ffn: str, data: bytes) -> File:
    """A form in the vault, to be sent."""

    def write() -> File:
        writer = context.files.writer()
        writer.write(data)
        stored = writer.finish()
        return File(name, kind, stored.file, stored.size, stored.hash, ffn)

    return await asyncio.to_thread(write)
