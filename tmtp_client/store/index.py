# SPDX-License-Identifier: AGPL-3.0-or-later
"""The search index: kept with every message (B1). Its table holds words only; what is shown comes from the messages.

`keys` is a column of marks that no text has, for what operators look for: who wrote, to whom, in which group, what is
attached. So an operator narrows a search within the index, without a look at the messages.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import Connection, select, text

from tmtp_client.store import views
from tmtp_client.store.tables import attachment, message, thread
from tmtp_client.store.words import KEY, indexed
from tmtp_core.prepared import Prepared

_PUT: Final = Prepared(
    text(
        "INSERT INTO search (rowid, subject, text, names, files, topic, keys) "
        "VALUES (:number, :subject, :text, :names, :files, :topic, :keys)"
    )
)
_REMOVE: Final = text("DELETE FROM search WHERE rowid IN (SELECT value FROM json_each(:numbers))")
_LINK: Final = re.compile(r"https?://|tmtp://|www\.", re.IGNORECASE)
EVERY: Final = f"{KEY}m"  # the key that all messages have


@dataclass(frozen=True, slots=True)
class _Kept:
    """The topic of a thread as it is kept."""

    subject: str
    gid: str


class _Topic(Protocol):
    @property
    def subject(self) -> str: ...
    @property
    def gid(self) -> str: ...


class _Attached(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...


def key(kind: str, name: str) -> str:
    """A mark: `a` and the author, `r` and a recipient, `g` and a group, `h` and what a message has."""
    return f"{KEY}{kind}{name.encode().hex()}"


def put(connection: Connection, number: int, row: Any, attachments: Sequence[_Attached], topic: _Topic) -> None:
    """A message (its row of `message`) that is not in the index."""
    keys = {EVERY, key("a", row["author"]), *(key("r", name) for name, _ in json.loads(row["to"]))}
    if topic.gid:
        keys.add(key("g", topic.gid))
    keys.update(key("h", what) for what in _has(row["text"], attachments))
    _PUT(
        connection,
        {
            "number": number,
            "subject": indexed(row["subject"]),
            "text": indexed(row["text"]),
            "names": indexed(row["alias"]),
            "files": indexed(" ".join(one.name for one in attachments)),
            "topic": "" if row["subject"] else indexed(topic.subject),
            "keys": " ".join(sorted(keys)),
        },
    )


def _has(text: str, attachments: Iterable[_Attached]) -> set[str]:
    found = {"link"} if _LINK.search(text) else set()
    for one in attachments:
        found.add("file" if one.kind == "file" else "form")
        if views.media_of(one.name).startswith("image/"):
            found.add("image")
    return found


def remove(connection: Connection, numbers: Sequence[int]) -> None:
    """These messages are gone."""
    connection.execute(_REMOVE, {"numbers": json.dumps(numbers)})


def put_again(connection: Connection, numbers: Sequence[int]) -> None:
    """What these messages say, or have with them, has changed."""
    _put_again(connection, message.c.number.in_(numbers))


def put_thread(connection: Connection, id: str) -> None:
    """A thread's subject or group has changed."""
    _put_again(connection, message.c.thread == id)


def _put_again(connection: Connection, where: Any) -> None:
    t = thread.c
    asked = select(message, t.subject.label("topic"), t.gid).join(thread, t.id == message.c.thread).where(where)
    rows = connection.execute(asked).mappings().all()
    files = defaultdict(list)
    for one in connection.execute(
        select(attachment).where(views.among(attachment.c.message, (row["id"] for row in rows)))
    ):
        files[one.message].append(one)
    remove(connection, [row["number"] for row in rows])
    for row in rows:
        put(connection, row["number"], row, files[row["id"]], _Kept(row["topic"], row["gid"]))
