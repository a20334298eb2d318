# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which mail an answer answers (C5): of routes whose answers go out as mail, the newest mail of each thread.

It keeps a subject for each thread, which nothing else of the bridge does: so it knows nothing of other routes.
"""

import re
from typing import Final, NamedTuple

from sqlalchemy import Connection, Row, delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from bridges import limits
from bridges.mime import Letter
from bridges.mime.readable import one_line
from bridges.smtp.store.delivered import bare_id
from bridges.smtp.store.tables import conversation
from tmtp_core.clock import Clock

_ID: Final = re.compile(r"<[\x21-\x3b\x3d\x3f-\x7e]{1,250}>")  # RFC 5322 §3.6.4, and short enough for one line
_NS: Final = 1_000_000_000


class Conversation(NamedTuple):
    """One thread of one correspondent with one route. `message_id`: of its newest mail, "" where that has none that
    could be referred to; `ancestors`: of those before, the newest last.
    """

    thread: str
    recipient: str
    address: str
    message_id: str
    ancestors: tuple[str, ...]
    subject: str

    @property
    def references(self) -> tuple[str, ...]:
        """What an answer to its newest mail refers to (RFC 5322 §3.6.4)."""
        return (*self.ancestors, self.message_id) if self.message_id else self.ancestors


class Conversations:
    """Reads and writes within the database changes of others."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def note(self, connection: Connection, thread: str, recipient: str, author: str, letter: Letter) -> None:
        """A mail of a thread was delivered to a route."""
        referred = [f"<{one}>" for one in letter.references]
        own = f"<{bare_id(letter)}>"
        self._keep(
            connection,
            Conversation(
                thread,
                recipient,
                author,
                own if _ID.fullmatch(own) else "",
                tuple(one for one in referred if _ID.fullmatch(one))[-limits.ANCESTORS_MAX :],
                one_line(letter.subject)[: limits.SUBJECT_MAX_CHARACTERS],
            ),
        )

    def answered(self, connection: Connection, thread: str, message_id: str) -> None:
        """An answer has gone out: the next one follows it."""
        known = self.of(connection, thread)
        if known is not None:
            ancestors = known.references[-limits.ANCESTORS_MAX :]
            self._keep(connection, known._replace(message_id=message_id, ancestors=ancestors))

    def of(self, connection: Connection, thread: str) -> Conversation | None:
        """What is known of a thread."""
        return _read(connection.execute(select(conversation).where(conversation.c.thread == thread)).first())

    def newest(self, connection: Connection, recipient: str, address: str) -> Conversation | None:
        """The newest conversation of a correspondent with a route."""
        query = select(conversation).where(conversation.c.recipient == recipient, conversation.c.address == address)
        return _read(connection.execute(query.order_by(conversation.c.at_s.desc()).limit(1)).first())

    def forget(self, connection: Connection) -> None:
        """Let go of those in which nothing has happened for `limits.THREADS_KEPT_S`."""
        before_s = self._clock.wall_ns() // _NS - int(limits.THREADS_KEPT_S)
        connection.execute(delete(conversation).where(conversation.c.at_s < before_s))

    def _keep(self, connection: Connection, kept: Conversation) -> None:
        row = {
            "recipient": kept.recipient,
            "address": kept.address,
            "message_id": kept.message_id,
            "ancestors": " ".join(kept.ancestors),
            "subject": kept.subject,
            "at_s": self._clock.wall_ns() // _NS,
        }
        made = upsert(conversation).values(thread=kept.thread, **row)
        connection.execute(made.on_conflict_do_update(index_elements=["thread"], set_=row))


def _read(row: "Row[tuple[object, ...]] | None") -> Conversation | None:
    if row is None:
        return None
    return Conversation(
        row.thread, row.recipient, row.address, row.message_id, tuple(row.ancestors.split()), row.subject
    )
