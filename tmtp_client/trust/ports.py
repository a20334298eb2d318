# SPDX-License-Identifier: AGPL-3.0-or-later
"""What trust needs of others: a service to ask, a database to keep things in, and who this device is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sqlalchemy import Connection as Rows

from tmtp_client.connection import DeviceKeys
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

Got = TypeVar("Got")

NowMs = Callable[[], int]
"""The time in milliseconds since 1970."""


class Asker(Protocol):
    """Of whom the service's answers are asked: a connection."""

    async def ask(
        self,
        request: m.UserEdit
        | m.OhiEdit
        | m.GroupEdit
        | m2.LogAppend
        | m2.InviteEdit
        | m2.BlockEdit
        | m2.KeyEdit
        | m2.Report,
    ) -> m.Acked:
        """A request that an ack answers. Raises `Refused` or `Disconnected`."""

    async def inquire(
        self, request: m2.LogFetch | m2.InviteEdit | m2.Find | m2.ServiceInfo | m2.GroupInfo
    ) -> tuple[m2.LogPage | m2.Listing | m2.Skin, bytes]:
        """A request that is answered with data. Raises `Refused` or `Disconnected`."""


class Kept(Protocol):
    """An account's database."""

    async def write(self, work: Callable[[Rows], Got]) -> Got:
        """One change, whole or not at all; on the disk when this returns."""

    async def read(self, work: Callable[[Rows], Got]) -> Got:
        """What is on the disk now, the same for all that `work` asks."""


@dataclass(frozen=True, slots=True)
class Own:
    """Who this device is: its account, its keys, and the service's key, pinned when the account was made."""

    uid: str
    keys: DeviceKeys = field(repr=False)
    service_key: str

    @property
    def device(self) -> str:
        """This device's key: its name in the log."""
        return self.keys.signer.public
