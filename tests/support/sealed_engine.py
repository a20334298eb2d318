# SPDX-License-Identifier: AGPL-3.0-or-later
"""A device of `trust_world` with the engine's way in around it: what comes is kept by the real rooms, in real files.

Nothing is sent by itself: what its outbox holds goes out when a test says so.
"""

import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection as Rows
from sqlalchemy import select

from tests.support.trust_world import Device, Post
from tmtp_client.api import models
from tmtp_client.connection import Connection
from tmtp_client.engine import arriving, posting, regaining
from tmtp_client.engine.arrival import After
from tmtp_client.engine.context import Context
from tmtp_client.engine.receiving import Receiving
from tmtp_client.store import changes, messages, outbox, people, tables
from tmtp_client.store.identity import Identity
from tmtp_client.store.tables import deferred
from tmtp_client.sync import state, telling
from tmtp_client.trust import Plan, ToSeal
from tmtp_client.trust.wrapping import GIVE
from tmtp_client.vault.files import Files
from tmtp_core.crypto.envelope import Sealing
from tmtp_core.crypto.manifest import Piece, digest
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import PostHead, encode_post_head


class Engine:
    """What one device makes of what comes."""

    def __init__(self, device: Device, folder: Path, alias: str = "Ada Lovelace") -> None:
        self.device, self.world = device, device.world
        self.files = Files(folder, os.urandom(32), os.urandom)
        service = self.world.service.public
        identity = Identity(
            device.account.uid, "", alias, "127.0.0.1", 1, None, None, "Test", device.keys, service, "a test"
        )
        self.context = Context(
            name="test",
            identity=identity,
            database=cast(Any, device.database),
            files=self.files,
            trust=device.trust,
            clock=self.world.clock,
            random_bytes=self.world.random_bytes,
            tell=lambda type, data: None,
        )
        device.database.do(lambda c: people.learn(c, device.account.uid, alias, "self", 0))
        self.context.aliases = frozenset({alias})
        self.afters: list[After] = []
        self.receiving = Receiving(self.context, self.afters.extend)

    @property
    def uid(self) -> str:
        return self.device.account.uid

    # -- what comes --------------------------------------------------------------------------------------------------
    async def take(self) -> None:
        """Everything that waits at the service, and what follows from it."""
        while self.device.queue:
            one = self.device.queue.pop(0)
            if isinstance(one, Post):
                await self.hear(delivery(one), one.outer + one.stream)
            elif isinstance(one, tuple):
                await self.hear(*one)
            else:
                await self.hear(one, b"")
        await self.follow()

    async def hear(self, event: m2.StoredEvent, data: bytes = b"") -> None:
        """One event, kept."""
        await self.receiving.batch([(event, data)])

    async def stream(self, event: m2.StoredEvent, data: bytes, piece_bytes: int = 50_000) -> None:
        """One event, as a large one comes."""

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(data), piece_bytes):
                yield data[start : start + piece_bytes]

        await self.receiving.event(event, cast(Any, pieces()))

    async def follow(self) -> None:
        """What an account does by itself after something came: logs are looked at, what waited is opened."""
        afters, self.afters[:] = list(self.afters), []
        uids = {uid for after in afters for uid in after.look_at}
        if uids or any(after.own_log for after in afters):
            asker = cast(Connection, self.device)
            await self.device.trust.settle(asker, self.context.database)
            await self.device.trust.look_at(asker, self.context.database, uids)
            self.afters += self.do(lambda c: arriving.again(c, self.context))
        for id in sorted({id for after in (*afters, *self.afters) for id in after.keys}):
            after = await regaining.open_again(self.context, id)
            if after is not None:
                self.afters.append(after)

    # -- what goes ---------------------------------------------------------------------------------------------------
    def post(self, head: PostHead, text: bytes, *uids: str, files: Iterable[bytes] = (), by_box: bool = False) -> Post:
        """A sealed post to these accounts and one's own devices, acknowledged."""
        device, octets = self.device, tuple(files)
        device.plan(*uids)  # looks at their logs
        plan = self.do(lambda c: device.trust.plan(c, uids, by_box=by_box))
        assert isinstance(plan, Plan), plan
        device.requests += 1
        request = f"{device.name} {device.requests}"
        to = tuple(m.Recipient(uid, m.TO_UID) for uid in uids)
        pieces = tuple(Piece(len(one), digest(one)) for one in octets)
        sealed = self.do(
            lambda c: device.trust.prepare(c, ToSeal(request, to, encode_post_head(head), text, pieces), plan)
        )
        sealing = Sealing(sealed, self.world.service.public_key)
        stream = b"".join(sealing.push(one) for one in (text, *octets) if one) + b"".join(sealing.finish())
        post = self.world.post(device, uids, sealed.outer, stream)
        self.do(lambda c: device.trust.sent(c, request, post.id))
        return post

    def send_waiting(self) -> list[Post]:
        """What the outbox holds of posts between clients goes out."""
        posts = []
        for entry in self.do(_entries):
            body = posting.body(entry, self.context.identity.alias)
            uids = [uid for uid, _ in entry.content.to]
            posts.append(self.post(body.head, body.text, *uids, by_box=entry.content.control == GIVE))
            self.do(lambda c, entry=entry: outbox.ended(c, entry.request_id, ""))
        return posts

    def tell(self) -> list[Post]:
        """What was done here is told to the account's other devices."""
        self.do(lambda c: telling.tell(c, self.world.clock(), self.world.random_bytes, alone=False))
        return self.send_waiting()

    def set(self, kind: str, key: str, **fields: Any) -> None:
        """An edit of a register by this device."""
        self.world.pass_ms(1)
        self.do(lambda c: state.set(c, self.context.at(), kind, key, fields))

    # -- looking -----------------------------------------------------------------------------------------------------
    def do(self, work: Any) -> Any:
        return self.device.database.do(work)

    def message(self, id: str) -> models.Message | None:
        found: models.Message | None = self.do(lambda c: messages.view(c, id))
        return found

    def texts(self) -> list[str]:
        return [one.text for one in self.do(lambda c: messages.latest(c, 200))]

    def told(self, type: str) -> list[Any]:
        """The data of the events of the local API of a type, as a listener from the beginning hears them."""
        return [one.data for one in self.do(lambda c: changes.since(c, "a", 0, 10_000)) if one.type == type]

    def deferred(self) -> int:
        return len(self.do(lambda c: c.execute(select(deferred.c.id)).all()))

    def octets(self, file: str) -> bytes:
        return b"".join(self.files.read(file))

    def on_disk(self) -> int:
        return len(list(self.files.folder.iterdir())) if self.files.folder.exists() else 0


def delivery(post: Post) -> m.Delivery:
    """As the service brings it."""
    size = len(post.outer)
    return m.Delivery(id=post.id, from_=post.author, posted=post.posted, datalen=size + len(post.stream), datahead=size)


def _entries(c: Rows) -> list[outbox.Entry]:
    rows = select(tables.outbox.c.request_id).where(tables.outbox.c.kind.in_(("sync", "control")))
    found = [outbox.find(c, id) for id in c.scalars(rows.order_by(tables.outbox.c.number))]
    return [entry for entry in found if entry is not None]
