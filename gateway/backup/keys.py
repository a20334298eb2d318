# SPDX-License-Identifier: AGPL-3.0-or-later
"""The key pair of backups: who has the public key makes them, who has the secret one reads them (D5).

X25519, written as `tmtp-backup-public:` or `tmtp-backup-secret:` and 43 characters of base64url, so that nobody takes
the one for the other.
"""

from pathlib import Path
from typing import Final

from nacl.public import PrivateKey, PublicKey

from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.ids import RandomBytes

KEY_BYTES: Final = 32
_PUBLIC: Final = "tmtp-backup-public:"
_SECRET: Final = "tmtp-backup-secret:"  # noqa: S105 - what stands before one
_FILE_MAX_BYTES: Final = 4_096


class BackupKeyInvalid(ValueError):
    """This is no backup key; the text says what would be one."""


def new_secret(random_bytes: RandomBytes) -> PrivateKey:
    """A fresh key pair."""
    return PrivateKey(random_bytes(KEY_BYTES))


def public_text(key: PublicKey) -> str:
    """The public key as settings and arguments have it."""
    return _PUBLIC + to_text(bytes(key))


def secret_text(key: PrivateKey) -> str:
    """The secret key as its file has it."""
    return _SECRET + to_text(bytes(key))


def parse_public(text: str) -> PublicKey:
    """Undo `public_text`. Raises `BackupKeyInvalid`, which repeats no secret."""
    if text.startswith(_SECRET):
        raise BackupKeyInvalid(f"this is the secret key, which belongs on no server: give the one of {_PUBLIC}…")
    if not text.startswith(_PUBLIC):
        raise BackupKeyInvalid(f"a recipient is {_PUBLIC} and 43 characters; make one with: tmtp-gateway backup-key")
    try:
        return PublicKey(from_text(text.removeprefix(_PUBLIC), KEY_BYTES))
    except ValueError as error:
        raise BackupKeyInvalid(f"this recipient is not whole: {error}") from None


def read_secret(file: Path) -> PrivateKey:
    """The secret key in a file; lines that begin with # are remarks. Raises `BackupKeyInvalid` or OSError."""
    with file.open("rb") as opened:
        text = opened.read(_FILE_MAX_BYTES).decode("ascii", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) != 1 or not lines[0].startswith(_SECRET):
        raise BackupKeyInvalid(f"{file} holds no secret key of backups: one line, {_SECRET} and 43 characters")
    try:
        return PrivateKey(from_text(lines[0].removeprefix(_SECRET), KEY_BYTES))
    except ValueError:
        raise BackupKeyInvalid(f"the key in {file} is not whole: take another copy of it") from None
