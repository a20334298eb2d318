# SPDX-License-Identifier: AGPL-3.0-or-later
"""The SMTP intakes of a settings file, opened beside the instances that they bring mail to (C2).

Loaded where there is one: with what it stands on it takes some megabytes.
"""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path

import structlog
from msgspec.structs import replace

from bridges.smtp.intake import SmtpIntake
from bridges.smtp.proof.author import canonical_address
from bridges.smtp.proof.prover import Trust
from bridges.smtp.proof.verdict import Claim
from bridges.smtp.rules import Door, IntakeLimits, IntakeSettings, Networks, Route, SenderRule
from gateway.bridge_folder import BridgeFolder, ServicePlace
from gateway.certificates import ensure_self_signed, pin_hash
from gateway.instance import RunningInstance, StartFailed
from gateway.listeners.tcp import TcpListener
from gateway.settings import SmtpBridge
from gateway.settings.models import Sender, SmtpListen
from tmtp_client.connection import AccountKeys, DeviceKeys, Endpoint, KeyLogin
from tmtp_core.clock import Clock
from tmtp_core.crypto.signing import SEED_BYTES
from tmtp_core.domain.device_log import Signed
from tmtp_core.ids import RandomBytes
from tmtp_core.store.folders import make_folder

log = structlog.get_logger()

_UNIX = "unix"


async def opened_intake(
    bridge: SmtpBridge, instance: RunningInstance, folder: BridgeFolder, clock: Clock, random_bytes: RandomBytes
) -> SmtpIntake:
    """A bridge that listens in this process, with its account on its instance.

    Raises `StartFailed`, or `RequestRefused` where the instance does not let it in.
    """
    place, keys = await _provided(bridge, instance, folder, random_bytes)
    intake = await started_intake(bridge, folder, place, keys, clock, random_bytes)
    instance.pin_changed.append(lambda pin: intake.follow(endpoint_of(replace(place, pin=pin))))
    return intake


async def provided_folder(
    bridge: SmtpBridge, instance: RunningInstance, folder: BridgeFolder, random_bytes: RandomBytes
) -> None:
    """The folder of a bridge that is a process of its own: with its key, and where its service is, also later on.

    Raises as `opened_intake` does.
    """
    place, _ = await _provided(bridge, instance, folder, random_bytes)
    folder.tell_service(place)
    instance.pin_changed.append(lambda pin: folder.tell_service(replace(place, pin=pin)))


async def started_intake(
    bridge: SmtpBridge,
    folder: BridgeFolder,
    place: ServicePlace,
    keys: DeviceKeys,
    clock: Clock,
    random_bytes: RandomBytes,
) -> SmtpIntake:
    """A bridge that listens, whether its service is there or not. Raises `StartFailed`."""
    certificate = await asyncio.to_thread(_certificate, bridge, folder.path)
    own_name = await asyncio.to_thread(socket.getfqdn)  # it may ask the network
    intake = SmtpIntake(
        IntakeSettings(
            name=bridge.name,
            doors=tuple(_door(one) for one in bridge.listen),
            hostname=own_name if bridge.hostname is None else bridge.hostname,
            senders=tuple(_sender_rule(one) for one in bridge.senders),
            routes=tuple(
                Route(one.recipient, one.active_attachments == "allow", one.original == "attach")
                for one in bridge.routes
            ),
            endpoint=endpoint_of(place),
            login=KeyLogin(place.uid, keys.signer, place.service_key),
            spool=folder.spool,
            database=folder.database,
            certificate=certificate,
            trust=Trust(frozenset(sealer.lower() for sealer in bridge.arc_sealers), bridge.upstream.authserv_id or ""),
            upstream=_networks(bridge.upstream.addresses),
            proxies=_networks(bridge.proxies),
            nameservers=tuple((one.host, one.port) for one in bridge.nameservers),
            limits=IntakeLimits(**bridge.limits.model_dump()),
        ),
        clock,
        random_bytes,
    )
    try:
        await intake.start()
    except OSError as error:
        mend = "" if error.errno == errno.EBUSY else "; choose another address or certificate"
        raise StartFailed(f"bridge {bridge.name} cannot listen: {error.strerror or error}{mend}") from None
    for opened, address in intake.addresses:
        log.info("listening", bridge=bridge.name, address=address, lmtp=opened.lmtp, tls=opened.tls)
    return intake


def endpoint_of(place: ServicePlace) -> Endpoint:
    """The service, as a connection needs it."""
    return Endpoint(place.host, place.port, place.pin)


async def _provided(
    bridge: SmtpBridge, instance: RunningInstance, folder: BridgeFolder, random_bytes: RandomBytes
) -> tuple[ServicePlace, DeviceKeys]:
    """The bridge's account on its instance, with the role and the routes that the file gives it (C2).

    The bridge holds the key of its only device. The recovery key is forgotten at once: who runs the service
    can let a bridge begin anew, which happens here when its key file is gone. Raises `RequestRefused` where the
    service does not let it in: it was barred.
    """
    keys = await asyncio.to_thread(folder.made_keys, random_bytes)
    account = AccountKeys(keys, random_bytes(SEED_BYTES))
    entry, sigs = account.genesis(instance.service.identity.public_key)
    routes = {route.recipient: route.to for route in bridge.routes}
    uid = await instance.service.ensure_bridge(bridge.name, routes, Signed(entry, sigs))
    host, port = next(
        listener.address for listener in instance.listeners if isinstance(listener, TcpListener) and listener.tls
    )
    return ServicePlace(_dialable(host), port, instance.spki_pin, uid, instance.service.identity.public), keys


def _door(listen: SmtpListen) -> Door:
    """One entry of `listen`, which names exactly one address."""
    if listen.lmtp is not None and listen.lmtp.tcp is None:
        return Door(path=listen.lmtp.path, lmtp=True)
    address = listen.smtp or listen.smtps or (listen.lmtp.tcp if listen.lmtp is not None else None)
    assert address is not None
    return Door(address.host, address.port, lmtp=listen.lmtp is not None, tls=listen.smtps is not None)


def _sender_rule(sender: Sender) -> SenderRule:
    """One approved sender."""
    proofs = sender.proof
    claims = [Claim("dkim", proof.dkim.lower()) for proof in proofs if proof.dkim is not None]
    claims += [Claim("spf") for proof in proofs if proof.spf is not None]
    return SenderRule(
        address=canonical_address(sender.address or ""),
        domain=(sender.domain or "").lower(),
        networks=tuple(ipaddress.ip_network(proof.network) for proof in proofs if proof.network is not None),
        keys=tuple(pin_hash(proof.client_certificate) for proof in proofs if proof.client_certificate is not None),
        claims=tuple(claims),
    )


def _networks(addresses: Iterable[str]) -> Networks:
    """Addresses of peers, and perhaps those on a Unix socket."""
    listed = list(addresses)
    return Networks(tuple(ipaddress.ip_network(one) for one in listed if one != _UNIX), unix=_UNIX in listed)


def _certificate(bridge: SmtpBridge, folder: Path) -> tuple[Path, Path]:
    """The PEM files of certificate and key: those of the file, or self-signed ones, made at first start."""
    if bridge.tls.certificate is not None and bridge.tls.key is not None:
        return bridge.tls.certificate, bridge.tls.key
    make_folder(folder)
    try:
        return ensure_self_signed(folder, bridge.hostname or bridge.name)
    except ValueError:
        raise StartFailed(f"{folder / 'tls.key'} is no key, and tls.crt is missing: remove the key") from None


def _dialable(host: str) -> str:
    """Where a listener on this machine answers."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
