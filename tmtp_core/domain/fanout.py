# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who gets a copy (wire.md §7), and the making of stored messages."""

from collections.abc import Iterable

from tmtp_core.domain.outcome import Asker, Copy, Moment, Outcome
from tmtp_core.domain.port import EMPTY, Account, Body, Device, Group, Ledger, Message, Rank
from tmtp_core.ids import message_id_text, posted_text
from tmtp_core.wire.messages import MemberEvent, Stored, UserEvent, encode_stored


def devices_of(ledger: Ledger, accounts: Iterable[int]) -> list[Device]:
    """All devices of these accounts."""
    return [device for account in accounts for device in ledger.account_by_key(account).devices]


def own_devices(account: Account, *, but: int | None = None) -> list[Device]:
    """An account's devices, all or all but the one of this key."""
    return [device for device in account.devices if device.key != but]


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
    ledger: Ledger,
    outcome: Outcome,
    number: int,
    event: Stored | None,
    devices: Iterable[Device],
    body: Body = EMPTY,
    *,
    event2: Stored | None = None,
    hidden: Iterable[Device] = (),
    sender: int | None = None,
    known_as: int | None = None,
) -> None:
    """Queue one message for some devices, each at most once, and note the copies for when it is durable.

    `event2` is what devices that speak revision 2 get, where that differs; `event` None: others get nothing. `hidden`
    are devices that take it and never show it. `sender` is the account that hears when it cannot be delivered, and
    `known_as` the number by which it knows the message, if not by this one.
    """
    targets = {device.key: device.speaks for device in devices if event is not None or device.speaks == 2}
    unseen = {device.key: device.speaks for device in hidden if event is not None or device.speaks == 2}
    revisions = {*targets.values(), *unseen.values()}
    first = event if event2 is None or 1 in revisions else event2
    assert first is not None or not revisions
    if first is None:
        return
    head = encode_stored(first)
    head2 = encode_stored(event2) if event2 is not None and revisions == {1, 2} else b""
    rank = Rank.USER if isinstance(event, UserEvent) else Rank.ORDINARY
    message = Message(number, rank, head, body, head2, sender, known_as)
    copy = Copy(message, tuple(targets), tuple(key for key in unseen if key not in targets))
    ledger.enqueue(message, copy.devices, copy.hidden)
    outcome.copies.append(copy)


def announce_member(
    ledger: Ledger,
    outcome: Outcome,
    stamp: Stamp,
    sender: Account,
    group: Group,
    *,
    act: str,
    alias: str,
    newalias: str | None = None,
    also: Iterable[int] = (),
) -> None:
    """A `member` message to the joined members of a group, those `also` concerned, and all nodes of the sender."""
    number, message_id = stamp.id()
    event = MemberEvent(
        id=message_id,
        from_=stamp.sender,
        posted=stamp.posted,
        datalen=0,
        act=act,
        gid=group.gid,
        alias=alias,
        newalias=newalias,
    )
    send(ledger, outcome, number, event, devices_of(ledger, (*group.joined(), *also, sender.key)))
