# SPDX-License-Identifier: AGPL-3.0-or-later
"""A key that the readers of a conversation share (suite 1, B9): from a passphrase that they agreed on, or a random one
that is passed on to their devices, sealed.

Whoever types the passphrase second has messages waiting that were sealed with it: those say its salt and its cost. The
conversation that they belong to stands inside, so all of its readers' are tried, a few at most: each costs a second.
"""

import asyncio
from dataclasses import dataclass, replace

from sqlalchemy import Connection as Rows

from tmtp_client import limits
from tmtp_client.api import problems
from tmtp_client.engine import between, opening, recipients, tags
from tmtp_client.engine.context import Context
from tmtp_client.store import messages, outbox, threads
from tmtp_client.store.outbox import Content
from tmtp_client.trust import shared_keys
from tmtp_client.trust.shared_keys import SharedKey
from tmtp_client.vault.files import FileDamaged
from tmtp_core.crypto import content_key
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.passphrase import Cost
from tmtp_core.crypto.sealed_heads import decode_outer
from tmtp_core.crypto.stream import EnvelopeRefused
from tmtp_core.wire.payload import E2e

_NO_THREAD = "there is no such conversation"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is known before: the present key, who else reads, which sealed messages wait and how they are sealed.
    `heads`: of the logs of all who read.
    """

    present: SharedKey | None
    readers: tuple[str, ...]
    heads: dict[str, str]
    waiting: tuple[str, ...]
    sealed: tuple[E2e, ...]


async def share(context: Context, thread: str, passphrase: str) -> tuple[str, ...]:
    """From now on the conversation is sealed under this key. The messages that it may open. Raises `ProblemError`."""
    known = await context.database.read(lambda c: _look(c, context, thread))
    if passphrase:
        key = await _agreed(context, thread, passphrase, known)
    else:
        key = shared_keys.random(thread, _next(known), context.random_bytes, context.uid)
    key = replace(key, heads=known.heads)

    def keep(c: Rows) -> None:
        if not shared_keys.keep(c, key):
            raise problems.ProblemError("conflict", "the conversation has got another key meanwhile: look again")
        tags.mark_thread(c, context.at(), thread, encryption="shared")
        if not passphrase:
            _pass_on(c, context, key, known.readers)

    await context.database.write(keep)
    context.to_sync.set()
    context.to_send.set()
    return known.waiting


async def _agreed(context: Context, thread: str, passphrase: str, known: _Asked) -> SharedKey:
    """The key of a passphrase: as others made it, where their messages wait for it, else a new one."""
    with problems.explained("passphrase"):
        for e2e in known.sealed:
            cost = Cost(e2e.ops, e2e.memory)
            salt = from_text(e2e.salt)
            try:
                key = await asyncio.to_thread(
                    shared_keys.from_passphrase, thread, e2e.epoch, passphrase, salt, cost, context.uid
                )
            except EnvelopeRefused:  # a header that asks for more than anybody may
                continue
            if content_key.key_of_shared(e2e, key.key, context.uid) is not None:
                return key
        if known.sealed:
            raise problems.refused("the messages that wait here were encrypted with another passphrase", "passphrase")
        salt = shared_keys.new_salt(context.random_bytes)
        return await asyncio.to_thread(
            shared_keys.from_passphrase, thread, _next(known), passphrase, salt, Cost(), context.uid
        )


def _look(c: Rows, context: Context, thread: str) -> _Asked:
    if threads.view(c, thread) is None:
        raise problems.not_found(_NO_THREAD, "thread")
    readers = recipients.readers_of(c, thread, context.uid)
    rows = messages.unopened(c, content_key.SHARED)
    own = [row.id for row in rows if row.thread == thread or row.author in (*readers, context.uid)]
    return _Asked(
        shared_keys.of_thread(c, thread), readers, _heads(c, context, readers), tuple(own), _ways(c, context, own)
    )


def _heads(c: Rows, context: Context, readers: tuple[str, ...]) -> dict[str, str]:
    """Of the logs of all who read a conversation, this account's among them; empty of whose log is not known."""
    trust = context.trust
    uids = (*recipients.uids_of(c, recipients.of_uids(c, readers).to, context.uid), context.uid)
    logs = {uid: trust.logs.kept(c, uid) if trust is not None else None for uid in uids}
    return {uid: log.head if log is not None else "" for uid, log in logs.items()}


def _ways(c: Rows, context: Context, ids: list[str]) -> tuple[E2e, ...]:
    """One message of each passphrase's, the latest first."""
    found: dict[tuple[str, int], E2e] = {}
    for id in ids:
        file = between.waiting_file(c, id)
        if file is None or len(found) == limits.PASSPHRASES_TRIED_MAX:
            continue
        try:
            e2e = decode_outer(opening.outer_of(context.files, file.file))
        except (EnvelopeRefused, FileDamaged, OSError, ValueError):  # then no passphrase opens it
            continue
        if e2e.salt:
            found.setdefault((e2e.salt, e2e.epoch), e2e)
    return tuple(found.values())


def _pass_on(c: Rows, context: Context, key: SharedKey, readers: tuple[str, ...]) -> None:
    to = recipients.of_uids(c, readers)
    content = Content(
        to=to.to, names=to.names, control=shared_keys.CONTROL, text=shared_keys.passed_on(key).decode("ascii")
    )
    now_ms = context.clock()
    outbox.enqueue(c, "control", content, now_ms, now_ms, context.random_bytes)


def _next(known: _Asked) -> int:
    return known.present.epoch + 1 if known.present is not None else 1
