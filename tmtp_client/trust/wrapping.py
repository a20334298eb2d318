# SPDX-License-Identifier: AGPL-3.0-or-later
"""A device that lacks the key of a message asks its sender to wrap it again (B9; docs/protocol.md, *Sealed messages*).

Asked and answered by sealed messages between the two accounts. The device that sent the message gives its key to
devices that stood in their log at the head that the message names. To another one, of an account that the message was
for, only after its person has agreed: who adds a device later does not read what was written before, unless somebody
lets him.
"""

from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import Connection as Rows
from sqlalchemy import delete, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client.store import tables as t
from tmtp_client.trust import words
from tmtp_client.trust.logs import Logs
from tmtp_client.trust.ports import NowMs, Own
from tmtp_client.trust.sealing import unwrapped
from tmtp_core.crypto import content_key
from tmtp_core.crypto.stream import EnvelopeRefused
from tmtp_core.ids import RandomBytes
from tmtp_core.wire.payload import E2e, Wrapped

Read = TypeVar("Read", bound=Struct)

ASK: Final = "ask-key"
GIVE: Final = "give-key"
"""`control` of the posts that ask and that answer."""


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    """The text of the post that asks: for the key of a message, which its sender's device knows by this id."""

    message: str


class Given(Struct, frozen=True, forbid_unknown_fields=True):
    """The text of the post that answers: the account's content key, sealed to the device that asked."""

    message: str
    key: Wrapped


@dataclass(frozen=True, slots=True)
class Wish:
    """Who asks for the key of which message, and may have it only when the person agrees."""

    message: str
    uid: str
    device: str
    why: str  # in plain words


class Wrapping:
    """Of one account."""

    def __init__(self, own: Own, logs: Logs, clock: NowMs, random_bytes: RandomBytes) -> None:
        self._own = own
        self._logs = logs
        self._clock = clock
        self._random_bytes = random_bytes

    # -- asking ------------------------------------------------------------------------------------------------------
    @staticmethod
    def ask(message: str) -> bytes:
        """The text of the post that asks for the key of a message."""
        return msgspec.json.encode(Asked(message))

    def regained(self, c: Rows, text: bytes, author: str, e2e: E2e | None) -> str:
        """A key that came, in a sealed post without a doubt by the author of the message: the message that it opens.

        `e2e` is that message's, as it waits here; None: it does not wait here. Raises `EnvelopeRefused` for what opens
        nothing. Empty: the key is for another of one's devices.
        """
        given = _read(text, Given)
        waits = c.scalar(select(t.message.c.author).where(t.message.c.id == given.message))
        if waits != author:
            raise EnvelopeRefused("a key for a message that this account did not send")
        if given.key.device != self._own.device:
            return ""
        key = unwrapped(e2e, given.key.sealed, self._own.keys.box_key) if e2e is not None else None
        if key is None:
            raise EnvelopeRefused("this is not the key of the message that was asked for")
        values = {"message": given.message, "key": key}
        c.execute(upsert(t.regained_key).values(values).on_conflict_do_update(index_elements=["message"], set_=values))
        return given.message

    # -- giving ------------------------------------------------------------------------------------------------------
    def asked(self, c: Rows, text: bytes, uid: str, device: str) -> bytes | Wish | None:
        """A post that asks, sealed and without a doubt by this device: the text that answers; or what the person is to
        be asked first, which is kept; None: this device cannot help. Raises `EnvelopeRefused` for what is no question.
        """
        question = _read(text, Asked)
        row = self._row(c, question.message)
        if row is None or uid not in row[1]:
            return None
        log = self._logs.kept(c, uid)
        if log is None or words.not_standing(log.state, device):
            return None
        then = self._logs.at(c, uid, row[1][uid])
        if then is not None and not words.not_standing(then, device):
            return self._given(c, question.message, row[0], uid, device)
        values = {"message": question.message, "uid": uid, "device": device, "at_ms": self._clock()}
        c.execute(insert(t.wish).prefix_with("OR REPLACE"), values)
        return self._wish(question.message, uid, device)

    def wishes(self, c: Rows) -> tuple[Wish, ...]:
        """What the person is asked."""
        rows = c.execute(select(t.wish.c.message, t.wish.c.uid, t.wish.c.device).order_by(t.wish.c.at_ms))
        return tuple(self._wish(*row) for row in rows)

    def answer(self, c: Rows, message: str, uid: str, device: str, *, agreed: bool) -> bytes | None:
        """What the person said to a wish: the text that answers it, where he agreed and the device is still there."""
        which = (t.wish.c.message == message) & (t.wish.c.uid == uid) & (t.wish.c.device == device)
        if not c.execute(delete(t.wish).where(which)).rowcount or not agreed:
            return None
        row, log = self._row(c, message), self._logs.kept(c, uid)
        if row is None or log is None or words.not_standing(log.state, device):
            return None
        return self._given(c, message, row[0], uid, device)

    def _given(self, c: Rows, message: str, key: bytes, uid: str, device: str) -> bytes:
        log = self._logs.kept(c, uid)
        assert log is not None
        box = log.state.devices[device].box  # who lacks a key may have lost the secret of a prekey
        sealed = content_key.wrap(content_key.for_account(key, uid), box, self._random_bytes)
        return msgspec.json.encode(Given(message, Wrapped(device, sealed)))

    def _row(self, c: Rows, message: str) -> tuple[bytes, dict[str, str]] | None:
        """The content key of a message that this device sent, and the heads that it names."""
        column = t.content_key.c
        row = c.execute(select(column.key, column.heads).where(column.message == message)).one_or_none()
        return (
            (bytes(row[0]), msgspec.json.decode(row[1], type=dict[str, str])) if row is not None and message else None
        )

    @staticmethod
    def _wish(message: str, uid: str, device: str) -> Wish:
        name = words.name_of(device, {})
        why = f"The {name} asks to read this message. It was not among its account's devices when it was sent."
        return Wish(message, uid, device, why)


def _read(text: bytes, kind: type[Read]) -> Read:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise EnvelopeRefused("this message between devices makes no sense") from None
