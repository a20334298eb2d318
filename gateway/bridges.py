# SPDX-License-Identifier: AGPL-3.0-or-later
"""The SMTP intakes of a settings file, opened beside the instances that they bring mail to (C2).

Loaded where there is one: with what it stands on it takes some megabytes.
"""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from msgspec.structs import replace

from bridges.smtp.control.models import Proof, VetSender
from bridges.smtp.intake import SmtpIntake
from bridges.smtp.peers import Networks
from bridges.smtp.proof.prover import Trust
from bridges.smtp.settings import (
    Door,
    HoldBounds,
    IntakeLimits,
    IntakeSettings,
    LifeCycle,
    RelaySettings,
    Route,
    SpoolBounds,
)
from gateway.bridge_account import provided_folder
from gateway.bridge_folder import BridgeFolder, ServicePlace
from gateway.certificates import ensure_self_signed
from gateway.instance import RunningInstance, StartFailed
from gateway.settings import SmtpBridge
from gateway.settings.models import Route as RouteSettings
from gateway.settings.models import Sender, Smarthost, SmtpListen
from tmtp_client.connection import DeviceKeys, Endpoint, KeyLogin
from tmtp_core.clock import Clock
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
    place, keys = await provided_folder(bridge, instance, folder, random_bytes)
    intake = await started_intake(bridge, folder, place, keys, clock, random_bytes)
    instance.pin_changed.append(lambda pin: intake.follow(endpoint_of(replace(place, pin=pin))))
    return intake


async def started_intake(
    bridge: SmtpBridge,
    folder: BridgeFolder,
    place: ServicePlace,
    keys: DeviceKeys,
    clock: Clock,
    random_bytes: RandomBytes,
    *,
    listening: bool = True,
) -> SmtpIntake:
    """A bridge that listens, whether its service is there or not. Raises `StartFailed`.

    `listening` False: it is there to be administered only, and takes no mail.
    """
    certificate = await asyncio.to_thread(_certificate, bridge, folder.path)
    own_name = await asyncio.to_thread(socket.getfqdn)  # it may ask the network
    hostname = own_name if bridge.hostname is None else bridge.hostname
    intake = SmtpIntake(
        IntakeSettings(
            name=bridge.name,
            doors=tuple(_door(one) for one in bridge.listen),
            hostname=hostname,
            senders=tuple(vetted(one) for one in bridge.senders),
            routes=tuple(_route(one) for one in bridge.routes),
            endpoint=endpoint_of(place),
            login=KeyLogin(place.uid, keys.signer, place.service_key),
            spool=folder.spool,
            database=folder.database,
            certificate=certificate,
            trust=Trust(frozenset(sealer.lower() for sealer in bridge.arc_sealers), bridge.upstream.authserv_id or ""),
            upstream=_networks(bridge.upstream.addresses),
            proxies=_networks(bridge.proxies),
            nameservers=tuple((one.host, one.port) for one in bridge.nameservers),
            invitation_url=bridge.invitation_url,
            tell=bridge.tell,
            smarthost=_relay(bridge.smarthost, hostname),
            limits=IntakeLimits(**bridge.limits.model_dump()),
            hold=HoldBounds(**bridge.hold.model_dump()),
            waiting=SpoolBounds(**bridge.spool.model_dump()),
            life_cycle=LifeCycle(**bridge.life_cycle.model_dump()),
            decisions_kept_days=bridge.decisions_kept_days,
        ),
        clock,
        random_bytes,
    )
    try:
        await intake.start(listening=listening)
    except OSError as error:
        mend = "" if error.errno == errno.EBUSY else "; choose another address or certificate"
        raise StartFailed(f"bridge {bridge.name} cannot listen: {error.strerror or error}{mend}") from None
    for opened, address in intake.addresses:
        log.info("listening", bridge=bridge.name, address=address, lmtp=opened.lmtp, tls=opened.tls)
    return intake


def endpoint_of(place: ServicePlace) -> Endpoint:
    """The service, as a connection needs it."""
    return Endpoint(place.host, place.port, place.pin)


def _door(listen: SmtpListen) -> Door:
    """One entry of `listen`, which names exactly one address."""
    if listen.lmtp is not None and listen.lmtp.tcp is None:
        return Door(path=listen.lmtp.path, lmtp=True)
    address = listen.smtp or listen.smtps or (listen.lmtp.tcp if listen.lmtp is not None else None)
    assert address is not None
    return Door(address.host, address.port, lmtp=listen.lmtp is not None, tls=listen.smtps is not None)


def vetted(sender: Sender) -> VetSender:
    """One approved sender of the file. The day on which it counts no more begins at midnight, UTC."""
    expires = sender.expires
    return VetSender(
        proof=[Proof(**proof.model_dump()) for proof in sender.proof],
        address=sender.address,
        domain=sender.domain,
        owner=sender.owner,
        reason=sender.reason,
        expires_ms=None
        if expires is None
        else int(datetime(expires.year, expires.month, expires.day, tzinfo=UTC).timestamp()) * 1_000,
        routes=sender.routes,
        quota_per_day=sender.quota_per_day,
    )


def _route(route: RouteSettings) -> Route:
    return Route(
        route.recipient,
        route.active_attachments == "allow",
        route.original == "attach",
        route.to,
        route.reply,
        hold_unknown=route.unknown == "hold",
    )


def _relay(smarthost: Smarthost | None, hostname: str) -> RelaySettings | None:
    """The organisation's own relay, which knows this side as `hostname`."""
    if smarthost is None:
        return None
    return RelaySettings(
        smarthost.host,
        smarthost.port,
        hostname,
        smarthost.tls == "implicit",
        smarthost.ca,
        smarthost.user,
        smarthost.password,
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
