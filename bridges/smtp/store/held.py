# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rows of held mail: what is read and changed of them within one change of the database (C2)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, select, text, update

from bridges.smtp.control import models as m
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.control.evidence import ActDone, Decided, Evidence
from bridges.smtp.policy.rules import folded
from bridges.smtp.store.tables import held

WAITING: Final = ("held", "deciding")
NEWEST: Final = text("SELECT seq FROM sqlite_sequence WHERE name = 'held'")  # also of rows that are gone
_DONE: Final[dict[m.HeldState, str]] = {"released": "has released", "rejected": "has rejected"}


def row_of(connection: Connection, number: int) -> Row[Any]:
    """One row. Raises `BridgeRefused`."""
    row = connection.execute(select(held).where(held.c.number == number)).first()
    if row is None:
        raise BridgeRefused("not found", f"There is no held mail with the number {number}")
    return row


def same_mail(mail: str, recipients: Sequence[str]) -> bytes:
    """The same for the same mail to the same recipients; b"" where it is not known whether it is the same."""
    if not mail:
        return b""
    return blake2b("\0".join([mail, *sorted({folded(one) for one in recipients})]).encode(), digest_size=16).digest()


def waiting(connection: Connection, same: bytes) -> int | None:
    """The number of the same mail that waits already."""
    query = select(held.c.number).where(held.c.mail == same, held.c.state.in_(WAITING))
    return connection.execute(query).scalar() if same else None


def compare_and_set(connection: Connection, number: int, before: m.HeldState, values: dict[str, Any]) -> None:
    """Change a row if it still is in this state. Raises `BridgeRefused`."""
    changed = connection.execute(update(held).where(held.c.number == number, held.c.state == before).values(values))
    if changed.rowcount != 1:
        raise refused_because(row_of(connection, number))


def act_on(row: Row[Any], by: str, act: str, detail: str, decided: tuple[Decided, ...] = ()) -> ActDone:
    """An entry of the log."""
    evidence = msgspec.json.decode(row.evidence, type=Evidence)
    return ActDone(by, act, str(row.number), detail, decided, evidence.mail)


def refused_because(row: Row[Any]) -> BridgeRefused:
    """Why nobody decides on this mail now."""
    at = (
        ""
        if row.decided_ms is None
        else f" at {datetime.fromtimestamp(row.decided_ms // 1_000, UTC):%Y-%m-%d %H:%M} UTC"
    )
    if row.state in _DONE:
        return BridgeRefused("refused", f"{row.decided_by} {_DONE[row.state]} this mail{at}")
    if row.state == "deciding":
        return BridgeRefused("refused", f"{row.decided_by} decided on this mail{at}, and that is being carried out")
    return BridgeRefused("refused", f"This mail is gone since{at.removeprefix(' at')}: {row.decided_by}")
