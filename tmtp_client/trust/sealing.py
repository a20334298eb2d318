# SPDX-License-Identifier: AGPL-3.0-or-later
"""A message sealed for its recipients' devices and one's own (B9): prepared once, the same at every try.

What is prepared is durable with its place in the chains before anything is sent. Whatever the service does not take, or
gives back, is left out of what later messages name as the last.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import Connection as Rows
from sqlalchemy import bindparam, delete, insert, select, update

from tmtp_client.store import tables as t
from tmtp_client.trust import chains, prekeys
from tmtp_client.trust.logs import Logs
from tmtp_client.trust.planning import Plan
from tmtp_client.trust.ports import NowMs, Own
from tmtp_client.trust.shared_keys import SharedKey
from tmtp_core.crypto import content_key
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.envelope import Account, Act, Composed, compose
from tmtp_core.crypto.manifest import Piece
from tmtp_core.crypto.stream import EnvelopeRefused
from tmtp_core.ids import RandomBytes
from tmtp_core.prepared import Prepared
from tmtp_core.wire.messages import Recipient
from tmtp_core.wire.payload import E2e

_KEEP: Final = Prepared(insert(t.content_key), *(column.name for column in t.content_key.c))
_SENT: Final = Prepared(
    update(t.content_key).where(t.content_key.c.request_id == bindparam("request")).values(message=bindparam("message"))
)
_REGAINED: Final = Prepared(select(t.regained_key.c.key).where(t.regained_key.c.message == bindparam("message")))


@dataclass(frozen=True, slots=True)
class ToSeal:
    """A message as it is to be sealed. `head`: the inner head's octets; `recipients` as in op 7."""

    request_id: str
    recipients: tuple[Recipient, ...]
    head: bytes
    text: bytes
    files: tuple[Piece, ...] = ()


_UNSEALED: Final = " (given up)"
"""Behind a request's name in the chains: how it was sealed before."""


class Sealer:
    """Of one account."""

    def __init__(self, own: Own, logs: Logs, clock: NowMs, random_bytes: RandomBytes) -> None:
        self._own = own
        self._logs = logs
        self._clock = clock
        self._random_bytes = random_bytes

    def prepare(self, c: Rows, message: ToSeal, plan: Plan, shared: SharedKey | None = None) -> Composed:
        """Seal a message to the devices of a plan, or under a shared key; keep the content key and the places.

        Raises `EnvelopeRefused` for what no recipient would open; ValueError for a request that was prepared before.
        """
        if chains.has(c, message.request_id):
            raise ValueError("this request was prepared before")
        if shared is None:
            key, e2e = content_key.for_devices(plan.targets, self._random_bytes)
        else:
            key, e2e = content_key.for_shared(
                shared.key, shared.epoch, self._random_bytes, salt=shared.salt, cost=shared.cost
            )
        links = {uid: chains.next_link(c, uid) for uid in plan.heads}
        act = Act(
            self._own.uid,
            message.request_id,
            self._clock(),
            message.recipients,
            tuple(Account(uid, head, links[uid]) for uid, head in plan.heads.items()),
            message.head,
        )
        composed = compose(
            key, e2e, act, message.text, message.files, self._own.keys.signer, from_text(self._own.service_key)
        )
        chains.sealed(c, message.request_id, [(uid, link.count) for uid, link in links.items()], composed.manifest_hash)
        if chains.has(c, message.request_id + _UNSEALED):
            chains.gone(c, message.request_id)
        row = {
            "request_id": message.request_id,
            "message": "",
            "key": key,
            "heads": msgspec.json.encode(dict(plan.heads)).decode(),
            "at_ms": self._clock(),
        }
        _KEEP(c, row)
        return composed

    # -- what becomes of it ------------------------------------------------------------------------------------------
    def sent(self, c: Rows, request_id: str, message: str) -> None:
        """The service has it, under this id."""
        _SENT(c, {"request": request_id, "message": message})

    def refused(self, c: Rows, request_id: str) -> None:
        """The service will not have it, or it was dropped: it reaches nobody."""
        chains.gone(c, request_id)
        c.execute(delete(t.content_key).where(t.content_key.c.request_id == request_id))

    def unseal(self, c: Rows, request_id: str) -> None:
        """It is to be prepared once more under the same request. Nobody knows which of the two the service takes, so
        neither is named as the last.
        """
        chains.gone(c, request_id)
        chains.rename(c, request_id, request_id + _UNSEALED)
        c.execute(delete(t.content_key).where(t.content_key.c.request_id == request_id))

    def sealed_for(self, c: Rows, request_id: str) -> dict[str, str]:
        """For which accounts it was prepared, and at which heads."""
        heads = c.scalar(select(t.content_key.c.heads).where(t.content_key.c.request_id == request_id))
        return msgspec.json.decode(heads, type=dict[str, str]) if heads is not None else {}

    def returned(self, c: Rows, message: str, uids: Iterable[str]) -> None:
        """The service has given it back: it did not reach these accounts (A4)."""
        request_id = c.scalar(select(t.content_key.c.request_id).where(t.content_key.c.message == message))
        if request_id is not None:
            chains.gone(c, request_id, uids)

    def left(self, c: Rows, uid: str, event_id: str) -> None:
        """An account has left a group by an event with this id: what was posted after it, for who was there, did not
        reach it. (Of what did, nothing is lost: it is only not named as the last.)
        """
        after = select(t.content_key.c.request_id).where(t.content_key.c.message > event_id)
        c.execute(update(t.link).where(t.link.c.uid == uid, t.link.c.request_id.in_(after)).values(gone=1))

    # -- opening -----------------------------------------------------------------------------------------------------
    def key_for(self, c: Rows, message: str, e2e: E2e, shared: Sequence[SharedKey] = ()) -> bytes | None:
        """The content key of a message that came, by whatever way this device can have it; None: ask its sender."""
        again = _REGAINED(c, {"message": message}).fetchone()
        if again is not None and content_key.opens(e2e, again[0]):
            return bytes(again[0])
        if e2e.suite == content_key.SHARED:
            found = (content_key.key_of_shared(e2e, one.key, self._own.uid) for one in shared)
            return next((key for key in found if key is not None), None)
        wrapped = next((one for one in e2e.keys if one.device == self._own.device), None)
        if wrapped is None:
            return None
        secret = prekeys.secret(c, wrapped.prekey) if wrapped.prekey else self._own.keys.box_key
        return unwrapped(e2e, wrapped.sealed, secret)


def unwrapped(e2e: E2e, sealed: str, secret: bytes | None) -> bytes | None:
    """The content key in a wrapped one, if it is the message's."""
    if secret is None:
        return None
    try:
        key = content_key.unwrap(sealed, secret)
    except EnvelopeRefused:
        return None
    return key if content_key.opens(e2e, key) else None
