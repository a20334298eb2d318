# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may enter the console, the one-time links that let them in, and their sessions (C1).

Whoever holds the control socket makes links; nothing else makes a person. A session's secret is in its cookie only. A
person whose role changes is signed out everywhere at once.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from sqlalchemy import Connection, delete, insert, select, update

from gateway.administration import models as m
from gateway.administration.tables import console_link as links
from gateway.administration.tables import console_passkey as passkeys
from gateway.administration.tables import console_person as people
from gateway.administration.tables import console_session as sessions
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.crypto.encoding import to_text
from tmtp_core.errors import NotFound
from tmtp_core.ids import RandomBytes

Method = Literal["link", "passkey", "provider"]
T = TypeVar("T")


class Transactions(Protocol):
    """The administrators' database."""

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in one transaction, on a thread of its own; it is durable when this returns."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in. `secret` is what the cookie holds."""

    number: int
    person: str
    role: str
    method: Method
    secret: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session as its person sees it."""

    number: int
    method: str
    browser: str
    created_ms: int
    seen_ms: int


class People:
    """Everybody who may enter, their links and sessions."""

    def __init__(self, database: Transactions, clock: Clock, random_bytes: RandomBytes) -> None:
        self._database = database
        self._clock = clock
        self._random_bytes = random_bytes

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._clock.wall_ns() // 1_000_000

    # -- links -------------------------------------------------------------------------------------------------------
    async def make_link(self, person: str, role: str) -> tuple[str, int]:
        """The secret of a link that signs `person` in once, and when it ends. From now on the person has this role.

        Earlier links of the person are over.
        """
        secret = to_text(self._random_bytes(limits.CONSOLE_SECRET_BYTES))
        expires_ms = self.now_ms() + limits.CONSOLE_LINK_VALID_MS

        def work(connection: Connection) -> None:
            self._ensure(connection, person, role)
            earlier = (links.c.person == person) | (links.c.expires_ms <= self.now_ms())
            connection.execute(delete(links).where(earlier))
            connection.execute(insert(links).values(hash=_hash(secret), person=person, expires_ms=expires_ms))

        await self._database.run(work)
        return secret, expires_ms

    async def use_link(self, secret: str) -> str | None:
        """The person of a link, which is used up by this; None where it was used before, or is over."""

        def work(connection: Connection) -> str | None:
            used = delete(links).where(links.c.hash == _hash(secret)).returning(links.c.person, links.c.expires_ms)
            row = connection.execute(used).first()
            return row.person if row is not None and row.expires_ms > self.now_ms() else None

        return await self._database.run(work)

    async def ensure(self, person: str, role: str) -> None:
        """A person whom a provider vouches for, with the role that the settings give (C1)."""
        await self._database.run(lambda connection: self._ensure(connection, person, role))

    async def role_of(self, person: str) -> str | None:
        """Somebody's role; None where nobody of that name is known."""
        wanted = select(people.c.role).where(people.c.person == person)
        return await self._database.run(lambda connection: connection.execute(wanted).scalar())

    def _ensure(self, connection: Connection, person: str, role: str) -> None:
        known = connection.execute(select(people.c.role).where(people.c.person == person)).scalar()
        if known is None:
            handle = self._random_bytes(limits.CONSOLE_SECRET_BYTES)
            values = {"person": person, "role": role, "handle": handle, "created_ms": self.now_ms()}
            connection.execute(insert(people).values(**values))
        elif known != role:
            connection.execute(update(people).where(people.c.person == person).values(role=role))
            connection.execute(delete(sessions).where(sessions.c.person == person))
            connection.execute(delete(links).where(links.c.person == person))

    # -- sessions ----------------------------------------------------------------------------------------------------
    async def begin(self, person: str, method: Method, browser: str, instead_of: str | None) -> tuple[str, int]:
        """Secret and number of a new session. The one that the browser had, `instead_of`, ends (no fixation)."""
        secret = to_text(self._random_bytes(limits.CONSOLE_SECRET_BYTES))
        now_ms = self.now_ms()

        def work(connection: Connection) -> int:
            ended = (sessions.c.seen_ms <= now_ms - limits.CONSOLE_IDLE_MS) | (
                sessions.c.created_ms <= now_ms - limits.CONSOLE_SESSION_MS
            )
            connection.execute(delete(sessions).where(ended))
            if instead_of is not None:
                connection.execute(delete(sessions).where(sessions.c.hash == _hash(instead_of)))
            made = connection.execute(
                insert(sessions).values(
                    hash=_hash(secret),
                    person=person,
                    method=method,
                    browser=browser,
                    created_ms=now_ms,
                    seen_ms=now_ms,
                )
            )
            numbers = select(sessions.c.number).where(sessions.c.person == person).order_by(sessions.c.number.desc())
            too_old = numbers.offset(limits.CONSOLE_SESSIONS_PER_PERSON_MAX)
            connection.execute(delete(sessions).where(sessions.c.number.in_(too_old.scalar_subquery())))
            key = made.inserted_primary_key
            assert key is not None
            return int(key[0])

        return secret, await self._database.run(work)

    async def session(self, secret: str) -> Session | None:
        """The session of a cookie, if it stands; it has been seen now."""
        now_ms = self.now_ms()
        wanted = (select(sessions, people.c.role).join(people, people.c.person == sessions.c.person)).where(
            sessions.c.hash == _hash(secret)
        )

        def work(connection: Connection) -> Session | None:
            row = connection.execute(wanted).first()
            if row is None:
                return None
            idle_ms = now_ms - row.seen_ms
            if idle_ms >= limits.CONSOLE_IDLE_MS or now_ms - row.created_ms >= limits.CONSOLE_SESSION_MS:
                connection.execute(delete(sessions).where(sessions.c.number == row.number))
                return None
            if idle_ms >= limits.CONSOLE_SEEN_STEP_MS:
                connection.execute(update(sessions).where(sessions.c.number == row.number).values(seen_ms=now_ms))
            return Session(row.number, row.person, row.role, row.method, secret, row.created_ms)

        return await self._database.run(work)

    async def end(self, person: str, number: int) -> None:
        """End a session of a person."""
        wanted = delete(sessions).where(sessions.c.person == person, sessions.c.number == number)
        await self._database.run(lambda connection: connection.execute(wanted))

    async def sessions_of(self, person: str) -> list[SessionSummary]:
        """The sessions of a person that stand, newest first."""
        now_ms = self.now_ms()
        wanted = select(sessions).where(
            sessions.c.person == person,
            sessions.c.seen_ms > now_ms - limits.CONSOLE_IDLE_MS,
            sessions.c.created_ms > now_ms - limits.CONSOLE_SESSION_MS,
        )

        def work(connection: Connection) -> list[SessionSummary]:
            rows = connection.execute(wanted.order_by(sessions.c.number.desc()))
            return [SessionSummary(one.number, one.method, one.browser, one.created_ms, one.seen_ms) for one in rows]

        return await self._database.run(work)

    # -- people ------------------------------------------------------------------------------------------------------
    async def everybody(self) -> list[m.ConsolePerson]:
        """All who may enter, by name."""

        def work(connection: Connection) -> list[m.ConsolePerson]:
            seen: dict[str, int] = {}
            for row in connection.execute(select(sessions.c.person, sessions.c.seen_ms)):
                seen[row.person] = max(row.seen_ms, seen.get(row.person, 0))
            keys: dict[str, int] = {}
            for row in connection.execute(select(passkeys.c.person)):
                keys[row.person] = keys.get(row.person, 0) + 1
            rows = connection.execute(select(people).order_by(people.c.person))
            return [
                m.ConsolePerson(
                    person=one.person,
                    role=one.role,
                    created_ms=one.created_ms,
                    passkeys=keys.get(one.person, 0),
                    seen_ms=seen.get(one.person),
                )
                for one in rows
            ]

        return await self._database.run(work)

    async def remove(self, person: str) -> None:
        """Nobody of that name may enter any more: sessions, links and passkeys are gone. `NotFound`: no such."""

        def work(connection: Connection) -> Any:
            for table in (sessions, links, passkeys):
                connection.execute(delete(table).where(table.c.person == person))
            return connection.execute(delete(people).where(people.c.person == person)).rowcount

        if not await self._database.run(work):
            raise NotFound("nobody of that name may enter the console")


def _hash(secret: str) -> bytes:
    """A secret as it is kept. It has 256 random bits: nothing is gained by making the hash slow."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
