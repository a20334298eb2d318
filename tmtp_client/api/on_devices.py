# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations on devices and keys (B4, B9), in revision 2; of revision 1 there is nothing to tell."""

import asyncio
import contextlib
import re

from sqlalchemy import Connection as Rows

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api import problems
from tmtp_client.api.rooms import NO_KEYS, NO_MESSAGE, Handlers, Rooms, changed, found
from tmtp_client.connection import Disconnected, LogInRefused, Refused
from tmtp_client.engine import between
from tmtp_client.engine.context import Context
from tmtp_client.store import messages, outbox, people
from tmtp_client.sync import handing_on, settings, state
from tmtp_client.trust import Trust
from tmtp_client.trust.following import NAME
from tmtp_client.trust.linking import Place
from tmtp_client.trust.safety import qr
from tmtp_client.vault.recovery import seed_of

_NO_PERSON = "this person is not known here"
_NO_KEYS_OF_THEIRS = "no keys of this account are known here"
_OTHER_DIGITS = (
    "These are other digits. Look whether both devices are connected and show the number for each other, and compare "
    "once more; if it stays so, somebody may stand between you: the QR code tells what differs."
)
_BETWEEN_DIGITS = re.compile(r"[\s.,:-]+")


class OnDevices:
    """Their handlers."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def handlers(self) -> Handlers:
        """By their operations' names."""
        return {
            "devices.list": self.own,
            "devices.of": self.of,
            "devices.act": self.act,
            "devices.name": self.name,
            "devices.check_recovery": self.check_recovery,
            "devices.new_recovery": self.new_recovery,
            "devices.start_link": self.start_link,
            "devices.check_link": self.check_link,
            "devices.finish_link": self.finish_link,
            "keys.seen": self.seen,
            "keys.safety": self.safety,
            "keys.compare": self.compare,
            "keys.wishes": self.wishes,
            "keys.grant": self.grant,
            "messages.ask_key": self.ask_key,
        }

    # -- devices -----------------------------------------------------------------------------------------------------
    async def own(self, p: o.OfAccount) -> m.Devices:
        """One's own, as the service has them now, if it can be asked."""
        context, trust = self._of(p.account)
        await _look(context, trust, context.uid)
        return await _listed(context, trust)

    async def of(self, p: o.OfPerson) -> m.Devices:
        """Another's."""
        context, trust = self._of(p.account)
        await self._person(context, p.uid)
        await _look(context, trust, p.uid)
        return await context.database.read(lambda c: trust.devices.listed(c, p.uid))

    async def act(self, p: o.OnDevice) -> m.Devices:
        """Suspend, revoke, confirm, resume, contest."""
        context, trust = self._of(p.account)
        asker = await context.soon()
        with problems.explained("words"):
            await trust.devices.act(asker, context.database, p.act, p.device, p.words)
        return await _listed(context, trust)

    async def name(self, p: o.NameDevice) -> m.Devices:
        """On all devices of the account; an empty name takes it away."""
        context, trust = self._of(p.account)
        label = " ".join(p.label.split())
        if len(label) > limits.DEVICE_LABEL_MAX_CHARACTERS or not label.isprintable():
            raise problems.usage(
                f"a name has {limits.DEVICE_LABEL_MAX_CHARACTERS} printable characters at most", "label"
            )
        listed = await _listed(context, trust)
        if p.device not in {device.key for device in listed.devices}:
            raise problems.not_found("the account has no such device", "device")
        edit = {settings.FIELD: label or None}
        await changed(context, lambda c, at: state.set(c, at, settings.KIND, NAME + p.device, edit))
        return await _listed(context, trust)

    async def check_recovery(self, p: o.CheckRecovery) -> m.Done:
        """`done` false: these are another sheet's words."""
        context, trust = self._of(p.account)
        if await context.database.read(lambda c: trust.logs.kept(c, context.uid)) is None:
            await trust.following.settle(await context.soon(), context.database)
        with problems.explained("words"):
            return m.Done(await trust.devices.check_recovery(context.database, p.words))

    async def new_recovery(self, p: o.NewRecovery) -> o.RecoverySheet:
        """The new one opens this device's history, too, and the old one no more."""
        context, trust = self._of(p.account)
        asker = await context.soon()
        with problems.explained("words"):
            words = await trust.devices.new_recovery(asker, context.database, p.words)
        await asyncio.to_thread(self._rooms.home.vault.add_recovery, seed_of(words), p.account)
        return o.RecoverySheet(words, qr(words))

    # -- a further device --------------------------------------------------------------------------------------------
    async def start_link(self, p: o.StartLink) -> m.Link:
        """The first text."""
        context, trust = self._of(p.account)
        identity = context.identity
        place = Place(identity.host, identity.port, identity.service, identity.alias, identity.pin or "")
        return await trust.linking.offer(await context.soon(), context.database, place)

    async def check_link(self, p: o.CheckLink) -> m.Link:
        """What the second text would add."""
        _, trust = self._of(p.account)
        with problems.explained("answer"):
            return trust.linking.check(p.answer)

    async def finish_link(self, p: o.FinishLink) -> m.Devices:
        """Sign; the new device is then told what devices agree about."""
        context, trust = self._of(p.account)
        asker = await context.soon()
        with problems.explained("answer"):
            await trust.linking.finish(asker, context.database, p.answer, p.fingerprint)
        await changed(context, handing_on.tell_everything)
        return await _listed(context, trust)

    # -- others' keys ------------------------------------------------------------------------------------------------
    async def seen(self, p: o.SeenKeys) -> m.Person:
        """What was shown is seen; what was held for it goes."""
        context, trust = self._of(p.account)

        def seen(c: Rows) -> m.Person | None:
            if not trust.seen(c, p.uid, p.head, compared=p.compared):
                raise problems.ProblemError("conflict", "these keys were not shown, or have changed since: look again")
            outbox.release_held(c, context.clock())
            return people.view(c, p.uid)

        await self._person(context, p.uid)
        person = await context.database.write(seen)
        context.to_send.set()
        return found(person, _NO_PERSON, "uid")

    async def safety(self, p: o.OfPerson) -> m.SafetyNumber:
        """The number to compare."""
        context, trust = self._of(p.account)
        await self._person(context, p.uid)
        await _look(context, trust, p.uid)
        number = await context.database.read(lambda c: trust.safety_number(c, p.uid))
        return found(number, _NO_KEYS_OF_THEIRS, "uid")

    async def compare(self, p: o.CompareKeys) -> o.Compared:
        """Nothing is kept by it. Either device may know less than the other: both logs are looked at first."""
        context, trust = self._of(p.account)
        await self._person(context, p.uid)
        await _look(context, trust, context.uid, p.uid)

        def compare(c: Rows) -> o.Compared:
            number = found(trust.safety_number(c, p.uid), _NO_KEYS_OF_THEIRS, "uid")
            typed = _BETWEEN_DIGITS.sub("", p.shown)
            if typed.isascii() and typed.isdecimal():
                wrong = _other_digits(typed, number.digits)
            else:
                wrong = trust.compare(c, p.uid, p.shown.strip())
            return o.Compared(not wrong, wrong, number.head)

        with problems.explained("shown"):
            return await context.database.read(compare)

    async def wishes(self, p: o.OfAccount) -> list[m.KeyWish]:
        """What the person is asked: the device stands in the log now, and did not when the message was sent."""
        context, trust = self._of(p.account)

        def listed(c: Rows) -> list[m.KeyWish]:
            wishes = trust.wishes(c)
            names = {one.uid: one.alias for one in people.listed(c)}
            return [m.KeyWish(w.message, w.uid, names.get(w.uid, ""), w.device, w.why) for w in wishes]

        return await context.database.read(listed)

    async def grant(self, p: o.GrantKey) -> m.Done:
        """`done` false: it was not granted, because the person said no, or because the device is gone meanwhile."""
        context, trust = self._of(p.account)

        def grant(c: Rows) -> bool:
            if not any((w.message, w.uid, w.device) == (p.message, p.uid, p.device) for w in trust.wishes(c)):
                raise problems.not_found("nobody asks for this any more", "message")
            if p.agreed and trust.unseen(c, p.uid) is not None:
                raise problems.ProblemError("unseen_keys", "their devices have changed: look at them first", "uid")
            return between.answer_wish(c, context, p.message, p.uid, p.device, agreed=p.agreed)

        done = await context.database.write(grant)
        context.to_send.set()
        return m.Done(done)

    async def ask_key(self, p: o.OfMessage) -> m.Done:
        """Ask the sender of a message that cannot be read here."""
        context, _ = self._of(p.account)

        def ask(c: Rows) -> None:
            id = found(messages.named(c, p.message), NO_MESSAGE, "message")
            message = found(messages.view(c, id), NO_MESSAGE, "message")
            if message.state != "sealed":
                raise problems.refused("this message can be read already, or was never encrypted", "message")
            between.ask_for_key(c, context, id, message.author)

        await context.database.write(ask)
        context.to_send.set()
        return m.Done()

    # -- inside ------------------------------------------------------------------------------------------------------
    def _of(self, account: str) -> tuple[Context, Trust]:
        context = self._rooms.context(account)
        if context.trust is None:
            raise problems.refused(NO_KEYS, "account")
        return context, context.trust

    async def _person(self, context: Context, uid: str) -> m.Person:
        return found(await context.database.read(lambda c: people.view(c, uid)), _NO_PERSON, "uid")


def _other_digits(typed: str, digits: str) -> tuple[str, ...]:
    """What is wrong with a number that was typed. Raises ValueError for one that is none."""
    right = digits.replace(" ", "")
    if len(typed) != len(right):
        raise ValueError(f"the number has {len(right)} digits; these are {len(typed)}")
    return () if typed == right else (_OTHER_DIGITS,)


async def _listed(context: Context, trust: Trust) -> m.Devices:
    return await context.database.read(lambda c: trust.devices.listed(c, context.uid))


async def _look(context: Context, trust: Trust, *uids: str) -> None:
    """What the service has now; without it what was known before is told."""
    if context.connection is None or not context.connection.is_connected:
        return
    with contextlib.suppress(Refused, Disconnected, LogInRefused, TimeoutError):
        await trust.look_at(await context.soon(), context.database, uids, anew=True)
