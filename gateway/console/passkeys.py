# SPDX-License-Identifier: AGPL-3.0-or-later
"""Passkeys (WebAuthn level 2): signing in by the lock of one's own device (C1, D4).

Discoverable credentials, so that nobody types a name; the device must have verified its user. What a
ceremony needs is sealed in its name, which is good for some minutes and for one good answer.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, func, insert, select, update

from gateway.administration.tables import console_passkey as passkeys
from gateway.administration.tables import console_person as people
from gateway.console.people import Transactions
from gateway.console.sealing import Sealing
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.errors import RequestRefused
from tmtp_core.ids import RandomBytes

if TYPE_CHECKING:  # with cryptography, which it needs, it takes 9 MB: loaded when somebody uses a passkey
    from fido2.server import Fido2Server
    from fido2.webauthn import AttestedCredentialData, AuthenticationResponse

_TO_REGISTER = "to register a passkey"
_TO_SIGN_IN = "to sign in with a passkey"
_TOO_MANY = "you have as many passkeys as one can have; remove one first"


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey as its person sees it."""

    number: int
    name: str
    created_ms: int
    used_ms: int | None


class PasskeyCopied(RequestRefused):
    """Somebody else has this person's passkey, too."""

    def __init__(self, text: str, person: str) -> None:
        super().__init__(text)
        self.person = person


class Passkeys:
    """The passkeys of everybody. `origin` is always that of the page: scheme, name and port."""

    def __init__(self, database: Transactions, clock: Clock, random_bytes: RandomBytes) -> None:
        self._database = database
        self._clock = clock
        self._random_bytes = random_bytes
        self._sealing = Sealing(clock, random_bytes)

    async def begin_registering(self, person: str, origin: str) -> dict[str, Any]:
        """What the browser's `create` wants, with the name of this ceremony."""
        from fido2 import webauthn as w  # noqa: PLC0415 - see above

        def work(connection: Connection) -> tuple[bytes, list[w.AttestedCredentialData]]:
            handle = connection.execute(select(people.c.handle).where(people.c.person == person)).scalar_one()
            mine = select(passkeys.c.credential).where(passkeys.c.person == person)
            return handle, [w.AttestedCredentialData(one) for one in connection.execute(mine).scalars()]

        handle, known = await self._database.run(work)
        if len(known) >= limits.CONSOLE_PASSKEYS_PER_PERSON_MAX:
            raise RequestRefused(_TOO_MANY)
        options, state = _server(origin).register_begin(
            w.PublicKeyCredentialUserEntity(name=person, id=handle, display_name=person),
            known,
            resident_key_requirement=w.ResidentKeyRequirement.REQUIRED,
            user_verification=w.UserVerificationRequirement.REQUIRED,
            challenge=self._random_bytes(limits.CONSOLE_SECRET_BYTES),
        )
        ceremony = self._sealing.seal(_TO_REGISTER, {"state": state, "person": person, "origin": origin})
        return {"ceremony": ceremony, "publicKey": dict(options.public_key)}

    async def register(self, person: str, ceremony: str, response: Mapping[str, Any], name: str) -> None:
        """Keep a new passkey. `RequestRefused`: the answer is not good."""
        begun = self._sealing.spend(_TO_REGISTER, ceremony)
        if begun["person"] != person:
            raise RequestRefused("this was begun by somebody else; try again")
        try:
            made = _server(begun["origin"]).register_complete(begun["state"], response)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RequestRefused("the browser's answer is not good; try again") from None
        assert made.credential_data is not None
        values = {
            "person": person,
            "site": _site(begun["origin"]),
            "credential_id": made.credential_data.credential_id,
            "credential": bytes(made.credential_data),
            "uses": made.counter,
            "name": name,
            "created_ms": self._now_ms(),
        }

        def work(connection: Connection) -> bool:
            known = select(func.count()).where(passkeys.c.credential_id == values["credential_id"])
            if connection.execute(known).scalar_one():
                return False
            mine = select(func.count()).where(passkeys.c.person == person)
            if connection.execute(mine).scalar_one() >= limits.CONSOLE_PASSKEYS_PER_PERSON_MAX:
                raise RequestRefused(_TOO_MANY)  # several ceremonies may have begun before the last one was there
            connection.execute(insert(passkeys).values(**values))
            return True

        if not await self._database.run(work):
            raise RequestRefused("this passkey is known already")

    def begin_signing_in(self, origin: str) -> dict[str, Any]:
        """What the browser's `get` wants, with the name of this ceremony. Nothing is kept here for whoever asks."""
        from fido2.webauthn import UserVerificationRequirement  # noqa: PLC0415 - see above

        options, state = _server(origin).authenticate_begin(
            user_verification=UserVerificationRequirement.REQUIRED,
            challenge=self._random_bytes(limits.CONSOLE_SECRET_BYTES),
        )
        ceremony = self._sealing.seal(_TO_SIGN_IN, {"state": state, "origin": origin})
        return {"ceremony": ceremony, "publicKey": dict(options.public_key)}

    async def sign_in(self, ceremony: str, response: Mapping[str, Any]) -> str:
        """Whose passkey answered. `RequestRefused`: none that is known, or not well."""
        from fido2.webauthn import AuthenticationResponse  # noqa: PLC0415 - see above

        begun = self._sealing.opened(_TO_SIGN_IN, ceremony)
        origin = begun["origin"]
        try:
            answer = AuthenticationResponse.from_dict(response)
            person, known = await self._database.run(lambda connection: self._known(connection, answer, origin))
            _server(origin).authenticate_complete(begun["state"], [known], answer)
            counter = answer.response.authenticator_data.counter
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RequestRefused("this passkey is not known here, or its answer is not good") from None
        self._sealing.spend(_TO_SIGN_IN, ceremony)  # by a good answer only: strangers fill nothing with what is spent
        await self._database.run(lambda connection: self._used(connection, person, known, counter))
        return person

    def _known(
        self, connection: Connection, answer: "AuthenticationResponse", origin: str
    ) -> tuple[str, "AttestedCredentialData"]:
        """The passkey that answers, and its person, who is also the one whom the authenticator names."""
        from fido2.webauthn import AttestedCredentialData  # noqa: PLC0415 - see above

        wanted = (
            select(passkeys.c.person, passkeys.c.credential, people.c.handle)
            .join(people, people.c.person == passkeys.c.person)
            .where(passkeys.c.credential_id == answer.raw_id, passkeys.c.site == _site(origin))
        )
        row = connection.execute(wanted).first()
        if row is None or answer.response.user_handle != row.handle:
            raise ValueError
        return row.person, AttestedCredentialData(row.credential)

    def _used(self, connection: Connection, person: str, known: "AttestedCredentialData", counter: int) -> None:
        """Note the use. A counter that does not rise is that of a copy (WebAuthn §6.1.1)."""
        mine = passkeys.c.credential_id == known.credential_id
        before = connection.execute(select(passkeys.c.uses).where(mine)).scalar_one()
        if counter <= before and (counter or before):
            raise PasskeyCopied("this passkey has been copied: remove it, and look at who signed in", person)
        connection.execute(update(passkeys).where(mine).values(uses=counter, used_ms=self._now_ms()))

    # -- looking after them ------------------------------------------------------------------------------------------
    async def of(self, person: str) -> list[Passkey]:
        """The passkeys of a person, oldest first."""

        def work(connection: Connection) -> list[Passkey]:
            rows = connection.execute(select(passkeys).where(passkeys.c.person == person).order_by(passkeys.c.number))
            return [Passkey(one.number, one.name, one.created_ms, one.used_ms) for one in rows]

        return await self._database.run(work)

    async def rename(self, person: str, number: int, name: str) -> None:
        """Another name for a passkey of a person."""
        mine = update(passkeys).where(passkeys.c.person == person, passkeys.c.number == number)
        await self._database.run(lambda connection: connection.execute(mine.values(name=name)))

    async def remove(self, person: str, number: int) -> None:
        """A passkey of a person signs nobody in any more."""
        mine = delete(passkeys).where(passkeys.c.person == person, passkeys.c.number == number)
        await self._database.run(lambda connection: connection.execute(mine))

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000


def passkeys_possible(origin: str) -> bool:
    """Whether browsers give passkeys to a site: it needs a name; a number is none (WebAuthn §5.1.2)."""
    try:
        ipaddress.ip_address(_site(origin))
    except ValueError:
        return True
    return False


def _site(origin: str) -> str:
    """The name of a site, without scheme and port."""
    return urlsplit(origin).hostname or ""


def _server(origin: str) -> "Fido2Server":
    from fido2 import webauthn as w  # noqa: PLC0415 - see above
    from fido2.server import Fido2Server  # noqa: PLC0415

    site = _site(origin)
    return Fido2Server(
        w.PublicKeyCredentialRpEntity(name="TMTP Gateway", id=site),
        w.AttestationConveyancePreference.NONE,
        verify_origin=lambda claimed: claimed == origin,
    )
