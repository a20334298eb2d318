# SPDX-License-Identifier: AGPL-3.0-or-later
"""An account's devices, and what may be done to them (B4; docs/protocol.md, *The rules*).

What this device may do by itself, what takes the recovery sheet, and why the rest cannot be done, in plain words. An
act is signed on top of the log as it was looked at; where the log has moved on meanwhile it is done again only if the
device that it is about stands as it did.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final, Literal

from sqlalchemy import Connection as Rows

from tmtp_client import limits
from tmtp_client.api.models import Device, Devices
from tmtp_client.connection import Refused
from tmtp_client.store import identity as identities
from tmtp_client.trust import logs as kept
from tmtp_client.trust import words
from tmtp_client.trust.following import MOVED_ON, Following
from tmtp_client.trust.logs import KeptLog, Logs, Shown
from tmtp_client.trust.ports import Asker, Kept, NowMs, Own
from tmtp_client.vault.recovery import seed_of, words_of
from tmtp_core.crypto.account_log import RECOVERY, ActName, Entry, LogRefused, LogState
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.log_records import compose, encode_entry
from tmtp_core.crypto.signing import SEED_BYTES, Signer
from tmtp_core.ids import RandomBytes
from tmtp_core.wire import revision2 as m2

Act = Literal["suspend", "revoke", "confirm", "resume", "contest"]
ACTS: Final[tuple[Act, ...]] = ("suspend", "revoke", "confirm", "resume", "contest")
_BY_WORDS: Final = frozenset({"confirm", "resume", "revoke"})


class NotPossible(Exception):
    """The rules of the log do not allow it; the text says why, and what would be possible."""


class Changed(Exception):
    """The account's devices have changed since they were looked at: look again, and decide."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be done to a device now: by this device alone, with the recovery sheet; and why not the rest."""

    acts: tuple[Act, ...]
    by_words: tuple[Act, ...]
    cannot: tuple[str, ...]


def allowed(log: LogState, this: str, target: str, now_ms: int) -> Allowed:
    """By the rules themselves: each act is tried on a copy of the log."""
    acts = tuple(act for act in ACTS if _refusal(log, act, target, {this}, now_ms) == "")
    by_words = tuple(act for act in ACTS if act in _BY_WORDS and not _refusal(log, act, target, {RECOVERY}, now_ms))
    return Allowed(acts, by_words, _cannot(log, this, target, acts, now_ms))


def _refusal(log: LogState, act: Act, target: str, signers: set[str], now_ms: int) -> str:
    """Why the rules refuse an act; empty: they do not."""
    if act == "contest" and target not in signers:
        return "only the suspended device itself contests"
    entry = _entry(act, log, target)
    try:
        log.copy().apply(entry, frozenset(signers), max(now_ms, log.time_ms), encode_entry(entry))
    except LogRefused as refused:
        return str(refused)
    return ""


def _entry(act: ActName, log: LogState, target: str) -> Entry:
    return Entry(act, log.head_text, target="" if act == "contest" else target)


def _cannot(log: LogState, this: str, target: str, acts: tuple[Act, ...], now_ms: int) -> tuple[str, ...]:
    """In plain words why this device cannot do what a person would look for."""
    stands, own = log.standing(target, now_ms), log.standing(this, now_ms)
    if stands == "revoked":
        return ()
    told = []
    if own != "full":
        told.append(f"This device {words.STANDS.get(own, 'is none of this account')}.")
    if stands.endswith("suspended") and target == this and "contest" not in acts:
        told.append("It cannot contest its suspension, or has done so.")
    if stands == "provisional" and "confirm" not in acts and own == "full":
        told.append("To confirm it takes another full device than the one that added it, or the recovery sheet.")
    if own == "full":
        full = [d.key for d in log.unrevoked() if d.key != target and log.standing(d.key, now_ms).startswith("full")]
        needed = max(2, len(full) // 2 + 1)
        what = "To revoke it" + (" or to lift its suspension" if stands.endswith("suspended") else "")
        told.append(f"{what} takes the recovery sheet: {_majority(full, needed)}.")
    return tuple(told)


def _majority(full: list[str], needed: int) -> str:
    others = "there is 1 other full device" if len(full) == 1 else f"there are {len(full)} other full devices"
    if needed > len(full):
        return f"without it, two full devices beside this one would have to sign together, and {others}"
    return f"without it, {needed} of the {len(full)} other full devices would have to sign together, one is not enough"


class DeviceActs:
    """Lists an account's devices, and changes them. Of the account whose device this is."""

    def __init__(self, own: Own, logs: Logs, following: Following, clock: NowMs, random_bytes: RandomBytes) -> None:
        self._own = own
        self._logs = logs
        self._following = following
        self._clock = clock
        self._random_bytes = random_bytes
        self._numbers = count(1)

    def now_ms(self) -> int:
        """The time that acts are judged at."""
        return self._clock()

    def listed(self, c: Rows, uid: str) -> Devices:
        """An account's devices and its log in plain words; of another's account nothing may be done."""
        log = self._logs.kept(c, uid)
        one = kept.standing(c, uid)
        trouble = self._following.trouble(c, one)
        if log is None:
            return Devices(uid, (), (), trouble=trouble)
        names = self._following.names(c, uid)
        return Devices(
            uid,
            tuple(self._device(log, key, names) for key in log.state.devices),
            words.lines(self._logs.records(c, uid), names),
            head=self._following.shown(c, uid),
            trouble=trouble,
            unseen=self._following.unseen(c, uid),
        )

    def _device(self, log: KeptLog, key: str, names: Mapping[str, str]) -> Device:
        device = log.state.devices[key]
        now_ms = self._clock()
        may = allowed(log.state, self._own.device, key, now_ms) if log.uid == self._own.uid else Allowed((), (), ())
        return Device(
            key,
            words.name_of(key, names),
            log.state.standing(key, now_ms),
            this=key == self._own.device,
            added_ms=device.added_ms,
            sponsor=device.sponsor or "",
            acts=may.acts,
            by_words=may.by_words,
            cannot=may.cannot,
        )

    # -- acts --------------------------------------------------------------------------------------------------------
    async def act(self, asker: Asker, database: Kept, act: Act, target: str, recovery_words: str = "") -> None:
        """Do it: by this device where it may, else with the recovery sheet. The person has seen what it changes.

        Raises ValueError for words that are none, `NotPossible`, `Changed`, `Refused`, `Disconnected`, TimeoutError.
        """
        recovery = Signer(seed_of(recovery_words)) if recovery_words else None
        log = await self._looked_at(asker, database)
        stood = log.state.standing(target, self._clock())
        for _ in range(limits.LOG_TRIES_MAX):
            by = self._signers(log.state, act, target, recovery)
            if await self._append(asker, database, _entry(act, log.state, target), by, log):
                return
            log = await self._looked_at(asker, database)
            if log.state.standing(target, self._clock()) != stood:
                raise Changed("this device stands otherwise by now: look at the list again")
        raise Changed("somebody else changes this account all the time; try again")

    def _signers(self, log: LogState, act: Act, target: str, recovery: Signer | None) -> dict[str, Signer]:
        """Who signs. Raises `NotPossible`."""
        signer = self._own.keys.signer
        why = _refusal(log, act, target, {signer.public}, self._clock())
        if not why:
            return {signer.public: signer}
        if recovery is None:
            may = allowed(log, signer.public, target, self._clock())
            hint = "it takes the recovery sheet" if act in may.by_words else ""
            raise NotPossible(" ".join(filter(None, (*may.cannot, hint))) or why)
        if recovery.public != log.recovery:
            raise NotPossible("these words are not this account's recovery sheet, or not any more")
        why = _refusal(log, act, target, {RECOVERY}, self._clock()) if act in _BY_WORDS else why
        if why:
            raise NotPossible(why)
        return {RECOVERY: recovery}

    async def check_recovery(self, database: Kept, recovery_words: str) -> bool:
        """Whether these 24 words are the account's recovery sheet, by its log. Raises ValueError for what are none."""
        public = Signer(seed_of(recovery_words)).public
        log = await database.read(lambda c: self._logs.kept(c, self._own.uid))
        return log is not None and log.state.recovery == public

    async def new_recovery(self, asker: Asker, database: Kept, recovery_words: str) -> str:
        """Replace the recovery key; the 24 words of the new one. It is kept here before the service hears of it, and
        until its person has it (`identity.forget_pending`): where an answer was lost, asking again tells it.

        Raises as `act` does.
        """
        old = Signer(seed_of(recovery_words))
        for _ in range(limits.LOG_TRIES_MAX):
            log = await self._looked_at(asker, database)
            seed = await database.read(lambda c: identities.next_recovery(c, self._own.service_key))
            replaced = old.public in log.state.recoveries and old.public != log.state.recovery
            if replaced and seed and Signer(seed).public == log.state.recovery:
                return words_of(seed)
            if old.public != log.state.recovery:
                raise NotPossible("these words are not this account's recovery sheet, or not any more")
            if not seed or Signer(seed).public in log.state.recoveries:
                seed = await self._next_recovery(database)
            entry = Entry("rekey", log.state.head_text, recovery=Signer(seed).public)
            if await self._append(asker, database, entry, {RECOVERY: old}, log):
                return words_of(seed)
        raise Changed("somebody else changes this account all the time; try again")

    async def _next_recovery(self, database: Kept) -> bytes:
        """The seed of a new recovery key, kept."""
        seed = self._random_bytes(SEED_BYTES)
        own = self._own
        await database.write(lambda c: identities.put_next_recovery(c, own.service_key, own.keys, seed))
        return seed

    # -- appending ---------------------------------------------------------------------------------------------------
    async def _looked_at(self, asker: Asker, database: Kept) -> KeptLog:
        """The log as it is now. Raises `NotPossible` where the service shows another one: nothing is signed on top."""
        shown = await self._following.settle(asker, database)
        log = await database.read(lambda c: self._logs.kept(c, self._own.uid))
        if shown is Shown.OTHER or log is None:
            raise NotPossible("the service shows another log of this account than this device has checked")
        return log

    async def _append(
        self, asker: Asker, database: Kept, entry: Entry, signers: Mapping[str, Signer], log: KeptLog
    ) -> bool:
        """Sign, append, and keep the record. False: the log has moved on."""
        made, sigs = compose(entry, signers, from_text(self._own.service_key))
        try:
            await asker.ask(m2.LogAppend(f"device {next(self._numbers)}", made, sigs))
        except Refused as refused:
            if MOVED_ON in str(refused):
                return False
            raise
        await self._following.settle(asker, database)
        await database.write(lambda c: self.did(c, log, made))
        return True

    def did(self, c: Rows, before: KeptLog, entry: str) -> None:
        """What this device has just added at the person's word, he has seen; if he had seen all that was before it."""
        one = kept.standing(c, self._own.uid)
        after = self._logs.kept(c, self._own.uid)
        place = len(before.heads)
        if after is None or len(after.heads) <= place or one.seen_head != before.head:
            return
        if self._logs.records(c, self._own.uid, place, place + 1)[0].entry == entry:
            kept.keep(c, one, seen_head=after.heads[place])
