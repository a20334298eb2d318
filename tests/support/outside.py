# SPDX-License-Identifier: AGPL-3.0-or-later
"""A bridge as a test plays it: its keys, its routes, and what it is handed."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.devices import KeyDevice, fresh_id, genesis_of
from tests.support.instance import TestInstance
from tmtp_client.connection import AccountKeys
from tmtp_core.wire import messages as m


class Bridge(KeyDevice):
    """A bridge account's only device."""

    async def post(self, recipient: str, address: str = "", data: bytes = b"mail", **options: object) -> m.Acked:  # type: ignore[override]
        """Post to a route, for an address outside."""
        as_ = m.Outsider(address, "network") if address else None
        return await self.connection.post(fresh_id(), [m.Recipient(recipient, m.TO_UID)], data, as_=as_)


@asynccontextmanager
async def bridge(instance: TestInstance, routes: dict[str, str], *, replies: bool = False) -> AsyncIterator[Bridge]:
    """A bridge account with these routes, logged in."""
    keys = AccountKeys.new(os.urandom)
    uid = await instance.service.ensure_bridge("intake", routes, genesis_of(instance, keys), replies=replies)
    device = Bridge(instance, uid, keys.device.signer, keys.recovery)
    await device.log_in()
    try:
        yield device
    finally:
        await device.connection.close()
