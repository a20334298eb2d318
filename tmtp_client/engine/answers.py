# SPDX-License-Identifier: AGPL-3.0-or-later
"""What people filled into forms, gathered: kept with the message that brought it, a table, and that as CSV."""

import csv
import io
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client import limits
from tmtp_client.api.models import Form, FormAnswers
from tmtp_client.engine import forms
from tmtp_client.store.tables import answer, attachment, message

_ABOUT: Final = ("message", "author", "alias", "posted")
_BEGINS: Final = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # what a spreadsheet takes for a formula
# What it would take for one, where it takes such a separator to end a cell, whatever quotes say.
_BEGINS_WITHIN: Final = re.compile(r"([;\t\r\n][\"' ]*)(?=[=@\uff1d\uff20]|[+\-\uff0b\uff0d][\w(])")


def record(c: Connection, id: str, place: int, ffn: str, author: str, values: Mapping[str, Any]) -> None:
    """Keep a filled form that a message brought (`forms.read_values`); again is once."""
    text = msgspec.json.encode(values).decode()
    row = {"message": id, "place": place, "form": ffn, "author": author, "values": text}
    c.execute(upsert(answer).values(row).on_conflict_do_nothing())


def blank_file(c: Connection, ffn: str, id: str = "", place: int = 0) -> str | None:
    """Where a blank form's JSON is in the vault, "" while it is not here yet, None where there is none.

    The one that the message `id` has at `place`; else one of its conversation before others. Among several one's own
    before others', the first before later ones, so that nobody replaces the questions under answers.
    """
    a, m = attachment.c, message.c
    blank = select(a.file).join(message, m.id == a.message).where(a.kind == "form", a.form == ffn)
    here: str | None = c.scalar(blank.where(a.message == id, a.place == place)) if id else None
    if here is not None:
        return here
    beside = (m.thread == thread_of(c, id)).desc()
    order = (beside, m.outgoing.desc(), m.posted, m.id, a.place)
    first: str | None = c.scalar(blank.where(a.file != "").order_by(*order).limit(1))
    return first


def thread_of(c: Connection, id: str) -> str:
    """The conversation of a message; "" of none."""
    return c.scalar(select(message.c.thread).where(message.c.id == id)) or ""


def table(c: Connection, form: Form, thread: str = "") -> FormAnswers:
    """All answers to a form, or those of one conversation, a row each, in the order in which they came. What fits no
    question is left out.
    """
    m, a = message.c, answer.c
    asked = (
        select(a.message, a.author, m.alias, m.posted, a["values"])
        .join(message, m.id == a.message)
        .where(a.form == form.ffn)
        .order_by(m.posted, m.id, a.place)
        .limit(limits.FORM_ROWS_MAX)
    )
    rows = c.execute(asked.where(m.thread == thread) if thread else asked)
    columns = (*_ABOUT, *(field.name for field in form.fields))
    return FormAnswers(form, columns, tuple((*about, *_cells(form, values)) for *about, values in rows))


def to_csv(answers: FormAnswers) -> str:
    """The table as CSV (RFC 4180), with the questions' titles above.

    A text that a spreadsheet would take for a formula begins with an apostrophe: opening the table runs nothing.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    titles = [field.title or field.name for field in answers.form.fields]
    writer.writerow([_harmless(one) for one in (*_ABOUT, *titles)])
    for row in answers.rows:
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def _cells(form: Form, text: str) -> list[Any]:
    values = msgspec.json.decode(text)
    found = [(field, values.get(field.name)) for field in form.fields]
    return [value if value is not None and forms.fits(field, value) else None for field, value in found]


def _cell(value: Any) -> str | int | float:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return value
        case list():
            return _harmless(", ".join(value))
        case _:
            return _harmless(str(value))


def _harmless(text: str) -> str:
    text = _BEGINS_WITHIN.sub(r"\1'", text.replace("\0", ""))
    return f"'{text}" if text.lstrip(" \"'\u00a0").startswith(tuple(_BEGINS)) else text
