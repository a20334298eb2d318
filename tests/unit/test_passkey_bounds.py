# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many passkeys a person has at most, however many ceremonies were begun before the last of them was there (C1)."""

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.webauthn import (
    Aaguid,
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorAttestationResponse,
    AuthenticatorData,
    CollectedClientData,
    RegistrationResponse,
)

from gateway.administration import AdministrationDatabase
from gateway.clock import SystemClock
from gateway.console.passkeys import Passkeys
from gateway.console.people import People
from tmtp_core import limits
from tmtp_core.errors import RequestRefused

ORIGIN = "https://console.example.org"


def made(options: Any) -> dict[str, Any]:
    """What an authenticator makes of a browser's `create`."""
    flags = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV | AuthenticatorData.FLAG.AT
    key = ES256.from_cryptography_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    credential = AttestedCredentialData.create(Aaguid.NONE, os.urandom(32), key)
    data = AuthenticatorData.create(sha256(b"console.example.org").digest(), flags, 0, credential)
    client = CollectedClientData.create("webauthn.create", options["challenge"], ORIGIN)
    answer = AuthenticatorAttestationResponse(
        client_data=client, attestation_object=AttestationObject.create("none", data, {})
    )
    return dict(RegistrationResponse(raw_id=credential.credential_id, response=answer))


async def test_ceremonies_that_were_begun_in_time_make_no_more_passkeys_than_one_can_have(tmp_path: Path) -> None:
    database = AdministrationDatabase(tmp_path)
    try:
        await People(database, SystemClock(), os.urandom).ensure("Ada", "owner")
        passkeys = Passkeys(database, SystemClock(), os.urandom)
        most = limits.CONSOLE_PASSKEYS_PER_PERSON_MAX
        begun = [await passkeys.begin_registering("Ada", ORIGIN) for _ in range(most + 1)]
        for one in begun[:most]:
            await passkeys.register("Ada", one["ceremony"], made(one["publicKey"]), "a key")
        with pytest.raises(RequestRefused, match="as many passkeys as one can have"):
            await passkeys.register("Ada", begun[most]["ceremony"], made(begun[most]["publicKey"]), "one more")
        assert len(await passkeys.of("Ada")) == most
    finally:
        await database.close()
