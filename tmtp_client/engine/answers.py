# SPDX-License-Identifier: AGPL-3.0-or-later
"""What people filled into forms, gathered: kept with the message that brought it, a table, and that as CSV."""

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client import limits
from tmtp_client.api.models import Form, FormAnswers
from tmtp_client.engine import forms
from tmtp_client.store.tables import answer, attachment, message
from tmtp_client.store.views import among

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
    """The answers to a form, or those of one conversation, a row each, in the order in which they came. What fits no
    question is left out.

    Where they are more than a table holds, each person's last one comes before earlier ones: who answers without end
    pushes out nothing but his own.
    """
    m, a = message.c, answer.c
    asked = (
        select(a.message, a.place, a.author, func.length(a["values"]).label("size"))
        .join(message, m.id == a.message)
        .where(a.form == form.ffn, *((m.thread == thread,) if thread else ()))
        .order_by(m.posted.desc(), m.id.desc(), a.place.desc())
        .limit(limits.FORM_ROWS_MAX + 1)
    )
    found = c.execute(asked).all()
    kept = _fitting(found[: limits.FORM_ROWS_MAX])
    rows = c.execute(
        select(a.place, a.message, a.author, m.alias, m.posted, a["values"])
        .join(message, m.id == a.message)
        .where(a.form == form.ffn, among(a.message, {id for id, _ in kept}))
        .order_by(m.posted, m.id, a.place)
    )
    columns = (*_ABOUT, *(field.name for field in form.fields))
    shown = ((about, values) for place, *about, values in rows if (about[0], place) in kept)
    return FormAnswers(
        form, columns, tuple((*about, *_cells(form, values)) for about, values in shown), more=len(kept) < len(found)
    )


def _fitting(newest_first: Sequence[Any]) -> set[tuple[str, int]]:
    """(message, place) of those for which there is room."""
    times: Counter[str] = Counter()
    ranked = []
    for row in newest_first:
        times[row.author] += 1
        ranked.append((times[row.author], row))
    ranked.sort(key=lambda one: one[0])
    room = limits.FORM_TABLE_MAX_CHARACTERS
    kept = set()
    for _, row in ranked:
        room -= row.size
        if room < 0:
            break
        kept.add((row.message, row.place))
    return kept


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
