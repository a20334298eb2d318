# SPDX-License-Identifier: AGPL-3.0-or-later
"""What listeners of the local API are told: kept in the transaction that does it, so that nothing is told that did not
happen, and nothing that happened is not told.

Of messages, threads, people and groups only the name is kept, and what it looks like is seen when it is told: a
listener that was away hears of each thing once, as it is by then. Of all else the event itself is kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Row, delete, func, insert, select, text

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.store import views
from tmtp_client.store.tables import change
from tmtp_core.prepared import Prepared

About = Literal["message", "thread", "person", "group"]

_KEEP: Final = Prepared(insert(change), "type", "key", "new", "data")
_LATEST: Final = text("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'change'), 0)")


@dataclass(frozen=True, slots=True)
class Since:
    """Events of an account after a number; a `gap` alone, where they are not kept any more.

    `upto`: from here one reads on. It may be more than the last event's number: what is gone since is not told.
    """

    events: Sequence[models.Event]
    upto: int


def touch(connection: Connection, type: About, key: str, *, new: bool = False) -> None:
    """This one is new or has changed. `key`: of a message its id, of a thread, a person, a group theirs."""
    _KEEP(connection, {"type": type, "key": key, "new": int(new), "data": b""})


def emit(connection: Connection, type: str, data: Struct) -> None:
    """Anything else that has happened: `type` and `data` as `models.EVENTS` has them."""
    _KEEP(connection, {"type": type, "key": "", "new": 0, "data": msgspec.json.encode(data)})


def latest(connection: Connection) -> int:
    """The number of the latest event; 0 where there was none."""
    return connection.scalar(_LATEST) or 0


def since(connection: Connection, account: str, number: int, limit: int) -> list[models.Event]:
    """The events after this number, oldest first, out of `limit` kept ones: fewer, where one thing changed several
    times. What was removed since is not told. Where some of them are not kept any more, all there is is a `gap`.
    """
    last = latest(connection)
    first = connection.scalar(select(func.min(change.c.number))) or last + 1
    if number > last or number < first - 1:
        return [models.Event("gap", account, last, models.GapEvent(number))]
    following = select(change).order_by(change.c.number).limit(limit)
    while rows := connection.execute(following.where(change.c.number > number)).all():
        events = _told(connection, account, rows)
        if events:
            return events
        number = rows[-1].number
    return []


def _told(connection: Connection, account: str, rows: Sequence[Row[Any]]) -> list[models.Event]:
    """These events, each thing in its last place alone."""
    kept: dict[tuple[str, str], tuple[int, bool, bytes]] = {}
    for row in rows:
        name = (row.type, row.key or str(row.number))
        before = kept.pop(name, None)
        kept[name] = (row.number, bool(row.new) or (before is not None and before[1]), row.data)
    seen = _looked_up(connection, kept)
    events = []
    for (type, key), (number, new, data) in kept.items():
        what = msgspec.json.decode(data, type=models.EVENTS[type]) if data else seen[type](key, new)
        if what is not None:
            events.append(models.Event(type, account, number, what))
    return _still_news(connection, events)


def _still_news(connection: Connection, events: list[models.Event]) -> list[models.Event]:
    """Without notifications of messages that were seen meanwhile, here or on another device."""
    about = [event.data.message for event in events if event.type == "notification" and event.data.message]
    seen = {one.id for one in views.messages_by_id(connection, about) if one.seen and not one.outgoing}
    return [event for event in events if event.type != "notification" or event.data.message not in seen]


def trim(connection: Connection) -> None:
    """Forget all but the latest `limits.CHANGES_MAX`; now and then, not each time. Ask after writing."""
    last = latest(connection)
    first = connection.scalar(select(func.min(change.c.number)))
    if first is not None and last - first >= limits.CHANGES_MAX + limits.CHANGES_SLACK:
        connection.execute(delete(change).where(change.c.number <= last - limits.CHANGES_MAX))


def _looked_up(
    connection: Connection, names: Iterable[tuple[str, str]]
) -> Mapping[str, Callable[[str, bool], Struct | None]]:
    """How everything that is named stands now, each kind with few statements."""
    keys: dict[str, list[str]] = {"message": [], "thread": [], "person": [], "group": []}
    for type, key in names:
        if type in keys:
            keys[type].append(key)
    messages = {one.id: one for one in views.messages_by_id(connection, keys["message"])}
    wanted = [*keys["thread"], *(one.thread for one in messages.values())]
    threads = {one.id: one for one in views.threads_by_id(connection, wanted)}
    people = {one.uid: one for one in views.people_by_uid(connection, keys["person"])}
    groups = {one.gid: one for one in views.groups_by_gid(connection, keys["group"])}

    def message(key: str, new: bool) -> Struct | None:
        one = messages.get(key)
        return None if one is None else models.MessageEvent(one, threads[one.thread], new)

    def plain(event: Callable[[Any], Struct], known: Mapping[str, Struct]) -> Callable[[str, bool], Struct | None]:
        return lambda key, new: event(known[key]) if key in known else None

    return {
        "message": message,
        "thread": plain(models.ThreadEvent, threads),
        "person": plain(models.PersonEvent, people),
        "group": plain(models.GroupEvent, groups),
    }
