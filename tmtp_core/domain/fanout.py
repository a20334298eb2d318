# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who gets a copy (wire.md §7), and the making of stored messages."""

from collections.abc import Iterable

from tmtp_core.domain.outcome import Asker, Copy, Moment, Outcome
from tmtp_core.domain.port import EMPTY, Account, Body, Ledger, Message, Rank
from tmtp_core.ids import message_id_text, posted_text
from tmtp_core.wire.messages import StoredEvent, UserEvent, encode_stored


def devices_of(ledger: Ledger, accounts: Iterable[int]) -> list[int]:
    """Keys of all devices of these accounts."""
    return [device.key for account in accounts for device in ledger.account_by_key(account).devices]


def own_devices(account: Account, *, but: int | None = None) -> list[int]:
    """Keys of an account's devices, all or all but one."""
    return [device.key for device in account.devices if device.key != but]


class Stamp:
    """What every message of one decision shares: its sender and its date. Numbers are drawn as messages are made."""

    def __init__(self, ledger: Ledger, asker: Asker, moment: Moment) -> None:
        self._ledger = ledger
        self._moment = moment
        self.sender = asker.uid
        self.time_ms = moment.ms
        self.posted = posted_text(moment.ms)

    def number(self) -> int:
        """The next message number."""
        return self._ledger.next_number(self._moment.wall_ns)

    def id(self) -> tuple[int, str]:
        """The next message number, and the same as the wire writes it."""
        number = self.number()
        return number, message_id_text(number)


def send(
    ledger: Ledger, outcome: Outcome, number: int, event: StoredEvent, devices: Iterable[int], body: Body = EMPTY
) -> None:
    """Queue one message for some devices, each at most once, and note the copies for when it is durable."""
    rank = Rank.USER if isinstance(event, UserEvent) else Rank.ORDINARY
    targets = tuple(dict.fromkeys(devices))
    message = Message(number, rank, encode_stored(event), body)
    ledger.enqueue(message, targets)
    outcome.copies.append(Copy(message, targets))
