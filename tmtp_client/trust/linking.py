# SPDX-License-Identifier: AGPL-3.0-or-later
"""A further device, by two short texts that a person carries from one device to the other, or two QR codes (B4).

The *offer* of a device of the account says which account it is, at which service, and how its log stands. The *answer*
of the new device has its keys, and its signature over the very entry that would add it. The first one shows what it
would add; when its person has compared the fingerprint, it signs too. Nothing in either text is secret: who reads them
can do nothing with them. Who changes them on their way is found by the fingerprint, which covers both.

Where the log has moved on meanwhile, the answer is not good any more, and a new offer is made.
"""

from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Final, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import Connection as Rows

from tmtp_client import limits
from tmtp_client.api.models import Link
from tmtp_client.connection import DeviceKeys, Refused
from tmtp_client.trust import logs as kept
from tmtp_client.trust.devices import Changed, DeviceActs, NotPossible
from tmtp_client.trust.following import MOVED_ON, Following
from tmtp_client.trust.logs import KeptLog, Logs, Shown
from tmtp_client.trust.ports import Asker, Kept, Own
from tmtp_client.trust.safety import qr
from tmtp_core.crypto.account_log import Entry
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.log_records import ENTRY, Signature, encode_entry, parse_entry
from tmtp_core.crypto.signing import PUBLIC_KEY_BYTES, signed_by
from tmtp_core.wire import revision2 as m2

_OFFER: Final = "tmtp-link-1:"
_ANSWER: Final = "tmtp-linked-1:"
_FINGERPRINT: Final = b"tmtp-link"
_GROUPS: Final = 6
Read = TypeVar("Read", bound=Struct)


class LinkRefused(ValueError):
    """This text adds no device here; why, in plain words."""


class Offer(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the new device has to know. `sponsor`: the device that offers; `head`: of the account's log."""

    host: str
    port: int
    service: str
    service_key: str
    uid: str
    sponsor: str
    head: str
    alias: str = ""
    pin: str = ""


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """What the new device gives back: the entry that adds it, and its signature; for this account at this service."""

    uid: str
    service_key: str
    entry: str
    sig: str

    def parsed(self) -> Entry:
        """The entry. Raises `LinkRefused`."""
        try:
            return parse_entry(from_text(self.entry))
        except ValueError as error:
            raise LinkRefused(f"the text from the new device is damaged: {error}") from None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the account's service is, and what it and the account are called: for the offer."""

    host: str
    port: int
    service: str
    alias: str = ""
    pin: str = ""


def is_text(text: str) -> bool:
    """Whether it looks like one of the two texts: what its QR code in a picture is looked for by."""
    return text.startswith((_OFFER, _ANSWER))


# -- on the new device -----------------------------------------------------------------------------------------------
def read_offer(text: str) -> Offer:
    """The first text. Raises `LinkRefused` for anything else."""
    offer = _read(text, _OFFER, Offer)
    try:
        for key in (offer.service_key, offer.sponsor, offer.head):
            from_text(key, PUBLIC_KEY_BYTES)
    except ValueError:
        raise LinkRefused("this text is damaged: copy it once more, all of it") from None
    if not (offer.host and 0 < offer.port < 65_536 and offer.uid):
        raise LinkRefused("this text is damaged: copy it once more, all of it")
    return offer


def answer(offer: Offer, keys: DeviceKeys) -> Link:
    """The second text, for a device with these keys: keep them before it is shown."""
    entry = encode_entry(Entry("add", offer.head, device=keys.signer.public, box=keys.box))
    sig = keys.signer.sign(ENTRY, from_text(offer.service_key), entry)
    made = Answer(offer.uid, offer.service_key, to_text(entry), sig)
    return _link(_ANSWER, made, fingerprint(made))


def check_joined(c: Rows, logs: Logs, own: Own, offer: Offer) -> str:
    """On the new device, once it has its account's log: empty where it is the account that was offered, to which the
    offering device has added this one; else what is wrong. What there was up to then is taken for seen.
    """
    log = logs.kept(c, own.uid)
    place = log.place_of(offer.head) if log is not None else None
    if log is None or place is None:
        return "This is not the account that was offered: its log never stood as the other device said."
    this = log.state.devices.get(own.device)
    if this is None or this.sponsor != offer.sponsor or place + 1 >= len(log.heads):
        return "This device was added by another device than the one that offered it."
    kept.keep(c, kept.standing(c, own.uid), seen_head=log.heads[place + 1])
    return ""


# -- on a device of the account --------------------------------------------------------------------------------------
class Linking:
    """Offers, and adds who answers."""

    def __init__(self, own: Own, logs: Logs, following: Following, acts: DeviceActs) -> None:
        self._own = own
        self._logs = logs
        self._following = following
        self._acts = acts
        self._numbers = count(1)

    async def offer(self, asker: Asker, database: Kept, place: Place) -> Link:
        """The first text, of the account's log as it is now. Raises `NotPossible` where this device adds none."""
        log = await self._looked_at(asker, database)
        made = Offer(
            place.host,
            place.port,
            place.service,
            self._own.service_key,
            self._own.uid,
            self._own.device,
            log.head,
            place.alias,
            place.pin,
        )
        return _link(_OFFER, made, _digits(msgspec.json.encode(made)))

    def read_answer(self, text: str) -> Answer:
        """The second text, if it is one for this account. Raises `LinkRefused`."""
        got = _read(text, _ANSWER, Answer)
        if (got.uid, got.service_key) != (self._own.uid, self._own.service_key):
            raise LinkRefused("this text is for another account, or another service")
        entry = got.parsed()
        if entry.act != "add":
            raise LinkRefused("this text adds no device")
        raw = from_text(got.entry)
        if not signed_by(entry.device, got.sig, ENTRY, from_text(self._own.service_key), raw):
            raise LinkRefused("the new device's signature does not hold: the text was changed on its way")
        return got

    def check(self, text: str) -> Link:
        """What the second text would add, to be compared with what the new device shows. Nothing is signed."""
        got = self.read_answer(text)
        return _link(_ANSWER, got, fingerprint(got))

    async def finish(self, asker: Asker, database: Kept, text: str, shown: str) -> str:
        """Add the device that answered, whose fingerprint is `shown` there; its key. Provisional until it is confirmed.

        Raises `LinkRefused`, `NotPossible`, `Changed` where the log has moved on since the offer: make a new one;
        `Refused`, `Disconnected`, TimeoutError.
        """
        got = self.read_answer(text)
        if _only_digits(shown) != _only_digits(fingerprint(got)):
            raise LinkRefused("the fingerprints differ: nothing was added; the text is not the new device's")
        entry = got.parsed()
        log = await self._looked_at(asker, database)
        if entry.device in log.state.devices:
            raise LinkRefused("this device was added before")
        if entry.prev != log.head:
            raise Changed(_MOVED)
        signer = self._own.keys.signer
        mine = signer.sign(ENTRY, from_text(self._own.service_key), from_text(got.entry))
        sigs = (Signature(signer.public, mine), Signature(entry.device, got.sig))
        try:
            await asker.ask(m2.LogAppend(f"link {next(self._numbers)}", got.entry, sigs))
        except Refused as refused:
            if MOVED_ON in str(refused):
                raise Changed(_MOVED) from None
            raise
        await self._following.settle(asker, database)
        await database.write(lambda c: self._acts.did(c, log, got.entry))
        return entry.device

    async def _looked_at(self, asker: Asker, database: Kept) -> KeptLog:
        shown = await self._following.settle(asker, database)
        log = await database.read(lambda c: self._logs.kept(c, self._own.uid))
        if shown is Shown.OTHER or log is None:
            raise NotPossible("the service shows another log of this account than this device has checked")
        stands = log.state.standing(self._own.device, self._acts.now_ms())
        if stands != "full":
            raise NotPossible(f"only a full device adds another, and this one is {stands}")
        return log


_MOVED: Final = "the account's devices have changed since the first text was made: begin again with a new one"


def fingerprint(made: Answer) -> str:
    """Thirty digits in groups of five, of all that will be signed: which account, which service, which keys."""
    return _digits((made.entry + made.service_key + made.uid).encode())


def _digits(content: bytes) -> str:
    octets = blake2b(content, person=_FINGERPRINT).digest()
    groups = (int.from_bytes(octets[at : at + 5]) % 100_000 for at in range(0, 5 * _GROUPS, 5))
    return " ".join(f"{group:05}" for group in groups)


def _only_digits(text: str) -> str:
    return "".join(one for one in text if one.isdecimal())


def _link(prefix: str, content: Struct, shown: str) -> Link:
    text = prefix + to_text(msgspec.json.encode(content))
    return Link(text, qr(text), shown)


def _read(text: str, prefix: str, kind: type[Read]) -> Read:
    """What stands behind a prefix, however the text was broken into lines. Raises `LinkRefused`."""
    bare = "".join(text.split())
    if len(bare) > limits.LINK_TEXT_MAX_BYTES or not bare.startswith(prefix):
        which = "first" if prefix == _OFFER else "second"
        raise LinkRefused(f"this is not the {which} text of adding a device; it begins with {prefix}")
    try:
        return msgspec.json.decode(from_text(bare.removeprefix(prefix)), type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise LinkRefused("this text is damaged: copy it once more, all of it") from None
