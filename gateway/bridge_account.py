# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a bridge has from its instance: an account, and where to find it; in its folder (C2). It loads no bridge."""

import asyncio

import structlog
from msgspec.structs import replace

from gateway.bridge_folder import BridgeFolder, ServicePlace
from gateway.instance import RunningInstance
from gateway.listeners.tcp import TcpListener
from gateway.settings import SmtpBridge
from tmtp_client.connection import AccountKeys, DeviceKeys
from tmtp_core.crypto.signing import SEED_BYTES
from tmtp_core.domain.device_log import Signed
from tmtp_core.ids import RandomBytes

log = structlog.get_logger()


async def provided_folder(
    bridge: SmtpBridge, instance: RunningInstance, folder: BridgeFolder, random_bytes: RandomBytes
) -> tuple[ServicePlace, DeviceKeys]:
    """The bridge's account on its instance, with the role and the routes that the file gives it (C2), and its folder,
    which says where its service is, also when that gets another certificate.

    The bridge holds the key of its only device. The recovery key is forgotten at once: who runs the service
    can let a bridge begin anew, which happens here when its key file is gone. Raises `RequestRefused` where the
    service does not let it in: it was barred.
    """
    keys = await asyncio.to_thread(folder.made_keys, random_bytes)
    account = AccountKeys(keys, random_bytes(SEED_BYTES))
    entry, sigs = account.genesis(instance.service.identity.public_key)
    routes = {route.recipient: route.to for route in bridge.routes}
    uid = await instance.service.ensure_bridge(bridge.name, routes, Signed(entry, sigs), replies=True)
    host, port = next(
        listener.address for listener in instance.listeners if isinstance(listener, TcpListener) and listener.tls
    )
    place = ServicePlace(_dialable(host), port, instance.spki_pin, uid, instance.service.identity.public)
    await asyncio.to_thread(folder.tell_service, place)
    instance.pin_changed.append(lambda pin: _tell(bridge.name, folder, replace(place, pin=pin)))
    return place, keys


def _tell(bridge: str, folder: BridgeFolder, place: ServicePlace) -> None:
    """Say where the service is; where the disk fails, nobody else may suffer for that: the instance's deadlines are
    looked at by who calls this.
    """
    try:
        folder.tell_service(place)
    except OSError as error:
        log.error(
            "bridge_not_told",
            bridge=bridge,
            error=str(error),
            mend="it cannot find the service by its new key: mend the disk, and start the gateway again",
        )


def _dialable(host: str) -> str:
    """Where a listener on this machine answers."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
