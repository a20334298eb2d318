# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a sealed message's signature is worth (B9): whether its device stood in its account's log, whether both sides
see the same logs, and whether anything is left out before it.

What is wrong is a doubt, in plain words, which stands beside the message. Where a message names a state of a log that
this device does not know yet, the log is looked at before anything is said.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection as Rows
from sqlalchemy import bindparam, delete, func, insert, literal_column, select, update

from tmtp_client import limits
from tmtp_client.store import changes, messages
from tmtp_client.store import tables as t
from tmtp_client.trust import chains, words
from tmtp_client.trust.chains import Circumstances, Place
from tmtp_client.trust.following import Following
from tmtp_client.trust.logs import KeptLog, Logs
from tmtp_client.trust.ports import Own
from tmtp_core.crypto import manifest as manifests
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.envelope import Opened
from tmtp_core.crypto.log_records import parse_entry
from tmtp_core.crypto.manifest import Manifest
from tmtp_core.prepared import Prepared

_TAKES_AWAY: Final = frozenset({"suspend", "contest", "revoke", "genesis"})
_m = t.message.c
_SEALED_BEFORE: Final = Prepared(
    select(_m.id).where(_m.thread == bindparam("thread"), _m.suite > literal_column("0")).limit(1)
)


Weight = Literal["none", "little", "all"]
"""Of one's own device's word: a provisional one's is `little`, it decides nothing (B4)."""


class Sealed(Struct, frozen=True, omit_defaults=True):
    """What `message.sealed` keeps: which device sealed it, at which head of its log, and what is not borne out.

    `forged`: no device of its author's has signed it; it is nobody's word. `barred`: a device has that was not to, any
    more: nothing is done for it. `again_of`: the message that came before and is the same: this one is not to be shown.
    `accounts`: all whom it was sealed for. `settled` false: a log is being looked at.
    """

    device: str
    request: str
    suite: int
    head: str
    doubts: tuple[str, ...] = ()
    forged: bool = False
    barred: bool = False
    again_of: str = ""
    accounts: tuple[str, ...] = ()
    settled: bool = True


@dataclass(frozen=True, slots=True)
class _Borne:
    """What the two logs bear out of a message. `ask`: whose have to be looked at."""

    doubts: tuple[str, ...]
    forged: bool
    barred: bool
    ask: frozenset[str]


@dataclass(frozen=True, slots=True)
class Came:
    """How a message came: `waited`, for a key; else by the service, just now, to a device that was `away` before."""

    message: str
    author: str
    posted: str
    waited: bool = False
    away: bool = False


class Judging:
    """Of one account."""

    def __init__(self, own: Own, logs: Logs, following: Following) -> None:
        self._own = own
        self._logs = logs
        self._following = following

    def judge(self, c: Rows, came: Came, opened: Opened) -> Sealed:
        """A message that was opened whole (`tmtp_core.crypto.envelope.Opening`). Writes down that it came."""
        manifest = opened.manifest
        sealed = Sealed(manifest.device, manifest.request, manifest.suite, manifest.heads[manifest.sender])
        sealed = msgspec.structs.replace(sealed, accounts=tuple(manifest.heads))
        place = Place(manifest.device, came.author, came.message, manifest.request, opened.manifest_hash, opened.link)
        again = chains.repeats(c, place)
        if again:
            return msgspec.structs.replace(sealed, doubts=(AGAIN,), again_of=again)
        posted_ms = _ms_of(came.posted)
        borne = self._of_logs(c, manifest, posted_ms)
        doubts, ask = borne.doubts, borne.ask
        if ask:
            self._defer(c, came, manifest, posted_ms, ask)
            doubts = tuple(doubt for doubt in doubts if doubt not in _OF_UNKNOWN)
        elif borne.forged:  # whoever signed it has no place in a chain
            return msgspec.structs.replace(sealed, doubts=doubts, forged=True)
        doubts += chains.take(c, place, lambda: self._about(c, came, manifest))
        for message in chains.found(c, manifest.device, opened.manifest_hash):
            self._revise(c, message, take_back=chains.MISSING)
        return msgspec.structs.replace(sealed, doubts=doubts, barred=borne.barred, settled=not ask)

    def plain(self, c: Rows, author: str, thread: str) -> tuple[str, ...]:
        """What to say of a message that is not sealed, in a thread where others are, if its author has keys."""
        if not thread or _SEALED_BEFORE(c, {"thread": thread}).fetchone() is None:
            return ()
        return (NOT_SEALED,) if self._logs.kept(c, author) is not None else ()

    def weight(self, c: Rows, said: Sealed, now_ms: int) -> Weight:
        """Of what a device of this account tells the others: by the log as it was then, and as it is now.

        A full one's holds, also when it was suspended or revoked later. Where its head of the log is not known here,
        the service shows devices different logs: then only what stands now counts.
        """
        log = self._logs.kept(c, self._own.uid)
        if log is None or BARRED_BEFORE in said.doubts:
            return "none"
        then = self._logs.at(c, self._own.uid, said.head) or log.state
        if words.not_standing(then, said.device):
            return "none"
        if "full" in (then.standing(said.device, now_ms), log.state.standing(said.device, now_ms)):
            return "all"
        return "little" if not words.not_standing(log.state, said.device) else "none"

    # -- what had to be looked at ------------------------------------------------------------------------------------
    def asks(self, c: Rows) -> set[str]:
        """Whose logs are to be looked at, for messages to be judged."""
        asks: set[str] = set()
        for text in c.scalars(select(t.unsettled.c.asks)):
            asks.update(msgspec.json.decode(text, type=list[str]))
        return asks

    def settle(self, c: Rows, looked_at: Iterable[str], not_shown: Collection[str] = ()) -> list[str]:
        """Judge once more what was deferred, now that these logs were looked at; the service does not show those of
        `not_shown` to this account, as when a common group has ended. The messages that have changed.
        """
        looked = set(looked_at)
        settled = []
        for row in c.execute(select(t.unsettled)).all():
            manifest = manifests.decode(row.manifest)
            borne = self._of_logs(c, manifest, row.posted_ms)
            if borne.ask - looked:
                continue
            if manifest.sender in borne.ask and manifest.sender in not_shown:
                rest = tuple(doubt for doubt in borne.doubts if doubt not in {NO_DEVICE, THEIR_LOG_UNKNOWN})
                borne = replace(borne, doubts=(THEIR_LOG_NOT_SHOWN, *rest), forged=False)
            c.execute(delete(t.unsettled).where(t.unsettled.c.message == row.message))
            self._revise(c, row.message, add=borne.doubts, forged=borne.forged, barred=borne.barred)
            settled.append(row.message)
        return settled

    # -- inside ------------------------------------------------------------------------------------------------------
    def _of_logs(self, c: Rows, manifest: Manifest, posted_ms: int) -> _Borne:
        """What the two logs bear out."""
        ask = set()
        theirs, own = self._logs.kept(c, manifest.sender), self._logs.kept(c, self._own.uid)
        their_head, own_head = manifest.heads[manifest.sender], manifest.heads[self._own.uid]
        doubts: tuple[str, ...] = ()
        forged = barred = False
        then = self._logs.at(c, manifest.sender, their_head)
        if theirs is None or then is None:
            ask.add(manifest.sender)
            doubts += (THEIR_LOG_UNKNOWN,)
            forged = theirs is None or manifest.device not in theirs.state.devices
            doubts += (NO_DEVICE,) if forged else ()
        else:
            why = words.not_standing(then, manifest.device)
            forged = manifest.device not in then.devices
            if forged:
                doubts += (NO_DEVICE,)
            else:
                signed: tuple[str, ...] = (f"It was signed by a device that {why} when it was written.",) if why else ()
                signed = signed or self._gone_since(c, theirs, their_head, manifest.device, posted_ms)
                barred = bool(signed)
                doubts += signed
        if own is None or own_head not in own.heads:
            if own_head or manifest.suite > 1:
                ask.add(self._own.uid)
                doubts += (OWN_LOG_UNKNOWN,)
        elif own_head != own.head:
            doubts += self._kept_from(c, own, own_head, min(posted_ms, manifest.time))
        return _Borne(doubts, forged, barred, frozenset(ask))

    def _gone_since(self, c: Rows, log: KeptLog, head: str, device: str, posted_ms: int) -> tuple[str, ...]:
        """Whether the device was barred, by the log as it is now, before the service took the message."""
        if not words.not_standing(log.state, device):
            return ()
        place = log.place_of(head)
        assert place is not None
        for later, record in enumerate(self._logs.records(c, log.uid, place + 1), place + 1):
            if posted_ms <= record.time + limits.CLOCK_SLACK_MS:
                return ()
            state = self._logs.at(c, log.uid, log.heads[later])
            if state is not None and words.not_standing(state, device):
                return (BARRED_BEFORE,)
        return ()

    def _kept_from(self, c: Rows, own: KeptLog, head: str, written_ms: int) -> tuple[str, ...]:
        """Whether the sender had not heard, long after, that one of this account's devices was barred."""
        place = own.place_of(head)
        assert place is not None
        for record in self._logs.records(c, own.uid, place + 1):
            act = parse_entry(from_text(record.entry)).act
            if act in _TAKES_AWAY and written_ms > record.time + limits.LATE_MS:
                return (KEPT_FROM_SENDER,)
        return ()

    def _about(self, c: Rows, came: Came, manifest: Manifest) -> Circumstances:
        own, theirs = self._logs.kept(c, self._own.uid), self._logs.kept(c, came.author)
        this = own.state.devices.get(self._own.device) if own is not None else None
        that = theirs.state.devices.get(manifest.device) if theirs is not None else None
        blocked = c.scalar(select(t.person.c.blocked).where(t.person.c.uid == came.author))
        waiting = select(func.count()).where(
            t.message.c.author == came.author, t.message.c.state == "sealed", t.message.c.id != came.message
        )
        return Circumstances(
            newer_here=this is not None and that is not None and this is not that and this.added_ms < that.added_ms,
            away=came.away or bool(blocked),
            waited=came.waited,
            unopened=bool(c.scalar(waiting)),
        )

    def _defer(self, c: Rows, came: Came, manifest: Manifest, posted_ms: int, ask: frozenset[str]) -> None:
        row = {
            "message": came.message,
            "author": came.author,
            "posted_ms": posted_ms,
            "manifest": manifests.encode(manifest),
            "asks": msgspec.json.encode(sorted(ask)).decode(),
        }
        c.execute(insert(t.unsettled).prefix_with("OR REPLACE"), row)

    def _revise(
        self,
        c: Rows,
        message: str,
        *,
        add: tuple[str, ...] = (),
        take_back: str = "",
        forged: bool = False,
        barred: bool = False,
    ) -> None:
        """Change what is said of a message that is kept already."""
        text = c.scalar(select(t.message.c.sealed).where(t.message.c.id == message))
        if not text:
            return
        sealed = msgspec.json.decode(text, type=Sealed)
        kept = tuple(doubt for doubt in sealed.doubts if doubt != take_back)
        new = msgspec.structs.replace(
            sealed,
            doubts=kept + tuple(doubt for doubt in add if doubt not in kept),
            forged=forged or sealed.forged,
            barred=barred or sealed.barred,
            settled=sealed.settled or not take_back,
        )
        encoded = msgspec.json.encode(new).decode()
        if forged and not sealed.forged:  # it stood there while a log was looked at, and is nobody's word
            text = f"(This message cannot be read: {NO_DEVICE})"
            content = {"state": "unreadable", "sealed": encoded}
            messages.replace_content(c, message, subject="", text=text, attachments=(), own=frozenset(), **content)
            return
        c.execute(update(t.message).where(t.message.c.id == message).values(sealed=encoded))
        changes.touch(c, "message", message)


def _ms_of(posted: str) -> int:
    """The service's date in ms since 1970; 0 for what is none."""
    try:
        return int(datetime.fromisoformat(posted).timestamp() * 1000)
    except ValueError:
        return 0


NO_DEVICE: Final = "No device of its sender has signed this message: the service, or somebody else, has made it up."
AGAIN: Final = "The service has brought this message a second time."
NOT_SEALED: Final = "This message was not encrypted, as others in this conversation were: anybody may have written it."
THEIR_LOG_UNKNOWN: Final = (
    "Its sender's devices stand as the service does not show it here: it keeps changes back, or shows two lists."
)
THEIR_LOG_NOT_SHOWN: Final = (
    "The service does not show its sender's devices here, as after a common group has ended: whether one of them has "
    "signed this cannot be told."
)
OWN_LOG_UNKNOWN: Final = "Its sender was shown another list of your devices than there is."
BARRED_BEFORE: Final = "It came from a device that was barred before: the service should not have taken it."
_OF_UNKNOWN: Final = frozenset({NO_DEVICE, THEIR_LOG_UNKNOWN, OWN_LOG_UNKNOWN})
KEPT_FROM_SENDER: Final = (
    "Its sender did not know that one of your devices was barred, a day and more after: the service may have kept that "
    "from him, and the barred device may read this."
)
