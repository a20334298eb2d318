# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tokens of programs that administer: 256 random bits, told once, kept as a hash (C1, D5)."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final, cast

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from gateway.administration import models as m
from gateway.administration.database import AdministrationDatabase
from gateway.administration.errors import Invalid, NotFound
from gateway.administration.operations import Actor
from gateway.administration.scopes import Scope
from gateway.administration.tables import token
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.ids import RandomBytes

PREFIX: Final = "tmtpadm_"
"""By which scanners for leaked secrets can know one."""

_RANDOM_BYTES: Final = 32
_TEXT_CHARACTERS: Final = len(PREFIX) + 43


class Tokens:
    """In the administrators' database."""

    def __init__(self, database: AdministrationDatabase, clock: Clock, random_bytes: RandomBytes) -> None:
        self._database = database
        self._clock = clock
        self._random_bytes = random_bytes

    async def create(self, wanted: m.CreateToken) -> m.NewToken:
        """A new one: durable when this returns. Raises `Invalid` where it would end before it begins."""
        now_ms = self._now_ms()
        if wanted.expires_ms is not None and wanted.expires_ms <= now_ms:
            raise Invalid("expires_ms lies in the past; leave it out for a token without an end")
        text = PREFIX + base64.urlsafe_b64encode(self._random_bytes(_RANDOM_BYTES)).rstrip(b"=").decode()
        values = {
            "hash": _hash(text),
            "name": wanted.name,
            "scopes": " ".join(sorted(set(wanted.scopes))),
            "instances": " ".join(sorted(set(wanted.instances))),
            "created_ms": now_ms,
            "expires_ms": wanted.expires_ms,
        }

        def add(connection: Connection) -> int:
            count = connection.scalar(select(func.count()).select_from(token)) or 0
            if count >= limits.ADMINISTRATION_TOKENS_MAX:
                raise Invalid(f"there are {count} tokens, which is the most; revoke some")
            key = connection.execute(insert(token).values(values)).inserted_primary_key
            assert key is not None
            return int(key[0])

        return m.NewToken(token=text, number=await self._database.run(add))

    async def list(self) -> list[m.Token]:
        """All that were not revoked, those that have ended too."""
        rows = await self._database.run(
            lambda connection: connection.execute(select(token).order_by(token.c.number)).all()
        )
        return [_shown(row) for row in rows]

    async def revoke(self, number: int) -> None:
        """It is good for nothing from now on. Raises `NotFound`."""
        gone = await self._database.run(
            lambda connection: connection.execute(delete(token).where(token.c.number == number)).rowcount
        )
        if not gone:
            raise NotFound(f"there is no token {number}")

    async def actor(self, text: str) -> Actor | None:
        """Who has this token; None where nobody has it, any more or still."""
        if not text.startswith(PREFIX) or len(text) != _TEXT_CHARACTERS or not text.isascii():
            return None
        now_ms, digest = self._now_ms(), _hash(text)

        def find(connection: Connection) -> Row[Any] | None:
            row = connection.execute(select(token).where(token.c.hash == digest)).one_or_none()
            if row is None or (row.expires_ms is not None and row.expires_ms <= now_ms):
                return None
            if row.used_ms is None or now_ms - row.used_ms >= limits.TOKEN_USE_NOTED_MS:
                connection.execute(update(token).where(token.c.number == row.number).values(used_ms=now_ms))
            return row

        row = await self._database.run(find)
        if row is None or not hmac.compare_digest(row.hash, digest):
            return None
        shown = _shown(row)
        scopes = cast(Sequence[Scope], shown.scopes)
        name, instances = f"token {shown.number} ({shown.name})", frozenset(shown.instances) or None
        return Actor(name, frozenset(scopes), instances, shown.expires_ms)

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000


def _shown(row: Row[Any]) -> m.Token:
    return m.Token(
        number=row.number,
        name=row.name,
        scopes=row.scopes.split(),
        instances=row.instances.split(),
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        used_ms=row.used_ms,
    )


def _hash(text: str) -> bytes:
    """A random text of 256 bits needs no salt and no slow hash: there is nothing to guess."""
    return hashlib.blake2b(text.encode(), digest_size=32, person=b"tmtp-adm-token").digest()
