# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writing drafts, on whichever device.

Thrown away, or sent, a draft's words are taken out of the registers, here and on all devices. Words that another device
wrote later, not knowing, stand as a draft again: a person would rather throw them away twice than miss them.
"""

from typing import Any

import msgspec
from sqlalchemy import Connection

from tmtp_client import limits
from tmtp_client.api.models import Draft, DraftEvent
from tmtp_client.store import changes
from tmtp_client.sync import drafts, registers, state
from tmtp_client.sync.registers import HERE, At


def save(c: Connection, at: At, draft: Draft) -> Draft | None:
    """Keep a draft as it is now; None where nothing is left in it. Raises ValueError for one that is too large."""
    if not draft.key:
        raise ValueError("key: a draft needs one: its thread's id, or new- and what the client chose")
    if len(draft.to) > limits.DRAFT_TO_MAX:
        raise ValueError(f"to: a draft has {limits.DRAFT_TO_MAX} recipients at most")
    made = {} if draft.form is None else msgspec.to_builtins(draft.form)
    if max(len(msgspec.json.encode(one)) for one in (made, draft.filled)) > limits.DRAFT_FORM_MAX_BYTES:
        raise ValueError(f"form: a form, or what is filled in, has {limits.DRAFT_FORM_MAX_BYTES} octets at most")
    wanted: dict[str, Any] = {"thread": draft.thread, "to": list(draft.to), "subject": draft.subject}
    wanted |= {"text": draft.text, "form": made, "filled": draft.filled}
    present = {**drafts.FIELDS, **registers.fields(c, drafts.KIND, draft.key)}
    changed = {field: value or None for field, value in wanted.items() if value != present[field]}
    here = drafts.here(draft.key)
    files = list(draft.files)
    if files != (registers.get(c, HERE, here, "files") or []):
        registers.set(c, at, HERE, here, {"files": files})
        if not changed:
            changes.emit(c, "draft", DraftEvent(draft.key, drafts.get(c, draft.key)))
    state.set(c, at, drafts.KIND, draft.key, changed)
    return drafts.get(c, draft.key)


def drop(c: Connection, at: At, key: str) -> bool:
    """Throw a draft away, with its words. False where there is none."""
    if drafts.get(c, key) is None:
        return False
    registers.forget(c, HERE, drafts.here(key))
    state.set(c, at, drafts.KIND, key, dict.fromkeys(registers.fields(c, drafts.KIND, key)))
    return True
