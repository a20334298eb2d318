# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the settings of an instance to what the core and the listeners know of them (C4)."""

import ipaddress

from gateway.backup.keys import parse_public
from gateway.instance import JournalPlace, ListenOn
from gateway.settings import BackupSettings, Instance, Listen
from tmtp_core.domain.policy import Acquaintance, Policy, Quotas
from tmtp_core.domain.quotas import DAY_MS
from tmtp_core.domain.registering import RegistrationLimits
from tmtp_core.store.places import Bucket


def listen_on(listen: Listen) -> ListenOn:
    """One entry of `listen`, which names exactly one address."""
    address = listen.address
    return ListenOn(
        address.host,
        address.port,
        tls=listen.tls is not None or listen.wss is not None,
        websocket=listen.wss is not None or listen.ws is not None,
        origins=frozenset(origin.lower() for origin in listen.origins),
    )


def bucket_of(settings: Instance) -> Bucket | None:
    """Where the file says that an instance's large payloads are, if not in its folder."""
    if settings.payloads is None:
        return None
    s3 = settings.payloads.s3
    return Bucket(s3.endpoint, s3.bucket, s3.region, s3.prefix)


def registrations_of(settings: Instance) -> RegistrationLimits:
    """How fast an instance takes strangers."""
    chosen = settings.registrations
    networks = tuple(ipaddress.ip_network(network) for network in chosen.uncounted)
    return RegistrationLimits(chosen.per_address_per_hour, chosen.per_minute, networks)


def journal_of(settings: BackupSettings) -> JournalPlace | None:
    """Where what no backup may undo is kept, if the file says for whom."""
    if settings.recipient is None:
        return None
    return JournalPlace(settings.journal_folder, parse_public(settings.recipient))


def policy_of(settings: Instance) -> Policy:
    """The rules that the file gives an instance."""
    days = settings.delivery.return_after_days
    return Policy(
        members=settings.policy == "members",
        acquaintance=Acquaintance(settings.strictness),
        revision1=settings.revision1,
        owners_moderate=settings.groups.moderation == "owners",
        members_invite=settings.members_invite,
        directory=settings.has_directory,
        return_after_ms=days * DAY_MS if days else None,
        quotas=Quotas(**settings.quotas.model_dump()),
    )
