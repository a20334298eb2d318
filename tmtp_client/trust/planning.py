# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a sealed message may leave, and to which devices (B9): to those of verified logs, and to nothing else.

Nothing leaves while somebody's keys, or one's own, have changed and the person has not seen it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection as Rows

from tmtp_client.trust import logs as kept
from tmtp_client.trust import prekeys
from tmtp_client.trust.following import TROUBLE, Following, trouble_name
from tmtp_client.trust.logs import Logs
from tmtp_client.trust.ports import NowMs, Own
from tmtp_core.crypto.content_key import Target


@dataclass(frozen=True, slots=True)
class Unseen:
    """What the person has to see of an account first: in plain words, and up to which head of its log."""

    uid: str
    changes: tuple[str, ...]
    trouble: str
    head: str  # as `seen` wants it back


@dataclass(frozen=True, slots=True)
class Held:
    """No sealed message leaves: first the person sees these."""

    unseen: tuple[Unseen, ...]

    @property
    def text(self) -> str:
        """In plain words."""
        return " ".join(text for one in self.unseen for text in (*one.changes, one.trouble) if text)


@dataclass(frozen=True, slots=True)
class Unsealable:
    """These have no keys as far as is known: a message to them cannot be sealed to their devices."""

    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """To whom a message is sealed: the devices, and the head of each account's log, one's own among them."""

    targets: tuple[Target, ...]
    heads: Mapping[str, str]


class Planning:
    """Of one account."""

    def __init__(self, own: Own, logs: Logs, following: Following, clock: NowMs) -> None:
        self._own = own
        self._logs = logs
        self._following = following
        self._clock = clock

    def plan(self, c: Rows, uids: Iterable[str], *, by_box: bool = False) -> Plan | Held | Unsealable:
        """For a message to these accounts, and to one's own devices, the sending one among them: it reads it again.

        `by_box`: to what their logs name, and to no prekey.
        """
        everybody = sorted({*uids, self._own.uid})
        unseen = tuple(one for uid in everybody if (one := self.unseen(c, uid)) is not None)
        if unseen:
            return Held(unseen)
        known = {uid: self._logs.kept(c, uid) for uid in everybody}
        missing = tuple(uid for uid, log in known.items() if log is None)
        if missing:
            return Unsealable(missing)
        now_ms = self._clock()
        targets: list[Target] = []
        heads: dict[str, str] = {}
        for uid, log in known.items():
            assert log is not None
            heads[uid] = log.head
            for device in log.state.unrevoked():
                if device.suspended_by is None:
                    prekey = None if by_box else prekeys.usable(c, uid, device.key, now_ms)
                    targets.append(Target(uid, device.key, prekey or device.box, prekey is not None))
        return Plan(tuple(targets), heads)

    def unseen(self, c: Rows, uid: str) -> Unseen | None:
        """What the person has to see of an account before anything is sealed to it; None: nothing."""
        one = kept.standing(c, uid)
        log = self._logs.kept(c, uid)
        trouble = one.trouble if not one.trouble_seen else ""
        if log is None and (one.trouble or one.seen_head):  # nor is anything sent without keys instead
            lost = "What this device knew of their devices cannot be read any more; it is fetched again."
            return Unseen(uid, (), one.trouble or lost, "")
        if log is None:
            return None
        if log.head == one.seen_head and not trouble:
            return None
        return Unseen(uid, self._following.unseen(c, uid), trouble, self._following.shown(c, uid))

    def seen(self, c: Rows, uid: str, shown: str, *, compared: bool = False) -> bool:
        """The person has seen what changed up to the head that was `shown`, and the trouble that was shown with it.

        False where that was never shown of this log, or is less than was seen before: nothing is changed then. What has
        come since stays unseen.
        """
        log = self._logs.kept(c, uid)
        one = kept.standing(c, uid)
        head, _, trouble = shown.partition(TROUBLE)
        place = log.place_of(head) if log is not None and head else None
        before = log.place_of(one.seen_head) if log is not None else None
        if log is None or place is None or (before is not None and place < before):
            return False
        kept.keep(
            c,
            one,
            seen_head=head,
            compared_head=head if compared else one.compared_head,
            trouble_seen=bool(one.trouble) and trouble == trouble_name(one),
        )
        self._following.tell(c, uid)
        return True

    def stand(self, c: Rows, uid: str) -> str:
        """How an account's keys stand with the person: `models.KeysStand`."""
        log = self._logs.kept(c, uid)
        one = kept.standing(c, uid)
        if one.trouble and not one.trouble_seen:
            return "trouble"
        if log is None:
            return "none"
        if log.head != one.seen_head:
            return "unseen"
        return "compared" if one.compared_head == log.head else "seen"
