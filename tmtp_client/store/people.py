# SPDX-License-Identifier: AGPL-3.0-or-later
"""Everybody this account has heard of (A3, D1): by uid, the only name that nobody can take over.

`stands`: stranger (heard of only), asked (we pinged), asks (pinged us, or writes first, not answered yet), contact,
ignored, self, outside (writes by a bridge, not accepted yet). An alias is kept only as the service verified it.
"""

from collections.abc import Iterable
from typing import Any, Final, Literal

from sqlalchemy import Connection, bindparam, insert, or_, select, true, update
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client.api import models
from tmtp_client.store import changes, views
from tmtp_client.store.tables import alias as aliases
from tmtp_client.store.tables import person
from tmtp_client.store.words import words
from tmtp_core.prepared import Prepared

KnownBy = Literal["ping", "invitation", "introduction", "group", "self"]

_FIRST_STANDS: Final = {"self": "self"}
_NAMES: Final = ("alias", "via", "proof")
_put = upsert(aliases)
_PUT_ALIAS: Final = Prepared(
    _put.on_conflict_do_update(
        index_elements=["alias"], set_={"uid": _put.excluded.uid}, where=aliases.c.uid != _put.excluded.uid
    ),
    *("alias", "uid"),
)
_of_uid = person.c.uid == bindparam("uid")
_NAMED: Final = Prepared(select(*(person.c[name] for name in _NAMES)).where(_of_uid))
_STANDS: Final = Prepared(select(person.c.stands, person.c.alias, person.c.blocked).where(_of_uid))


def learn(
    connection: Connection,
    uid: str,
    alias: str,
    known_by: KnownBy,
    now_ms: int,
    *,
    via: str = "",
    proof: str = "",
) -> bool:
    """The service has vouched that this alias is this uid's (of a ghost: its address, and what its bridge proved); ""
    where it said none. True when nobody of that uid was known. How somebody became known stays.
    """
    before = _NAMED(connection, {"uid": uid}).fetchone()
    if alias and not via:
        _PUT_ALIAS(connection, {"alias": alias, "uid": uid})
    if before is None:
        row = {
            "uid": uid,
            "alias": alias,
            "known_by": known_by,
            "stands": "outside" if via else _FIRST_STANDS.get(known_by, "stranger"),
            "via": via,
            "proof": proof,
            "blocked": 0,
            "present": 0,
            "since_ms": now_ms,
        }
        connection.execute(insert(person), row)
        changes.touch(connection, "person", uid)
        return True
    given = zip(_NAMES, (alias, via, proof), before, strict=True)
    _set(connection, uid, {name: one for name, one, known in given if one and one != known})
    return False


def stands_of(connection: Connection, uid: str) -> str | None:
    """How this account stands with somebody; None: nobody of that uid is known."""
    row = _STANDS(connection, {"uid": uid}).fetchone()
    return None if row is None else str(row[0])


def alias_of(connection: Connection, uid: str) -> str:
    """The latest verified one; empty where none is known."""
    row = _STANDS(connection, {"uid": uid}).fetchone()
    return "" if row is None else str(row[1])


def is_blocked(connection: Connection, uid: str) -> bool:
    """Whether this account blocks somebody."""
    row = _STANDS(connection, {"uid": uid}).fetchone()
    return row is not None and bool(row[2])


def set_stands(connection: Connection, uid: str, stands: models.PersonStands) -> bool:
    """False where nobody of that uid is known, or nothing changed; so do the next three."""
    return _set(connection, uid, {"stands": stands})


def set_blocked(connection: Connection, uid: str, blocked: bool) -> bool:
    """As the service replicates it (op 16)."""
    return _set(connection, uid, {"blocked": int(blocked)})


def set_present(connection: Connection, uid: str, present: bool) -> bool:
    """Came or went. It is of the present connection, and no event that is kept."""
    changed = update(person).where(person.c.uid == uid, person.c.present != int(present)).values(present=int(present))
    return bool(connection.execute(changed).rowcount)


def forget_presence(connection: Connection) -> None:
    """A connection has begun or ended: who is there is not known."""
    connection.execute(update(person).where(person.c.present == 1).values(present=0))


def view(connection: Connection, uid: str) -> models.Person | None:
    """One of them."""
    found = views.people_by_uid(connection, [uid])
    return found[0] if found else None


def listed(connection: Connection) -> list[models.Person]:
    """All, by alias."""
    return views.people_where(connection, true())


def uid_of(connection: Connection, name: str) -> str | None:
    """Whose alias (or uid, or a ghost's address) this is, exactly."""
    uid: str | None = connection.scalar(select(aliases.c.uid).where(aliases.c.alias == name))
    if uid is not None:
        return uid
    p = person.c
    return connection.scalar(select(p.uid).where((p.uid == name) | ((p.via != "") & (p.alias == name))).limit(1))


def own_aliases(connection: Connection) -> frozenset[str]:
    """This account's, as the service verified them."""
    asked = select(aliases.c.alias).join(person, person.c.uid == aliases.c.uid).where(person.c.stands == "self")
    return frozenset(connection.scalars(asked))


def own_uids(connection: Connection) -> list[str]:
    """This account's uid, once it is known."""
    return list(connection.scalars(select(person.c.uid).where(person.c.stands == "self")))


def find(connection: Connection, text: str) -> list[models.Person]:
    """Those who have an alias with words that begin as those of `text` do, by alias; without case and accents."""
    return views.people_where(connection, views.among(person.c.uid, uids_named(connection, text)))


def uids_named(connection: Connection, text: str) -> set[str]:
    """The uids of these; nobody for a text without words."""
    wanted = words(text)
    if not wanted:
        return set()
    p = person.c
    known: Iterable[Any] = [
        *connection.execute(select(aliases.c.alias, aliases.c.uid)),
        *connection.execute(select(p.alias, p.uid)),
    ]
    return {uid for name, uid in known if begins(words(name), wanted)}


def begins(name: list[str], wanted: list[str]) -> bool:
    """Whether each wanted word is the beginning of one of the name's."""
    return all(any(one.startswith(word) for one in name) for word in wanted)


def _set(connection: Connection, uid: str, values: dict[str, Any]) -> bool:
    if not values:
        return False
    differs = or_(*(person.c[name] != value for name, value in values.items()))
    changed = update(person).where(person.c.uid == uid, differs).values(values)
    done = bool(connection.execute(changed).rowcount)
    if done:
        changes.touch(connection, "person", uid)
    return done
