# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is kept, as the local API shows it: the structs of tmtp_client.api.models, made from rows, many at a time.

What trust says of a person's keys in words (`keys_changed`) and what waits in the outbox is added by who knows it.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import msgspec
from sqlalchemy import Connection, Row, bindparam, func, select
from sqlalchemy import text as sql

from tmtp_client.api import models
from tmtp_client.store.tables import alias, attachment, group, member, message, person, reader, tag, thread

_IDS: Final = "(SELECT value FROM json_each(:names))"
_MEDIA: Final = {
    **{"txt": "text/plain", "md": "text/plain", "csv": "text/csv", "pdf": "application/pdf"},
    **{"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"},
    **{"mp3": "audio/mpeg", "ogg": "audio/ogg", "wav": "audio/wav", "flac": "audio/flac", "m4a": "audio/mp4"},
    **{"mp4": "video/mp4", "webm": "video/webm", "zip": "application/zip", "json": "application/json"},
}
_OTHER_MEDIA: Final = "application/octet-stream"


class _Doubted(msgspec.Struct):
    """What a view needs of `message.sealed`."""

    doubts: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    settled: bool = True


_NOT_SEALED: Final = _Doubted()
_DOUBTED: Final = msgspec.json.Decoder(_Doubted)


def media_of(name: str) -> str:
    """The type of a file by its name: one of a short list of what can be shown, else `application/octet-stream`."""
    return _MEDIA.get(name.rpartition(".")[2].lower(), _OTHER_MEDIA)


def named(names: Iterable[str | int]) -> str:
    """Names as one value for `json_each`."""
    return json.dumps(list(dict.fromkeys(names)))


def among(column: Any, names: Iterable[str | int]) -> Any:
    """A condition: the column is one of these. One statement, however many they are."""
    return column.in_(sql(_IDS).bindparams(bindparam("names", named(names))))


# -- messages --------------------------------------------------------------------------------------------------------
def messages_by_id(connection: Connection, ids: Sequence[str]) -> list[models.Message]:
    """These messages, as far as they are here, in no order."""
    if not ids:
        return []
    return messages_of(connection, connection.execute(select(message).where(among(message.c.id, ids))).all())


def messages_of(connection: Connection, rows: Sequence[Row[Any]]) -> list[models.Message]:
    """Rows of `message` with their attachments and what a bridge said of their authors; in the same order."""
    if not rows:
        return []
    a = attachment.c
    files = defaultdict(list)
    for row in connection.execute(
        select(attachment).where(among(a.message, (row.id for row in rows))).order_by(a.message, a.place)
    ):
        files[row.message].append(_attachment(row))
    p = person.c
    ghosts = {
        row.uid: row
        for row in connection.execute(
            select(p.uid, p.via, p.proof, p.stands).where(among(p.uid, (row.author for row in rows)), p.via != "")
        )
    }
    to = _recipients(connection, rows)
    outside = set(connection.scalars(_NOT_READERS, {"names": named(row.id for row in rows)}))
    return [
        _message(
            row,
            tuple(files[row.id]),
            ghosts.get(row.author),
            to.get(row.id, ()),
            (NOT_A_READER,) if row.id in outside else (),
        )
        for row in rows
    ]


def _recipients(connection: Connection, rows: Sequence[Row[Any]]) -> dict[str, tuple[str, ...]]:
    """To whom one's own messages went, as they are called here; a group, or who has no name here, as it is."""
    sent_to = {row.id: [one for one, _ in json.loads(row.to)] for row in rows if row.outgoing}
    p = person.c
    asked = select(p.uid, p.alias).where(among(p.uid, (one for to in sent_to.values() for one in to)))
    names = {row.uid: row.alias for row in connection.execute(asked)} if sent_to else {}
    return {id: tuple(names.get(one) or one for one in to) for id, to in sent_to.items()}


NOT_A_READER: Final = "Its sender is not among those who read this conversation, as far as this device knows."
_NOT_READERS: Final = sql(  # a thread's id is no secret; where its first message is not here, nobody knows who reads it
    "SELECT m.id FROM message AS m JOIN message AS f ON f.id = m.thread "
    "WHERE m.id IN (SELECT value FROM json_each(:names)) "
    "AND m.kind = 'message' AND m.outgoing = 0 AND m.state <> 'unconfirmed' AND m.author <> f.author "
    "AND f.kind = 'message' AND f.state IN ('received', 'partial', 'sent') "
    "AND NOT EXISTS (SELECT 1 FROM reader AS r WHERE r.thread = m.thread AND r.uid = m.author) "
    "AND NOT EXISTS (SELECT 1 FROM reader AS r JOIN member AS g ON g.gid = r.uid "
    "WHERE r.thread = m.thread AND g.uid = m.author AND g.stands = 'joined')"
)


def _message(
    row: Row[Any], files: tuple[models.Attachment, ...], ghost: Any, names: tuple[str, ...], doubts: tuple[str, ...]
) -> models.Message:
    to = json.loads(row.to) if row.kind == "invitation" else []
    sealed = _DOUBTED.decode(row.sealed) if row.sealed else _NOT_SEALED
    return models.Message(
        id=row.id,
        kind=row.kind,
        state=row.state,
        outgoing=bool(row.outgoing),
        author=row.author,
        alias=row.alias,
        thread=row.thread,
        posted=row.posted,
        subject=row.subject,
        text=row.text,
        verified=bool(row.verified),
        seen=bool(row.seen),
        mentions=bool(row.mentions),
        suite=row.suite,
        doubts=sealed.doubts + doubts,
        unsettled=not sealed.settled,
        sealed_for=sealed.accounts,
        via="" if ghost is None else ghost.via,
        proof="" if ghost is None else ghost.proof,
        of=row.of,
        gid=to[0][0] if to else "",
        to=names,
        attachments=files,
        plain=row.kind in {"ping", "invitation"} or (ghost is not None and ghost.stands == "outside"),
    )


def _attachment(row: Row[Any]) -> models.Attachment:
    media = media_of(row.name)
    return models.Attachment(row.place, row.kind, row.name, row.size, row.have, media, row.form)


# -- threads ---------------------------------------------------------------------------------------------------------
def threads_by_id(connection: Connection, ids: Sequence[str]) -> list[models.Thread]:
    """These threads with their readers, as far as they are here, in no order."""
    if not ids:
        return []
    return threads_of(connection, connection.execute(select(thread).where(among(thread.c.id, ids))).all())


def threads_of(connection: Connection, rows: Sequence[Row[Any]]) -> list[models.Thread]:
    """Rows of `thread` with tags and readers; in the same order."""
    if not rows:
        return []
    ids = [row.id for row in rows]
    tags, readers = defaultdict(list), defaultdict(list)
    for one in connection.execute(select(tag).where(among(tag.c.thread, ids)).order_by(tag.c.name)):
        tags[one.thread].append(one.name)
    r = reader.c
    asked = select(reader).where(among(r.thread, ids), r.subscribed == 1).order_by(r.thread, r.posted, r.uid)
    for one in connection.execute(asked):
        readers[one.thread].append(models.Reader(one.uid, one.alias, one.by, one.note))
    alone = [row.last_message for row in rows if row.id not in readers]
    last = connection.execute(select(message).where(among(message.c.id, alone))).all() if alone else []
    to = _recipients(connection, last)
    attached = _first_attached(connection, [row.last_message for row in rows if not row.last_text.strip()])
    return [
        _thread(
            row,
            tuple(tags[row.id]),
            tuple(readers[row.id]),
            to.get(row.last_message, ()),
            attached.get(row.last_message),
        )
        for row in rows
    ]


def _first_attached(connection: Connection, ids: Sequence[str]) -> dict[str, models.Attachment]:
    """The first attachment of each of these messages that has one; what is still sealed shows none."""
    if not ids:
        return {}
    asked = select(attachment).join(message, message.c.id == attachment.c.message)
    first = asked.where(among(message.c.id, ids), attachment.c.place == 0, message.c.state != "sealed")
    return {row.message: _attachment(row) for row in connection.execute(first)}


def _thread(
    row: Row[Any],
    tags: tuple[str, ...],
    readers: tuple[models.Reader, ...],
    to: tuple[str, ...],
    attached: models.Attachment | None,
) -> models.Thread:
    return models.Thread(
        id=row.id,
        subject=row.subject,
        last_posted=row.last_posted,
        last_text=row.last_text,
        last_alias=row.last_alias,
        messages=row.messages,
        gid=row.gid,
        unseen=row.unseen,
        mentions=row.mentions,
        files=row.files,
        waiting=row.waiting,
        archived=bool(row.archived),
        muted=bool(row.muted),
        snoozed_until_ms=row.snoozed_until_ms,
        tags=tags,
        draft=bool(row.draft),
        encryption=row.encryption,
        readers=readers,
        last_to=to,
        last_attached=attached,
    )


# -- people and groups -----------------------------------------------------------------------------------------------
def people_by_uid(connection: Connection, uids: Sequence[str]) -> list[models.Person]:
    """These people, as far as they are known, by alias."""
    if not uids:
        return []
    return people_where(connection, among(person.c.uid, uids))


def people_where(connection: Connection, where: Any) -> list[models.Person]:
    """People of whom this holds, by alias."""
    rows = connection.execute(select(person).where(where).order_by(func.lower(person.c.alias), person.c.uid)).all()
    if not rows:
        return []
    uids = [row.uid for row in rows]
    aliases = defaultdict(list)
    for one in connection.execute(select(alias).where(among(alias.c.uid, uids)).order_by(alias.c.alias)):
        aliases[one.uid].append(one.alias)
    keys = _keys(connection, uids)
    return [
        models.Person(
            uid=row.uid,
            alias=row.alias,
            aliases=tuple(aliases[row.uid]),
            stands=row.stands,
            known_by=row.known_by,
            blocked=bool(row.blocked),
            present=bool(row.present),
            via=row.via,
            proof=row.proof,
            keys=keys.get(row.uid, "none"),
        )
        for row in rows
    ]


_KEYS: Final = sql(
    "SELECT l.uid AS uid, l.head AS head, t.seen_head AS seen, t.compared_head AS compared, t.trouble AS trouble "
    "FROM log_record AS l LEFT JOIN trust AS t ON t.uid = l.uid "
    "WHERE l.uid IN (SELECT value FROM json_each(:names)) "
    "AND l.place = (SELECT max(place) FROM log_record WHERE uid = l.uid)"
)


def _keys(connection: Connection, uids: Sequence[str]) -> dict[str, models.KeysStand]:
    """How the keys of these people stand, of those who have a log here."""
    stands: dict[str, models.KeysStand] = {}
    for row in connection.execute(_KEYS, {"names": named(uids)}):
        if row.trouble:
            stands[row.uid] = "trouble"
        elif row.compared == row.head:
            stands[row.uid] = "compared"
        else:
            stands[row.uid] = "seen" if row.seen == row.head else "unseen"
    return stands


def groups_by_gid(connection: Connection, gids: Sequence[str]) -> list[models.Group]:
    """These groups with their members, as far as they are known, by name."""
    if not gids:
        return []
    return groups_where(connection, among(group.c.gid, gids))


def groups_where(connection: Connection, where: Any) -> list[models.Group]:
    """Groups of which this holds, by name."""
    rows = connection.execute(select(group).where(where).order_by(group.c.gid)).all()
    if not rows:
        return []
    members = defaultdict(list)
    asked = select(member).where(among(member.c.gid, (row.gid for row in rows)))
    for one in connection.execute(asked.order_by(func.lower(member.c.alias), member.c.uid)):
        members[one.gid].append(models.Member(one.uid, one.alias, one.stands, bool(one.owner)))
    return [models.Group(row.gid, cast(Any, row.stands), row.alias, tuple(members[row.gid])) for row in rows]
