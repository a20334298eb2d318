# SPDX-License-Identifier: AGPL-3.0-or-later
"""With what a device enters: a password (revision 1) or a key of its own (revision 2; B4, D4)."""

from dataclasses import dataclass, field
from typing import ClassVar

from nacl.public import PrivateKey

from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.log_records import Signature, genesis
from tmtp_core.crypto.signing import SEED_BYTES, Signer
from tmtp_core.ids import RandomBytes


@dataclass(frozen=True, slots=True)
class PasswordLogin:
    """A uid and the node secret that the service gave."""

    revision: ClassVar[str] = "1"
    uid: str
    node: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyLogin:
    """A uid, the device's key, and the service's key as it was when the account was made: a client never steps down."""

    revision: ClassVar[str] = "2"
    uid: str
    device: Signer
    service_key: str


Login = PasswordLogin | KeyLogin


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """The keys of one device of one account: the seed of its Ed25519 key, and its private X25519 key."""

    seed: bytes = field(repr=False)
    box_key: bytes = field(repr=False)

    @classmethod
    def new(cls, random_bytes: RandomBytes) -> "DeviceKeys":
        """Fresh ones: no two accounts share a key, so that organisations cannot link a person's accounts."""
        return cls(random_bytes(SEED_BYTES), random_bytes(SEED_BYTES))

    @property
    def signer(self) -> Signer:
        """The device's key; its public half is the device's name."""
        return Signer(self.seed)

    @property
    def box(self) -> str:
        """The public X25519 key of the device."""
        return to_text(bytes(PrivateKey(self.box_key).public_key))


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """The keys of a new account: its first device's, and the seed of the recovery key, which no device may keep."""

    device: DeviceKeys
    recovery_seed: bytes = field(repr=False)

    @classmethod
    def new(cls, random_bytes: RandomBytes) -> "AccountKeys":
        """Fresh ones."""
        return cls(DeviceKeys.new(random_bytes), random_bytes(SEED_BYTES))

    @property
    def recovery(self) -> Signer:
        """The recovery key."""
        return Signer(self.recovery_seed)

    def genesis(self, service_key: bytes) -> tuple[str, tuple[Signature, ...]]:
        """The first entry of the account's log at this service, signed by both."""
        return genesis(self.device.signer, self.recovery, self.device.box, service_key)
