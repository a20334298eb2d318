# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who this device is at a service, and the keys of an account that is just being opened (B1, B4)."""

from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection as Rows
from sqlalchemy import delete, func, insert, select

from tmtp_client.connection import AccountKeys, DeviceKeys, KeyLogin, Login, PasswordLogin
from tmtp_client.store import tables as t

_NEXT: Final = " next"
"""Behind the service's key in `pending`: of a recovery key that replaces another."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this device is, and where its service is. `label`: what the person calls this device.

    `node` is its secret under revision 1. Under revision 2 it has `keys`, and knows the service by `service_key`.
    """

    uid: str
    node: str = field(repr=False)
    alias: str
    host: str
    port: int
    pin: str | None
    ca_file: str | None
    service: str
    keys: DeviceKeys | None = field(default=None, repr=False)
    service_key: str = ""
    label: str = ""

    @property
    def revision(self) -> int:
        """Which it speaks for ever: nobody steps it down."""
        return 1 if self.keys is None else 2

    @property
    def login(self) -> Login:
        """With what this device enters."""
        if self.keys is None:
            return PasswordLogin(self.uid, self.node)
        return KeyLogin(self.uid, self.keys.signer, self.service_key)


def get(c: Rows) -> Identity | None:
    """Who this device is, or None before it joined."""
    row = c.execute(select(t.identity)).one_or_none()
    if row is None:
        return None
    keys = DeviceKeys(row.seed, row.box_key) if row.seed is not None else None
    return Identity(
        uid=row.uid,
        node=row.node,
        alias=row.alias,
        host=row.host,
        port=row.port,
        pin=row.pin,
        ca_file=row.ca_file,
        service=row.service,
        keys=keys,
        service_key=row.service_key,
        label=row.label,
    )


def put(c: Rows, identity: Identity) -> None:
    """Remember who this device is, in place of who it was."""
    plain = {
        name: getattr(identity, name)
        for name in ("uid", "node", "alias", "host", "port", "pin", "ca_file", "service", "service_key", "label")
    }
    keys = identity.keys
    c.execute(delete(t.identity))
    c.execute(
        insert(t.identity).values(
            **plain, seed=keys.seed if keys is not None else None, box_key=keys.box_key if keys is not None else None
        )
    )


def pending(c: Rows, service_key: str) -> AccountKeys | None:
    """The keys of an account at this service that was being opened when something cut it off.

    Without a recovery seed: that was being come back to, or linked.
    """
    row = c.execute(select(t.pending).where(t.pending.c.service_key == service_key)).one_or_none()
    return None if row is None else AccountKeys(DeviceKeys(row.seed, row.box_key), row.recovery_seed)


def put_pending(c: Rows, service_key: str, keys: AccountKeys) -> None:
    """Keep the keys of an account until `forget_pending`."""
    c.execute(delete(t.pending).where(t.pending.c.service_key == service_key))
    own = {"seed": keys.device.seed, "box_key": keys.device.box_key}
    c.execute(insert(t.pending).values(service_key=service_key, recovery_seed=keys.recovery_seed, **own))


def next_recovery(c: Rows, service_key: str) -> bytes:
    """The seed of a recovery key that is to replace the account's, or has, and that its person was not told yet."""
    kept = pending(c, service_key + _NEXT)
    return kept.recovery_seed if kept is not None else b""


def put_next_recovery(c: Rows, service_key: str, device: DeviceKeys, seed: bytes) -> None:
    """Keep it until `forget_pending`: before the service hears of it, since nobody else has it."""
    put_pending(c, service_key + _NEXT, AccountKeys(device, seed))


def forget_pending(c: Rows) -> None:
    """Nothing is pending any more."""
    c.execute(delete(t.pending))


def is_pending(c: Rows) -> bool:
    """Whether an account is being opened, linked or come back to, at whichever service."""
    return bool(c.scalar(select(func.count()).select_from(t.pending)))
