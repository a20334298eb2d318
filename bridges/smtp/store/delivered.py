# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which mails were delivered, and which conversations they belong to (C2, D1).

Hashes and ids, and nothing that a mail says. Who loses them loses nothing but that: a mail that comes a second time may
then arrive twice, and conversations begin anew.
"""

from hashlib import blake2b
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from bridges import limits
from bridges.mime import Letter
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.tables import delivered, mails, secret
from tmtp_core.clock import Clock
from tmtp_core.ids import RandomBytes
from tmtp_core.prepared import Prepared

_SECRET_BYTES: Final = 32
_DIGEST_BYTES: Final = 16
_NS: Final = 1_000_000_000

_KNOWN: Final = Prepared(
    select(delivered.c.post).where(
        or_(delivered.c.post == bindparam("one"), delivered.c.post == bindparam("other")),
        delivered.c.at_s >= bindparam("since_s"),
    )
)
_DELIVERED: Final = upsert(delivered)
_REMEMBER: Final = Prepared(
    _DELIVERED.on_conflict_do_update(index_elements=["post"], set_={"at_s": _DELIVERED.excluded.at_s}), "post", "at_s"
)
_NEW: Final = upsert(mails)
_PLACE: Final = Prepared(
    _NEW.on_conflict_do_update(index_elements=["mail"], set_={"at_s": _NEW.excluded.at_s}), "mail", "thread", "at_s"
)
_THREAD_OF: Final = Prepared(select(mails.c.thread).where(mails.c.mail == bindparam("mail")))
_BEGUN: Final = Prepared(select(mails.c.mail).where(mails.c.thread == bindparam("thread")).limit(1))


class Place(NamedTuple):
    """Where a mail belongs: its thread, "" where neither it nor what it names has an id; whether that is new."""

    thread: str
    new: bool


class Correspondence(NamedTuple):
    """One sender and one route: a mail of somebody else, or to somebody else, never gets into its threads (D1)."""

    sender: str
    recipient: str


Names = tuple[str, str]
"""Of a post: each of them alone says that it is the same. They may be one."""


class Known(NamedTuple):
    """What is known of a post before it is made."""

    delivered: bool
    place: Place


class Delivered:
    """Remembers deliveries. All methods raise `OSError`; nothing is half done then."""

    def __init__(self, database: BridgeDatabase, clock: Clock, random_bytes: RandomBytes) -> None:
        self._database = database
        self._clock = clock
        self._random_bytes = random_bytes
        self._forgotten_s = 0
        self._key = b""

    async def open(self) -> None:
        """Read the secret of this intake, made at its first start."""
        self._key = await self._database.write(self._secret)

    async def known(self, post: Names, which: Correspondence, letter: Letter) -> Known:
        """Whether this post was delivered within `limits.DUPLICATES_KEPT_S`, and the thread of the mail: that of the
        nearest known mail before it, else one of the oldest that it names.
        """
        asked = {"one": post[0], "other": post[1], "since_s": self._now_s() - int(limits.DUPLICATES_KEPT_S)}

        def look(connection: Connection) -> Known:
            found = _KNOWN(connection, asked).fetchone() is not None
            return Known(found, self._place(connection, which, letter))

        return await self._database.read(look)

    def note(self, connection: Connection, post: Names, which: Correspondence, letter: Letter, thread: str) -> None:
        """Remember a post that the service has acknowledged, within a change that does more."""
        now_s = self._now_s()
        ids = (*letter.references, bare_id(letter)) if thread else ()
        for name in dict.fromkeys(post):
            _REMEMBER(connection, {"post": name, "at_s": now_s})
        for one in filter(None, ids):
            self.place(connection, which, one, thread)
        if now_s - self._forgotten_s >= limits.FORGET_EVERY_S:
            self._forgotten_s = now_s
            connection.execute(delete(delivered).where(delivered.c.at_s < now_s - int(limits.DUPLICATES_KEPT_S)))
            connection.execute(delete(mails).where(mails.c.at_s < now_s - int(limits.THREADS_KEPT_S)))

    def place(self, connection: Connection, which: Correspondence, mail: str, thread: str) -> None:
        """What answers the mail with this id (without its brackets) belongs to this thread, unless it has one."""
        now_s = self._now_s()
        row = {"mail": self.hashed("mail", *which, mail), "thread": thread, "at_s": now_s}
        _PLACE(connection, row)

    def hashed(self, what: str, *parts: str) -> bytes:
        """A name for a mail that nobody without this bridge's secret can find, or foresee."""
        digest = blake2b(digest_size=_DIGEST_BYTES, key=self._key, person=what.encode())
        for part in parts:
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(8))
            digest.update(encoded)
        return digest.digest()

    def _place(self, connection: Connection, which: Correspondence, letter: Letter) -> Place:
        own = bare_id(letter)
        for one in (own, *reversed(letter.references)):
            mail = self.hashed("mail", *which, one) if one else b""
            known = _THREAD_OF(connection, {"mail": mail}).fetchone()
            if known is not None:
                return Place(str(known[0]), new=False)
        oldest = next(iter(letter.references), own)
        if not oldest:
            return Place("", new=True)
        thread = f"smtp-{self.hashed('thread', *which, oldest).hex()}"
        begun = _BEGUN(connection, {"thread": thread}).fetchone() is not None
        return Place(thread, new=not begun)

    def _secret(self, connection: Connection) -> bytes:
        kept = connection.execute(select(secret.c.value)).scalar()
        if kept is None:
            kept = self._random_bytes(_SECRET_BYTES)
            connection.execute(secret.insert().values(value=kept))
        return bytes(kept)

    def _now_s(self) -> int:
        return self._clock.wall_ns() // _NS


def bare_id(letter: Letter) -> str:
    """A mail's id as other mails refer to it: without its brackets."""
    return letter.message_id.strip("<> ")
