# SPDX-License-Identifier: AGPL-3.0-or-later
"""What opens this device's history (B8): a home key in slots, and under it one key an account.

    home/vault.json            slots: each holds the home key under another secret
    home/device.key            the secret of the slot "device", mode 0600
    home/accounts/NAME/key     the account's key, under the home key

To leave a service is to destroy one `key`: what stays of its files is noise. A passphrase, changed, rewrites its slot.
The slot "device" is there while nobody gave a passphrase and no keyring is used: then whoever has the disk has the
history, and `protected` says so. The system's keyring is never the only slot: it goes with the system.
"""

import contextlib
import functools
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import msgspec
from msgspec import Struct

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.vault.disk import destroy, make_folder, write_durably
from tmtp_client.vault.files import Files
from tmtp_client.vault.keyrings import Keyring, KeyringUnusable
from tmtp_client.vault.recovery import WORDS, seed_of
from tmtp_client.vault.slots import (
    KEY_BYTES,
    Kind,
    Slot,
    SlotUnfit,
    is_sealed,
    new_slot,
    opened,
    passphrase_bytes,
    seal,
    unseal,
)
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.signing import SEED_BYTES
from tmtp_core.ids import RandomBytes

VERSION: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ID_BYTES: Final = 12

NowMs = Callable[[], int]
"""The time in milliseconds since 1970."""

P = ParamSpec("P")
Got = TypeVar("Got")


class WrongSecret(Exception):
    """This opens nothing; the text says what would."""


class Locked(Exception):
    """The vault has to be opened first."""


class VaultDamaged(Exception):
    """A file of the vault cannot be used; the text says which, and what would mend it."""


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    """`vault.json`. `id` names this home in the system's keyring."""

    version: int
    id: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class AccountVault:
    """An account's folder, the key of its database (32 bytes), and its files."""

    folder: Path
    database_key: bytes = field(repr=False)
    files: Files = field(repr=False)


def _alone(
    method: "Callable[Concatenate[Vault, P], Got]",
) -> "Callable[Concatenate[Vault, P], Got]":
    """One thread at a time."""

    @functools.wraps(method)
    def guarded(self: "Vault", /, *args: P.args, **kwargs: P.kwargs) -> Got:
        with self._guard:
            return method(self, *args, **kwargs)

    return guarded


class Vault:
    """The vault of one home, of which one process at a time runs the accounts. Calls block: Argon2id takes its time.

    All methods raise `OSError` when the disk does not do its part; the constructor `VaultDamaged`.
    """

    def __init__(self, home: Path, random_bytes: RandomBytes, keyring: Keyring | None, now_ms: NowMs) -> None:
        self.home = home
        self._random_bytes = random_bytes
        self._keyring = keyring
        self._now_ms = now_ms
        self._guard = threading.RLock()
        self._key: bytearray | None = None
        self._file = _read(home / "vault.json")

    # -- how it stands -----------------------------------------------------------------------------------------------
    @property
    def is_made(self) -> bool:
        """Whether there is one."""
        return self._file is not None

    @property
    def locked(self) -> bool:
        """Whether it has to be opened first."""
        return self._key is None

    @property
    def protected(self) -> bool:
        """Whether it takes more than this home's files to open it."""
        return self._file is not None and "device" not in self._kinds()

    def slots(self) -> tuple[models.Slot, ...]:
        """The ways to open it."""
        return tuple(models.Slot(slot.id, slot.kind, slot.made_ms, slot.note) for slot in self._slots())

    # -- opening and locking -----------------------------------------------------------------------------------------
    @_alone
    def make(self) -> None:
        """Make a vault, which opens by itself until there is a better slot; it is open."""
        if self._file is not None:
            raise ValueError(f"{self.home} has a vault already")
        if self.accounts():  # a new one would open none of them, and take the place of what does
            raise VaultDamaged(
                f"{self.home / 'vault.json'} is missing, and accounts are here: put it back from a backup"
            )
        make_folder(self.home)
        self._key = bytearray(self._random_bytes(KEY_BYTES))
        self._file = _File(VERSION, to_text(self._random_bytes(_ID_BYTES)), ())
        self._settle([])

    @_alone
    def open_alone(self) -> bool:
        """Open it without a person: by the system's keyring, or by the device's own file. Whether it is open."""
        if self._key is None:
            self._open("keyring", self._keyring_secret()) or self._open("device", self._device_secret())
        return self._key is not None

    @_alone
    def unlock(self, secret: str) -> None:
        """Open it by a passphrase, or by the 24 words of a recovery sheet. Raises `WrongSecret`, `VaultDamaged`."""
        kinds = self._kinds()
        wrong = "this is not the passphrase" if "passphrase" in kinds else "no passphrase was set"
        if "recovery" in kinds:
            wrong += "; the 24 words of a recovery sheet open it, too"
            try:
                if self._open("recovery", seed_of(secret)):
                    return
                wrong = "these are the words of another recovery sheet"
            except ValueError as error:
                if len(secret.split()) == WORDS:
                    wrong = str(error)
        if len(secret.encode()) <= limits.PASSPHRASE_MAX_BYTES and self._open("passphrase", passphrase_bytes(secret)):
            return
        raise WrongSecret(wrong)

    @_alone
    def lock(self) -> None:
        """Forget the home key, and write over it. Who has databases open closes them."""
        if self._key is not None:
            self._key[:] = bytes(KEY_BYTES)
            self._key = None

    # -- slots -------------------------------------------------------------------------------------------------------
    @_alone
    def set_passphrase(self, new: str) -> None:
        """Set or change it; "" takes it away. The first one takes the place of what opened the vault without asking:
        whoever wants the keyring to open it, too, says so afterwards. Raises `Locked`, ValueError.
        """
        self._opened_key()
        others = [slot for slot in self._slots() if slot.kind != "passphrase"]
        if new == "":
            self._settle(others)
            return
        if len(new) < limits.PASSPHRASE_MIN_CHARACTERS:
            raise ValueError(f"a passphrase has {limits.PASSPHRASE_MIN_CHARACTERS} characters or more")
        if len(new.encode()) > limits.PASSPHRASE_MAX_BYTES:
            raise ValueError(f"a passphrase has {limits.PASSPHRASE_MAX_BYTES} bytes at most")
        if len(others) == len(self._slots()):
            others = [slot for slot in others if slot.kind != "keyring"]
        self._settle([*others, self._new("passphrase", passphrase_bytes(new))])

    @_alone
    def add_recovery(self, seed: bytes, note: str) -> None:
        """Let the recovery sheet of an account open it; `note` is the account, whose older sheet opens it no more.

        With the first one there is a way back, so that the system's keyring, if there is one, takes the place of the
        device's file. Raises `Locked`, ValueError.
        """
        if len(seed) != SEED_BYTES:
            raise ValueError(f"the seed of a recovery key has {SEED_BYTES} bytes")
        others = [slot for slot in self._slots() if slot.kind != "recovery" or slot.note != note]
        if len(others) >= limits.SLOTS_MAX:
            raise ValueError(f"a vault has {limits.SLOTS_MAX} slots at most")
        first = self._kinds() == {"device"}
        self._settle([*others, self._new("recovery", seed, note)])
        if first and self._keyring is not None:
            with contextlib.suppress(KeyringUnusable):  # the device's file stays, and `protected` says so
                self.use_keyring()

    @_alone
    def use_keyring(self) -> None:
        """Let the system's keyring open it. Raises `Locked`, `KeyringUnusable`; ValueError where it would be the only
        way.
        """
        self._opened_key()
        if self._keyring is None:
            raise KeyringUnusable("this system has no keyring that can be used")
        if not self._kinds() & {"passphrase", "recovery"}:
            raise ValueError("a keyring goes with its system: set a passphrase first")
        secret = self._random_bytes(KEY_BYTES)
        others = [slot for slot in self._slots() if slot.kind != "keyring"]
        slot = self._new("keyring", secret)
        self._keyring.put(self._keyring_name(slot), secret)
        self._settle([*others, slot])

    @_alone
    def forget_keyring(self) -> None:
        """Let the system's keyring open it no more. Raises `Locked`."""
        self._opened_key()
        self._settle([slot for slot in self._slots() if slot.kind != "keyring"])

    # -- accounts ----------------------------------------------------------------------------------------------------
    def accounts(self) -> list[str]:
        """The names of all accounts, whether it is locked or not."""
        folder = self.home / "accounts"
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if (path / "key").is_file())

    @_alone
    def account(self, name: str, *, make: bool = False) -> AccountVault:
        """One account's keys; with `make` a new account, unless it is there.

        Raises `Locked`, `VaultDamaged`, LookupError, and ValueError for a name that cannot be a folder's.
        """
        home_key = self._opened_key()
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be an account's name: letters, digits, . _ and -, 64 at most")
        folder = self.home / "accounts" / name
        path = folder / "key"
        if not path.exists():
            if not make:
                raise LookupError(f"there is no account {name}")
            if folder.exists():
                self._finish_destroying(folder)
            make_folder(folder)
            sealed = seal(self._random_bytes(KEY_BYTES), home_key, _account(name), self._random_bytes)
            write_durably(path, sealed.encode())
        key = unseal(self._sealed_key(name), home_key, _account(name))
        if key is None:
            raise VaultDamaged(f"{path} is damaged or another home's: its history cannot be read; restore the file")
        files = Files(folder / "files", _derived(key, b"files"), self._random_bytes)
        return AccountVault(folder, _derived(key, b"database"), files)

    @_alone
    def destroy(self, name: str) -> None:
        """Leave nothing of an account: its key first, durably; then all else. Its recovery sheet opens this home no
        more. Idempotent. Raises `Locked`.
        """
        self._opened_key()
        if not _NAME.fullmatch(name):
            raise LookupError(f"there is no account {name}")
        folder = self.home / "accounts" / name
        destroy(folder / "key")
        self._finish_destroying(folder)

    def _finish_destroying(self, folder: Path) -> None:
        """What stays when something cuts `destroy` off goes at the next opening, or when the name is taken again."""
        others = [slot for slot in self._slots() if slot.kind != "recovery" or slot.note != folder.name]
        if len(others) < len(self._slots()):
            self._settle(others)
        if folder.exists():
            shutil.rmtree(folder)

    # -- inside ------------------------------------------------------------------------------------------------------
    def _slots(self) -> tuple[Slot, ...]:
        return self._file.slots if self._file is not None else ()

    def _kinds(self) -> set[Kind]:
        return {slot.kind for slot in self._slots()}

    def _opened_key(self) -> bytes:
        if self._key is None:
            raise Locked("it has to be opened first")
        return bytes(self._key)

    def _new(self, kind: Kind, secret: bytes, note: str = "") -> Slot:
        made_ms = self._now_ms()
        return new_slot(kind, secret, self._opened_key(), made_ms=made_ms, note=note, random_bytes=self._random_bytes)

    def _open(self, kind: Kind, secret: bytes | None) -> bool:
        """By the slots of one kind."""
        for slot in self._slots() if secret is not None else ():
            if slot.kind != kind:
                continue
            try:
                key = opened(slot, secret or b"")
            except SlotUnfit as unfit:
                raise VaultDamaged(f"{self.home / 'vault.json'}: {unfit}") from None
            if key is not None:
                if not self._fits(key):
                    raise VaultDamaged(
                        f"{self.home / 'vault.json'} is another home's: it opens none of the accounts here; put the "
                        "right one back from a backup"
                    )
                self._key = bytearray(key)
                self._tidy()
                return True
        return False

    def _fits(self, key: bytes) -> bool:
        """Whether it can be this home's: who slips in slots of another would have what is made under its key."""
        sealed = {name: self._sealed_key(name) for name in self.accounts()}
        whole = {name: text for name, text in sealed.items() if is_sealed(text)}
        return not whole or any(unseal(text, key, _account(name)) is not None for name, text in whole.items())

    def _sealed_key(self, name: str) -> str:
        with (self.home / "accounts" / name / "key").open("rb") as source:
            return source.read(limits.ACCOUNT_KEY_MAX_BYTES).decode(errors="replace")

    def _tidy(self) -> None:
        """Finish what was cut off, and make again what was lost."""
        for name in ("vault.json.new", "device.key.new"):
            destroy(self.home / name)
        if "device" not in self._kinds():
            destroy(self.home / "device.key")
        elif not self._opens_alone():
            self._settle([slot for slot in self._slots() if slot.kind != "device"])
        accounts = self.home / "accounts"
        for folder in list(accounts.iterdir()) if accounts.is_dir() else []:
            if folder.is_dir() and not (folder / "key").exists():
                self._finish_destroying(folder)

    def _settle(self, slots: Sequence[Slot]) -> None:
        """Keep these slots, durably, with what has to be beside them; what opens nothing any more is destroyed."""
        assert self._file is not None
        kept = [slot for slot in slots if slot.kind != "device"]
        if {slot.kind for slot in kept} == {"keyring"}:
            kept = []
        if not {slot.kind for slot in kept} & {"passphrase", "keyring"}:
            kept += [slot for slot in slots if slot.kind == "device"] or [self._new_device()]
        dropped = [slot for slot in self._file.slots if slot not in kept]
        file = _File(VERSION, self._file.id, tuple(kept))
        write_durably(self.home / "vault.json", msgspec.json.format(msgspec.json.encode(file), indent=1))
        self._file = file
        for slot in dropped:
            if slot.kind == "device" and "device" not in self._kinds():
                destroy(self.home / "device.key")
            elif slot.kind == "keyring" and self._keyring is not None:
                with contextlib.suppress(KeyringUnusable):  # it opens nothing any more
                    self._keyring.forget(self._keyring_name(slot))

    def _new_device(self) -> Slot:
        secret = self._random_bytes(KEY_BYTES)
        write_durably(self.home / "device.key", secret)
        return self._new("device", secret)

    def _opens_alone(self) -> bool:
        """Whether the device's file is the one of its slot."""
        secret = self._device_secret()
        slots = [slot for slot in self._slots() if slot.kind == "device"]
        return secret is not None and any(opened(slot, secret) == self._opened_key() for slot in slots)

    def _device_secret(self) -> bytes | None:
        try:
            with (self.home / "device.key").open("rb") as file:
                secret = file.read(KEY_BYTES + 1)
        except FileNotFoundError:
            return None
        return secret if len(secret) == KEY_BYTES else None

    def _keyring_secret(self) -> bytes | None:
        if self._keyring is None:
            return None
        for slot in self._slots():
            if slot.kind == "keyring":
                try:
                    return self._keyring.get(self._keyring_name(slot))
                except KeyringUnusable:
                    return None
        return None

    def _keyring_name(self, slot: Slot) -> str:
        """Of this home's slot: one that is replaced does not write over the other before it is kept."""
        assert self._file is not None
        return f"{self._file.id} {slot.id}"


def _read(path: Path) -> _File | None:
    try:
        with path.open("rb") as source:
            raw = source.read(limits.VAULT_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    try:
        version = msgspec.json.decode(raw, type=dict[str, object]).get("version")
        if isinstance(version, int) and version > VERSION:
            raise VaultDamaged(f"{path} was written by a newer release; use that one")
        file = msgspec.json.decode(raw, type=_File)
    except msgspec.MsgspecError as error:
        raise VaultDamaged(f"{path} is damaged ({error}); put it back from a backup") from None
    if len(file.slots) > limits.SLOTS_MAX:
        raise VaultDamaged(f"{path} is damaged ({len(file.slots)} slots); put it back from a backup")
    kinds = [slot.kind for slot in file.slots]
    for kind in ("passphrase", "keyring", "device"):  # each slot of a passphrase would be tried, and that is dear
        if kinds.count(kind) > 1:
            raise VaultDamaged(f"{path} is damaged: two slots of the kind {kind}; put it back from a backup")
    if "device" in kinds and {"passphrase", "keyring"} & set(kinds):
        raise VaultDamaged(
            f"{path} was altered: a slot of the kind device stands beside a better one; put it back from a backup"
        )
    return file


def _account(name: str) -> bytes:
    """To what an account's key is bound."""
    return b"tmtp account key " + name.encode()


def _derived(key: bytes, what: bytes) -> bytes:
    """A key of its own for each purpose."""
    return blake2b(what, digest_size=KEY_BYTES, key=key, person=b"tmtp account").digest()
