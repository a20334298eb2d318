# SPDX-License-Identifier: AGPL-3.0-or-later
"""The SMTP intakes of a settings file, opened beside the instances that they bring mail to (C2).

Loaded where there is one: with what it stands on it takes some megabytes.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path

import structlog

from bridges.smtp.intake import SmtpIntake
from bridges.smtp.proof.author import canonical_address
from bridges.smtp.proof.prover import Trust
from bridges.smtp.proof.verdict import Claim
from bridges.smtp.rules import Door, IntakeLimits, IntakeSettings, Networks, RelaySettings, Route, SenderRule
from gateway.certificates import ensure_self_signed, pin_hash
from gateway.files import write_private
from gateway.instance import RunningInstance, StartFailed
from gateway.listeners.tcp import TcpListener
from gateway.settings import SmtpBridge
from gateway.settings.models import Sender, Smarthost, SmtpListen
from tmtp_client.connection import AccountKeys, DeviceKeys, Endpoint, KeyLogin
from tmtp_core.clock import Clock
from tmtp_core.crypto.signing import SEED_BYTES
from tmtp_core.domain.device_log import Signed
from tmtp_core.ids import RandomBytes
from tmtp_core.store.folders import make_folder

log = structlog.get_logger()

_UNIX = "unix"


async def opened_intake(
    bridge: SmtpBridge, instance: RunningInstance, data_dir: Path, clock: Clock, random_bytes: RandomBytes
) -> SmtpIntake:
    """A bridge that listens, with its account on its instance.

    Raises `StartFailed`, or `RequestRefused` where the instance does not let it in.
    """
    login = await _account(bridge, instance, data_dir / "bridges" / f"{bridge.name}.key", random_bytes)
    host, port = next(
        listener.address for listener in instance.listeners if isinstance(listener, TcpListener) and listener.tls
    )
    folder = data_dir / "bridges" / bridge.name
    certificate = await asyncio.to_thread(_certificate, bridge, folder)
    own_name = await asyncio.to_thread(socket.getfqdn)  # it may ask the network
    intake = SmtpIntake(
        IntakeSettings(
            name=bridge.name,
            doors=tuple(_door(one) for one in bridge.listen),
            hostname=own_name if bridge.hostname is None else bridge.hostname,
            senders=tuple(_sender_rule(one) for one in bridge.senders),
            routes=tuple(
                Route(one.recipient, one.active_attachments == "allow", one.original == "attach", one.to, one.reply)
                for one in bridge.routes
            ),
            endpoint=Endpoint(_dialable(host), port, instance.spki_pin),
            login=login,
            spool=folder / "spool",
            database=folder / "bridge.sqlite3",
            certificate=certificate,
            trust=Trust(frozenset(sealer.lower() for sealer in bridge.arc_sealers), bridge.upstream.authserv_id or ""),
            upstream=_networks(bridge.upstream.addresses),
            proxies=_networks(bridge.proxies),
            nameservers=tuple((one.host, one.port) for one in bridge.nameservers),
            invitation_url=bridge.invitation_url,
            tell=bridge.tell,
            smarthost=_relay(bridge.smarthost, own_name if bridge.hostname is None else bridge.hostname),
            limits=IntakeLimits(**bridge.limits.model_dump()),
        ),
        clock,
        random_bytes,
    )
    try:
        await intake.start()
    except OSError as error:
        raise StartFailed(
            f"bridge {bridge.name} cannot listen: {error.strerror or error}; choose another address or certificate"
        ) from None
    instance.pin_changed.append(lambda pin: intake.follow(Endpoint(_dialable(host), port, pin)))
    for opened, address in intake.addresses:
        log.info("listening", bridge=bridge.name, address=address, lmtp=opened.lmtp, tls=opened.tls)
    return intake


async def _account(bridge: SmtpBridge, instance: RunningInstance, path: Path, random_bytes: RandomBytes) -> KeyLogin:
    """The bridge's account on its instance, with the role and the routes that the file gives it (C2).

    The bridge holds the key of its only device. The recovery key is forgotten at once: who runs the service
    can let a bridge begin anew, which happens here when its key file is gone. Raises `RequestRefused` where the
    service does not let it in: it was barred.
    """
    keys = _keys(path, random_bytes)
    entry, sigs = keys.genesis(instance.service.identity.public_key)
    routes = {route.recipient: route.to for route in bridge.routes}
    uid = await instance.service.ensure_bridge(bridge.name, routes, Signed(entry, sigs), replies=True)
    return KeyLogin(uid, keys.device.signer, instance.service.identity.public)


def _keys(path: Path, random_bytes: RandomBytes) -> AccountKeys:
    """The keys of a bridge's device, made at its first start."""
    make_folder(path.parent)
    if not path.exists():
        write_private(path, random_bytes(2 * SEED_BYTES))
    kept = path.read_bytes()
    if len(kept) != 2 * SEED_BYTES:
        raise StartFailed(f"{path} must hold {2 * SEED_BYTES} bytes, not {len(kept)}: remove it, or restore it")
    return AccountKeys(DeviceKeys(kept[:SEED_BYTES], kept[SEED_BYTES:]), random_bytes(SEED_BYTES))


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


def _dialable(host: str) -> str:
    """Where a listener on this machine answers."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
