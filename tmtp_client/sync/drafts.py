# SPDX-License-Identifier: AGPL-3.0-or-later
"""Drafts as this device has them: the fields of a draft are registers, its files stay on this device.

A draft is there as long as it has text, a subject, recipients, a form, answers to one, or files. Its thread alone makes
none.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select

from tmtp_client import limits
from tmtp_client.api.models import Draft, Form, Staged
from tmtp_client.store import tables
from tmtp_client.sync import clock, registers
from tmtp_client.sync.registers import HERE

KIND: Final = "draft"
FIELDS: Final[dict[str, Any]] = {"thread": "", "to": [], "subject": "", "text": "", "form": {}, "filled": {}}
"""What a draft's registers are called, and what each says when it says nothing."""

_PREFIX: Final = f"{KIND}:"
_r = tables.register.c


def get(c: Connection, key: str) -> Draft | None:
    """A draft; None where there is none."""
    rows = c.execute(select(_r.field, _r.value, _r.stamp).where(_r.kind == KIND, _r.key == key)).all()
    said = {field: msgspec.json.decode(value) for field, value, _ in rows}
    fields = {field: said[field] for field, nothing in FIELDS.items() if type(said.get(field)) is type(nothing)}
    to = tuple(one for one in fields.pop("to", ()) if isinstance(one, str))
    form = _form(fields.pop("form", {}))
    files = registers.get(c, HERE, here(key), "files") or ()
    if not (to or files or form or any(fields.get(one) for one in ("subject", "text", "filled"))):
        return None
    stamps = [stamp.ms for row in rows if (stamp := clock.read_stamp(row.stamp)) is not None]
    changed_ms = max(stamps, default=0)
    staged = _called(c, files)
    return Draft(key, to=to, files=tuple(files), form=form, changed_ms=changed_ms, staged=staged, **fields)


def all_of(c: Connection) -> list[Draft]:
    """Every draft, the one changed last first."""
    keys = {*c.scalars(select(_r.key).where(_r.kind == KIND, _r.value != "null").distinct()), *_with_files(c)}
    found = [draft for key in keys if (draft := get(c, key)) is not None]
    return sorted(found, key=lambda draft: (-draft.changed_ms, draft.key))


def files_in_use(c: Connection) -> frozenset[str]:
    """Staged files that a draft on this device has: not to be swept away."""
    return frozenset(file for files in _with_files(c).values() for file in files)


def here(key: str) -> str:
    """Under which key this device keeps what is its own of a draft."""
    return _PREFIX + key


def _form(said: dict[str, Any]) -> Form | None:
    """As far as it is made: nobody could fill it in yet, maybe. What only a newer release understands is none here."""
    try:
        return msgspec.convert(said, Form) if said else None
    except msgspec.ValidationError:
        return None


def _called(c: Connection, files: Sequence[str]) -> tuple[Staged, ...]:
    """Those that are still here, in their order: who goes on with a draft sees what is in it."""
    if not files:
        return ()
    s = tables.staged.c
    rows = c.execute(select(s.file, s.name, s.size).where(s.file.in_(files[: limits.ATTACHMENTS_MAX]))).all()
    known = {row.file: Staged(row.file, row.name, row.size) for row in rows}
    return tuple(known[file] for file in files if file in known)


def _with_files(c: Connection) -> dict[str, list[str]]:
    rows = c.execute(select(_r.key, _r.value).where(_r.kind == HERE, _r.field == "files", _r.key.startswith(_PREFIX)))
    return {key.removeprefix(_PREFIX): msgspec.json.decode(value) or [] for key, value in rows}
