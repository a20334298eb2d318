# SPDX-License-Identifier: AGPL-3.0-or-later
"""Trust of one account under revision 2: its own log and keys, its contacts', and what may be sealed to whom (B4, B9).

Methods that take a database connection belong into the transaction of what they are about. Those that are asynchronous
ask the service first, and never while a transaction waits.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from typing import Final

from sqlalchemy import Connection as Rows
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client import limits
from tmtp_client.api.models import SafetyNumber
from tmtp_client.connection import DeviceKeys, Refused
from tmtp_client.store import tables as t
from tmtp_client.trust import chains, logs, prekeys, safety, shared_keys
from tmtp_client.trust.devices import DeviceActs
from tmtp_client.trust.following import Following
from tmtp_client.trust.judging import Came, Judging, Sealed, Weight
from tmtp_client.trust.linking import Linking
from tmtp_client.trust.logs import Logs, Shown
from tmtp_client.trust.planning import Held, Plan, Planning, Unsealable, Unseen
from tmtp_client.trust.ports import Asker, Kept, NowMs, Own
from tmtp_client.trust.sealing import Sealer, ToSeal
from tmtp_client.trust.shared_keys import SharedKey
from tmtp_client.trust.wrapping import Wish, Wrapping
from tmtp_core.crypto.envelope import Composed, Opened
from tmtp_core.ids import RandomBytes
from tmtp_core.prepared import Prepared
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import E2e

_THERE: Final = Prepared(select(t.online.c.at_ms))


class Trust:
    """Of one account. `service_key` is the one that was pinned when the account was made."""

    def __init__(self, uid: str, keys: DeviceKeys, service_key: str, clock: NowMs, random_bytes: RandomBytes) -> None:
        self.own = Own(uid, keys, service_key)
        self.logs = Logs(service_key)
        self.following = Following(self.own, self.logs, clock)
        self._planning = Planning(self.own, self.logs, self.following, clock)
        self._judging = Judging(self.own, self.logs, self.following)
        self._sealer = Sealer(self.own, self.logs, clock, random_bytes)
        self.wrapping = Wrapping(self.own, self.logs, clock, random_bytes)
        self.devices = DeviceActs(self.own, self.logs, self.following, clock, random_bytes)
        self.linking = Linking(self.own, self.logs, self.following, self.devices)
        self._clock = clock
        self._random_bytes = random_bytes
        self._numbers = count(1)
        self._away = True  # until what waited has come; whether for long, `logged_in` finds out

    # -- with the service --------------------------------------------------------------------------------------------
    async def settle(self, asker: Asker, database: Kept, head: str = "") -> None:
        """At log-in, with the `head` that the service told then, and whenever a log has moved: one's own log, this
        device's prekey, and the logs that messages wait for to be judged.

        Raises `Refused`, `Disconnected`, TimeoutError.
        """
        await self.following.settle(asker, database, head)
        await self._publish_prekey(asker, database)
        asks = await database.read(self._judging.asks)
        if asks:
            not_shown = await self.look_at(asker, database, asks, anew=True)
            await database.write(lambda c: self._judging.settle(c, asks, not_shown))

    async def look_at(self, asker: Asker, database: Kept, uids: Iterable[str], *, anew: bool = False) -> frozenset[str]:
        """Logs and prekeys of these accounts, where they were last looked at ten minutes ago or more; `anew`: in any
        case. Call it before `plan`. Those whose log the service does not show to this account are returned.

        Raises `Disconnected`, TimeoutError.
        """
        wanted = sorted({*uids, self.own.uid} if not anew else set(uids))
        now_ms = self._clock()
        asked_ms = await database.read(lambda c: {uid: logs.standing(c, uid).asked_ms for uid in wanted})
        stale = [uid for uid in wanted if anew or not 0 <= now_ms - asked_ms[uid] < limits.LOOK_AGAIN_MS]
        not_shown: set[str] = set()
        if self.own.uid in stale and await self.following.settle(asker, database) is not Shown.OTHER:
            await self._look(asker, database, self.own.uid, not_shown)
        others = [uid for uid in stale if uid != self.own.uid]
        for start in range(0, len(others), limits.LOOKS_AT_ONCE):
            some = others[start : start + limits.LOOKS_AT_ONCE]
            looks = (self._look(asker, database, uid, not_shown) for uid in some)
            for ended in await asyncio.gather(*looks, return_exceptions=True):
                if ended is not None:
                    raise ended
        return frozenset(not_shown)

    async def _look(self, asker: Asker, database: Kept, uid: str, not_shown: set[str]) -> None:
        try:
            looked = await self.following.look(asker, database, uid)
        except Refused:
            not_shown.add(uid)
            return
        if looked.log is not None and looked.prekeys:
            log, shown = looked.log, looked.prekeys
            await database.write(lambda c: prekeys.take(c, self.own.service_key, log, shown))

    async def _publish_prekey(self, asker: Asker, database: Kept) -> None:
        """One a week. A service that does not take it, for one since a clock is wrong, leaves the device its `box`."""
        due = await database.write(lambda c: prekeys.due(c, self._random_bytes, self._clock()))
        if due is None:
            return
        with suppress(Refused):
            await asker.ask(prekeys.signed(self.own, f"prekey {next(self._numbers)}", *due))
            await database.write(lambda c: prekeys.published(c, due[0]))

    def heard(self, c: Rows, event: m2.LogEvent, data: bytes) -> bool:
        """A `log` event; False: the log has to be looked at, since this device lacks what came before."""
        return self.following.heard(c, event, data)

    # -- being there -------------------------------------------------------------------------------------------------
    def logged_in(self, c: Rows) -> None:
        """At every log-in: whether this device was away for long."""
        self._away = self._was_away(c)

    def _was_away(self, c: Rows) -> bool:
        row = _THERE(c, {}).fetchone()
        return row is None or self._clock() - row[0] >= limits.AWAY_MS

    def caught_up(self, c: Rows) -> None:
        """What waited at log-in has come (the `login` event stands behind it). Old prekeys go."""
        self._away = False
        self.is_there(c)
        prekeys.drop_old(c, self._clock())

    def is_there(self, c: Rows) -> None:
        """Now and then while it is connected, every hour say: this device has all that the service has for it."""
        if self._away:
            return
        values = {"number": 1, "at_ms": self._clock()}
        c.execute(upsert(t.online).values(values).on_conflict_do_update(index_elements=["number"], set_=values))

    # -- sending -----------------------------------------------------------------------------------------------------
    def plan(self, c: Rows, uids: Iterable[str], *, by_box: bool = False) -> Plan | Held | Unsealable:
        """Whether a sealed message to these accounts may leave, and to which devices. `look_at` them before.

        `Unsealable`: no keys of theirs were ever known here. Who had keys once is never written to without. `by_box`:
        for a key that is wrapped again; who lost the secret of a prekey could not read that either, and would ask for
        the key of the answer, and so on.
        """
        return self._planning.plan(c, uids, by_box=by_box)

    def prepare(self, c: Rows, message: ToSeal, plan: Plan, shared: SharedKey | None = None) -> Composed:
        """What all tries to send a message have in common; its place among the device's messages is taken with it.

        Prepare one when it is its turn to be sent, once what waited at log-in has come; the next when that is `sent` or
        `refused`. Raises `EnvelopeRefused`.
        """
        return self._sealer.prepare(c, message, plan, shared)

    def sent(self, c: Rows, request_id: str, message: str) -> None:
        """The service has acknowledged it, as this message."""
        self._sealer.sent(c, request_id, message)

    def refused(self, c: Rows, request_id: str) -> None:
        """The service will not have it, or the person has dropped it."""
        self._sealer.refused(c, request_id)

    def unseal(self, c: Rows, request_id: str) -> None:
        """It may not have left, and is to be prepared once more, for others, under the same request."""
        self._sealer.unseal(c, request_id)

    def sealed_for(self, c: Rows, request_id: str) -> dict[str, str]:
        """For which accounts a request was prepared, and at which heads of their logs."""
        return self._sealer.sealed_for(c, request_id)

    def returned(self, c: Rows, message: str, uids: Iterable[str]) -> None:
        """A `return` event (A4)."""
        self._sealer.returned(c, message, uids)

    def left(self, c: Rows, uid: str, event_id: str) -> None:
        """A `member` event with this id: the account has left a group, or was dropped."""
        self._sealer.left(c, uid, event_id)

    # -- receiving ---------------------------------------------------------------------------------------------------
    def key_for(self, c: Rows, message: str, e2e: E2e) -> bytes | None:
        """The content key of a message; None: this device has none, and asks (`wrapping.ask`)."""
        return self._sealer.key_for(c, message, e2e, shared_keys.of_epoch(c, e2e.epoch) if e2e.suite == 1 else ())

    def judge(self, c: Rows, message: str, author: str, posted: str, opened: Opened, *, waited: bool = False) -> Sealed:
        """What a message that was opened whole is worth. `waited`: it came before, and waited for its key.

        In the transaction that keeps it; `msgspec.json.encode` of the answer is `message.sealed`. Where the answer is
        not settled, call `settle` soon.
        """
        self._away = self._away or self._was_away(c)  # also where `logged_in` comes only after the first messages
        return self._judging.judge(c, Came(message, author, posted, waited, self._away), opened)

    def weight(self, c: Rows, said: Sealed) -> Weight:
        """What one's own device that signed this may tell the others. Of what is settled, and not forged."""
        return self._judging.weight(c, said, self._clock())

    def plain(self, c: Rows, author: str, thread: str) -> tuple[str, ...]:
        """The doubts about a message that was not sealed."""
        return self._judging.plain(c, author, thread)

    def unblocked(self, c: Rows, uid: str) -> None:
        """A block is over: what was sent meanwhile was not delivered, and is not missed."""
        log = self.logs.kept(c, uid)
        chains.begin_anew(c, uid, log.state.devices if log is not None else ())

    # -- the person --------------------------------------------------------------------------------------------------
    def unseen(self, c: Rows, uid: str) -> Unseen | None:
        """What the person has to see of an account's keys; None: nothing."""
        return self._planning.unseen(c, uid)

    def seen(self, c: Rows, uid: str, shown: str, *, compared: bool = False) -> bool:
        """The person has seen what was `shown` (`head` of the API's answers). False: that was never shown."""
        return self._planning.seen(c, uid, shown, compared=compared)

    def stand(self, c: Rows, uid: str) -> str:
        """`models.KeysStand` of an account."""
        return self._planning.stand(c, uid)

    def safety_number(self, c: Rows, uid: str) -> SafetyNumber | None:
        """What to compare with somebody; None: no keys of theirs are known."""
        return safety.number(c, self.own, self.logs, self.following, uid)

    def compare(self, c: Rows, uid: str, text: str) -> tuple[str, ...]:
        """What is wrong with the code that the other device showed; nothing: mark it with `seen(compared=True)`."""
        return safety.compare(c, self.own, self.logs, uid, text)

    def wishes(self, c: Rows) -> tuple[Wish, ...]:
        """Who asks for keys that the person has to agree to."""
        return self.wrapping.wishes(c)
