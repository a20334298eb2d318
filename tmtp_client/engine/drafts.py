# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is being written, on whichever device: the fields of a draft are registers, its files stay on this device.

A draft is there as long as one of its fields says something. Thrown away, or sent, its words are taken out of the
registers here and on all devices. Words that another device wrote later, not knowing, stand as a draft again: a person
would rather throw them away twice than miss them.
"""

from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select

from tmtp_client import limits
from tmtp_client.api.models import Draft
from tmtp_client.store import tables
from tmtp_client.sync import clock, registers
from tmtp_client.sync.registers import HERE, At

KIND: Final = "draft"
_NOTHING: Final[dict[str, Any]] = {"thread": "", "to": [], "subject": "", "text": ""}
_r = tables.register.c


def save(c: Connection, at: At, draft: Draft) -> Draft | None:
    """Keep a draft as it is now; None where nothing is left in it. Raises ValueError for one that is too large."""
    if not draft.key:
        raise ValueError("key: a draft needs one: its thread's id, or new- and what the client chose")
    if len(draft.to) > limits.DRAFT_TO_MAX:
        raise ValueError(f"to: a draft has {limits.DRAFT_TO_MAX} recipients at most")
    wanted = {"thread": draft.thread, "to": list(draft.to), "subject": draft.subject, "text": draft.text}
    present = {**_NOTHING, **registers.fields(c, KIND, draft.key)}
    changed = {field: value or None for field, value in wanted.items() if value != present[field]}
    registers.set(c, at, KIND, draft.key, changed)
    if draft.files or registers.get(c, HERE, _here(draft.key), "files"):
        registers.set(c, at, HERE, _here(draft.key), {"files": list(draft.files)})
    return get(c, draft.key)


def drop(c: Connection, at: At, key: str) -> None:
    """Throw a draft away, with its words; nothing where there is none."""
    written = registers.fields(c, KIND, key)
    registers.set(c, at, KIND, key, dict.fromkeys(written))
    registers.forget(c, HERE, _here(key))


def get(c: Connection, key: str) -> Draft | None:
    """A draft as it is on this device; None where there is none."""
    return _draft(c, key, list(c.execute(select(_r.field, _r.value, _r.stamp).where(_r.kind == KIND, _r.key == key))))


def all_of(c: Connection) -> list[Draft]:
    """Every draft, the one changed last first."""
    keys = c.scalars(select(_r.key).where(_r.kind == KIND, _r.value != "null").distinct()).all()
    found = [draft for key in keys if (draft := get(c, key)) is not None]
    return sorted(found, key=lambda draft: (-draft.changed_ms, draft.key))


def files_in_use(c: Connection) -> frozenset[str]:
    """Staged files that a draft on this device has: not to be swept away."""
    rows = c.scalars(select(_r.value).where(_r.kind == HERE, _r.field == "files", _r.key.startswith(f"{KIND}:")))
    return frozenset(file for value in rows for file in msgspec.json.decode(value) or ())


def _draft(c: Connection, key: str, rows: list[Any]) -> Draft | None:
    said = {field: msgspec.json.decode(value) for field, value, _ in rows}
    fields = {field: said[field] for field, nothing in _NOTHING.items() if type(said.get(field)) is type(nothing)}
    to = tuple(one for one in fields.pop("to", ()) if isinstance(one, str))
    files = registers.get(c, HERE, _here(key), "files") or ()
    if not to and not files and not any(fields.values()):
        return None
    stamps = [stamp.ms for row in rows if (stamp := clock.read_stamp(row[2])) is not None]
    return Draft(key, to=to, files=tuple(files), changed_ms=max(stamps, default=0), **fields)


def _here(key: str) -> str:
    return f"{KIND}:{key}"
