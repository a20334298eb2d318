# SPDX-License-Identifier: AGPL-3.0-or-later
"""This device's own copy of its account's log (B4; docs/protocol.md, *When the service knows less than a device*).

A service that was restored from a backup knows less than it did: who was revoked since may be a device again. Each
device keeps the records that it has checked, and hands those over that the service has lost. A log that has gone
another way is not followed: the copy stays as it is, and `trouble` says so.
"""

import itertools
from collections.abc import Callable

from tmtp_client import limits
from tmtp_client.connection import Connection, Refused
from tmtp_client.engine.history import History, Identity
from tmtp_core.crypto.account_log import LogState
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.log_records import LogInvalid, Record, decode_record, decode_records, encode_record, verify
from tmtp_core.wire import revision2 as m2

_FORKED = (
    "the service's log of this account is another one than this device has checked: it does not follow it; "
    "ask who runs the service"
)


class OwnLog:
    """Of a device with keys. `on_trouble` hears, in words for its person, when the service has another log."""

    def __init__(self, history: History, identity: Identity, on_trouble: Callable[[str], None] | None = None) -> None:
        self._history = history
        self._uid = identity.uid
        self._service_key = identity.service_key
        self._records: list[Record] = []
        self._heads: list[str] = []  # after each record
        self._state: LogState | None = None
        self._loaded = False
        self._numbers = itertools.count(1)
        self._on_trouble = on_trouble
        self.trouble: str | None = None
        self.handed_over = 0

    async def settle(self, connection: Connection, head: str = "") -> None:
        """Bring the shorter of the two logs up to the longer one; if the service's has this `head`, nothing is asked.

        Raises `Refused`, `Disconnected`, TimeoutError.
        """
        self._load()
        if self._heads and head == self._heads[-1]:
            return
        for _ in range(limits.LOG_TRIES_MAX):
            if await self._fetch(connection):
                return

    async def _fetch(self, connection: Connection) -> bool:
        """What the service has beyond this copy; or what it lacks, to it. False when it is to be looked at again."""
        page, data = await connection.inquire(m2.LogFetch(self._new_id(), self._uid, len(self._records)))
        assert isinstance(page, m2.LogPage)
        try:
            records = decode_records(data)
            if records:
                self._extend(records)
                return not page.more
        except LogInvalid as invalid:
            return self._is_another(f"{_FORKED} ({invalid})")
        if self._heads and page.head == self._heads[-1]:
            self.trouble = None
            return True
        if page.head not in self._heads:
            return self._is_another(_FORKED)
        return await self._hand_over(connection, self._heads.index(page.head) + 1)

    async def _hand_over(self, connection: Connection, place: int) -> bool:
        """The records from this place on, as the service has made them."""
        for record in self._records[place:]:
            again = m2.LogAppend(self._new_id(), record.entry, record.sigs, time=record.time, stamp=record.stamp)
            try:
                await connection.ask(again)
            except Refused as refused:
                if "moved on" in str(refused):  # another device was faster
                    return False
                raise
            self.handed_over += 1
        self.trouble = None
        return True

    def _is_another(self, trouble: str) -> bool:
        if self.trouble is None and self._on_trouble is not None:
            self._on_trouble(trouble)
        self.trouble = trouble
        return True

    def _extend(self, records: list[Record]) -> None:
        """Further records, each checked; durable when this returns. Raises `LogInvalid`."""
        state = self._state
        heads: list[str] = []
        for record in records:
            state = verify([record], uid=self._uid, service_key=self._service_key, known=state)
            heads.append(state.head_text)
        self._history.keep_log_records(len(self._records), [encode_record(record) for record in records])
        self._records += records
        self._heads += heads
        self._state = state
        self.trouble = None

    def _new_id(self) -> str:
        """Of a request on this connection."""
        return f"own log {next(self._numbers)}"

    def _load(self) -> None:
        """What was kept was checked when it came; only the heads are made again."""
        if self._loaded:
            return
        self._loaded = True
        try:
            records = [decode_record(raw) for raw in self._history.log_records()]
            state = LogState.begin(from_text(self._service_key), self._uid)
            for record in records:
                state = verify([record], uid=self._uid, service_key=self._service_key, known=state)
                self._heads.append(state.head_text)
        except (LogInvalid, ValueError):  # this device's disk: begin again
            self._history.forget_log_records()
            self._heads = []
            return
        self._records = records
        self._state = state if records else None
