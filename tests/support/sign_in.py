# SPDX-License-Identifier: AGPL-3.0-or-later
"""People who register with what a provider says of them, in both revisions."""

import os
import re
from typing import Any
from urllib.parse import parse_qs

from tests.support.instance import TestInstance
from tmtp_client.connection import AccountKeys, Connection, Disconnected, Endpoint, Refused
from tmtp_core.crypto.sign_in import device_nonce
from tmtp_core.wire import messages as m

_UID = re.compile(r"[%+1-9B-DF-HJ-NP-TV-Z]{32}")
REFUSED = "authentication required"


def endpoint(instance: TestInstance) -> Endpoint:
    """Where it is."""
    return Endpoint(instance.host, instance.port, instance.spki_pin)


def new_keys() -> AccountKeys:
    """Of somebody who is to join."""
    return AccountKeys.new(os.urandom)


def nonce_of(instance: TestInstance, keys: AccountKeys) -> str:
    """Under which a device with these keys asks for its token."""
    return device_nonce(instance.service.identity.public_key, keys.device.signer.public)


async def greeting(instance: TestInstance, revision: str = "1") -> m.TmtpRevAnswer:
    """As a site probe gets it."""
    connection = await Connection.open(endpoint(instance), revision=revision)
    await connection.close()
    return connection.service.result()


async def nonce_for_revision_1(instance: TestInstance) -> str:
    """What the service gives a client that makes none."""
    (provider,) = (await greeting(instance)).authby
    return parse_qs(provider.login[1])["nonce"][0]


async def register(
    instance: TestInstance, oidc: dict[str, Any] | None, keys: AccountKeys | None = None, invite: str | None = None
) -> str:
    """Register, revision 2 where there are keys; the uid, or why not."""
    connection = await Connection.open(endpoint(instance), revision="2" if keys is not None else "1")
    try:
        if keys is not None:
            registered = await connection.register_keys("laptop", keys, "_", invite, oidc=oidc)
        else:
            registered = await connection.register("laptop", "_", invite, oidc)
    except (Disconnected, Refused) as refused:
        return str(refused)
    finally:
        await connection.close()
    return registered.uid


async def log_in(instance: TestInstance, uid: str, keys: AccountKeys, oidc: dict[str, Any] | None = None) -> str:
    """Log in; what the service says to it."""
    connection = await Connection.open(endpoint(instance), revision="2")
    try:
        return (await connection.login_by_key(uid, keys.device.signer, oidc=oidc)).info
    except Disconnected as refused:
        return str(refused)
    finally:
        await connection.quit()


def is_uid(text: str) -> bool:
    """Whether a registration succeeded."""
    return _UID.fullmatch(text) is not None
