# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a further device of an account is told that no edit says (B3, B4): whom one knows and how one stands with them,
whom one blocks, which groups one is in, whether others may introduce people.

Devices that were there heard it from the service, and hear it from there; the service does not say it again. So it is
written into registers when a device is added, and read from them where the device has not heard better.
"""

from typing import Any, Final, cast, get_args

from sqlalchemy import Connection, select

from tmtp_client import limits
from tmtp_client.store import groups, people
from tmtp_client.store.people import KnownBy
from tmtp_client.store.tables import group, person, register
from tmtp_client.sync import registers
from tmtp_client.sync.registers import At

PERSON: Final = "person"
GROUP: Final = "group"
ACCOUNT: Final = "account"
INTRODUCTIONS: Final = "introductions"

_STANDS: Final = ("contact", "ignored", "asked", "asks")
_DECIDED: Final = ("contact", "ignored")  # by a person: they hold, whatever else a device has heard
_KNOWN_BY: Final = frozenset(get_args(KnownBy)) - {"self"}
_HEARD: Final = "heard"


def tell_everything(c: Connection, at: At) -> None:
    """A new device has been added, by this one: tell all that is known, once more or for the first time."""
    told = [*_of_people(c), *_of_groups(c)]
    introductions = registers.get(c, registers.HERE, INTRODUCTIONS, INTRODUCTIONS)
    if introductions is not None:
        told.append((ACCOUNT, INTRODUCTIONS, {INTRODUCTIONS: introductions}))
    edits = []
    for kind, key, fields in told:
        if len(key) > limits.REGISTER_NAME_MAX_CHARACTERS:  # a group's name: it is found when it is written to
            continue
        before = registers.fields(c, kind, key)
        edits.append((kind, key, {name: one for name, one in fields.items() if before.get(name) != one}))
    registers.set_many(c, at, edits)
    registers.tell_everything(c)


def heard_of_block(c: Connection, at: At, uid: str) -> None:
    """The service said whether somebody is blocked: what other devices told before counts no more here."""
    registers.set(c, at, registers.HERE, _block_of(uid), {_HEARD: True})


def serve_person(c: Connection, at: At, uid: str) -> None:
    """What is known of somebody by registers, here."""
    said = registers.fields(c, PERSON, uid)
    known = people.view(c, uid)
    if known is None:
        _learn(c, uid, said, at.now_ms)
        known = people.view(c, uid)
    if known is None or known.stands == "self":
        return
    stands = said.get("stands")
    if stands in _DECIDED or (stands in _STANDS and known.stands == "stranger"):
        people.set_stands(c, uid, cast(Any, stands))
    if said.get("blocked") is True and registers.get(c, registers.HERE, _block_of(uid), _HEARD) is None:
        people.set_blocked(c, uid, True)


def serve_group(c: Connection, at: At, gid: str) -> None:
    """A group that this device has never heard of from the service, and that one is in. Its members are asked for."""
    alias = _name(registers.get(c, GROUP, gid, "alias"))
    if alias and c.scalar(select(group.c.gid).where(group.c.gid == gid)) is None:
        groups.put(c, gid, "joined", alias, "", at.now_ms)


def introductions(c: Connection) -> bool:
    """Whether others may introduce people to this account, as far as this device has heard; at first they may."""
    here = registers.get(c, registers.HERE, INTRODUCTIONS, INTRODUCTIONS)
    return (here if here is not None else registers.get(c, ACCOUNT, INTRODUCTIONS, INTRODUCTIONS)) is not False


# -- inside ----------------------------------------------------------------------------------------------------------
def _of_people(c: Connection) -> list[tuple[str, str, dict[str, Any]]]:
    told = []
    for row in c.execute(select(person).where(person.c.stands != "self")):
        names = ("alias", "known_by", "via", "proof")
        fields: dict[str, Any] = {name: one for name in names if (one := getattr(row, name))}
        if row.stands in _STANDS:
            fields["stands"] = row.stands
        if row.blocked or registers.get(c, PERSON, row.uid, "blocked"):
            fields["blocked"] = bool(row.blocked)
        told.append((PERSON, row.uid, fields))
    return told


def _of_groups(c: Connection) -> list[tuple[str, str, dict[str, Any]]]:
    """Those that one is in; and those told of before that one is in no more."""
    rows = c.execute(select(group.c.gid, group.c.alias).where(group.c.stands == "joined"))
    joined = {row.gid: row.alias for row in rows}
    before = c.scalars(select(register.c.key).where(register.c.kind == GROUP, register.c.field == "alias"))
    return [(GROUP, gid, {"alias": joined.get(gid)}) for gid in sorted({*joined, *before})]


def _learn(c: Connection, uid: str, said: dict[str, Any], now_ms: int) -> None:
    """Somebody of whom this device has not heard. An alias that the service said here is another's stays his (D1)."""
    alias, known_by = _name(said.get("alias")), said.get("known_by")
    if not alias or not isinstance(known_by, str) or known_by not in _KNOWN_BY:
        return
    via, proof = _name(said.get("via")), _name(said.get("proof"))
    verified = alias if via or people.uid_of(c, alias) is None else ""
    people.learn(c, uid, verified, cast(KnownBy, known_by), now_ms, via=via, proof=proof)


def _block_of(uid: str) -> str:
    return f"block {uid}"


def _name(value: object) -> str:
    """A name that another device told; "" for what is none."""
    return value if isinstance(value, str) and len(value) <= limits.REGISTER_NAME_MAX_CHARACTERS else ""
