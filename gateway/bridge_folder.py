# SPDX-License-Identifier: AGPL-3.0-or-later
"""A bridge's folder: everything that it has, so that it can be a process of its own, here or on another machine (C2).

`device.key`: the two seeds of its only device. `service.json`: where its service is, how to know it, and which account
is the bridge's; the gateway writes it. The rest is the intake's: its database, mail that is held or spooled, its
certificate, its control socket.
"""

from pathlib import Path
from typing import Annotated, Final

import msgspec

from gateway.files import write_private
from gateway.instance import StartFailed
from tmtp_client.connection import DeviceKeys
from tmtp_core.crypto.signing import SEED_BYTES
from tmtp_core.ids import RandomBytes
from tmtp_core.store.folders import make_folder, sync_folder

DATABASE: Final = "bridge.sqlite3"
_KEY: Final = "device.key"
_KEY_BYTES: Final = 2 * SEED_BYTES
_OTHERS: Final = 0o077
_SERVICE: Final = "service.json"
_SERVICE_MAX_BYTES: Final = 64 << 10


class ServicePlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A service, as its bridge finds it: address, pin of its certificate, the bridge's account, the service's key."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    pin: Annotated[str, msgspec.Meta(pattern="^sha256:[A-Za-z0-9_-]{43}$")]
    uid: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    service_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class BridgeFolder:
    """One. All methods read or write the disk, and raise `StartFailed` for what a person can mend."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / DATABASE
        self.spool = path / "spool"

    @classmethod
    def of(cls, data_dir: Path, name: str) -> "BridgeFolder":
        """Where the gateway keeps the folder of this bridge."""
        return cls(data_dir / "bridges" / name)

    def made_keys(self, random_bytes: RandomBytes) -> DeviceKeys:
        """The device's keys, made at the first start of the bridge."""
        make_folder(self.path)
        key = self.path / _KEY
        before = self.path.with_name(f"{self.path.name}.key")  # where it was before a bridge had a folder
        if not key.exists() and before.exists():
            before.rename(key)
            sync_folder(self.path)
            sync_folder(before.parent)
        if not key.exists():
            write_private(key, random_bytes(_KEY_BYTES))
        return self.keys()

    def keys(self) -> DeviceKeys:
        """The device's keys."""
        key = self.path / _KEY
        try:
            kept, mode = key.read_bytes(), key.stat().st_mode
        except OSError as error:
            raise StartFailed(f"{key} cannot be read: {error.strerror}; {self._where_from()}") from None
        if mode & _OTHERS:  # it was copied here by hand
            raise StartFailed(f"others on this machine may read {key}, which is the bridge: chmod 600 {key}")
        if len(kept) != _KEY_BYTES:
            raise StartFailed(f"{key} must hold {_KEY_BYTES} bytes, not {len(kept)}: remove it, or restore it")
        return DeviceKeys(kept[:SEED_BYTES], kept[SEED_BYTES:])

    def tell_service(self, place: ServicePlace) -> None:
        """Say where the service is: whole and on the disk, or not at all."""
        text = msgspec.json.format(msgspec.json.encode(place), indent=2) + b"\n"
        path = self.path / _SERVICE
        if not path.exists() or path.read_bytes() != text:
            write_private(path, text)

    def service(self) -> ServicePlace:
        """Where the service is."""
        path = self.path / _SERVICE
        try:
            with path.open("rb") as file:
                return msgspec.json.decode(file.read(_SERVICE_MAX_BYTES), type=ServicePlace)
        except OSError as error:
            raise StartFailed(f"{path} cannot be read: {error.strerror}; {self._where_from()}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StartFailed(f"{path} is not as the gateway writes it: {error}; {self._where_from()}") from None

    def _where_from(self) -> str:
        return (
            "the gateway makes it at its start, where the settings have this bridge with `process: own`: start that "
            f"first; on another machine, copy {_KEY} and {_SERVICE} from there (docs/leaving-smtp.md)"
        )
