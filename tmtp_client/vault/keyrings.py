# SPDX-License-Identifier: AGPL-3.0-or-later
"""The operating system's keyring: the Keychain, the Credential Locker, a desktop's Secret Service (B8)."""

import base64
from typing import Any, Protocol

_PLACE = "tmtp"


class KeyringUnusable(Exception):
    """The system's keyring does not do what it is asked."""


class Keyring(Protocol):
    """Keeps secrets under names, for as long as their person is logged in. All methods raise `KeyringUnusable`."""

    def get(self, name: str) -> bytes | None:
        """What is kept there."""
        ...

    def put(self, name: str, secret: bytes) -> None:
        """Keep it."""
        ...

    def forget(self, name: str) -> None:
        """Keep it no longer. Idempotent."""
        ...


def system_keyring() -> Keyring | None:
    """This system's; None where there is none, as on a server: a file that only pretends to be one is none."""
    import keyring  # noqa: PLC0415 - looks at all that is installed, and few need it

    try:
        backend = keyring.get_keyring()
        usable = backend.priority >= 1  # below are those that the package does not recommend, as plain files
    except Exception:  # whatever a backend of another package raises
        return None
    return SystemKeyring(backend) if usable else None


class SystemKeyring:
    """A backend of the package `keyring`."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def get(self, name: str) -> bytes | None:
        """What is kept there. Raises `KeyringUnusable`."""
        text = self._asked("get_password", name)
        try:
            return base64.b64decode(text, validate=True) if text else None
        except ValueError:
            return None

    def put(self, name: str, secret: bytes) -> None:
        """Keep it. Raises `KeyringUnusable`, also where it is not there afterwards."""
        self._asked("set_password", name, base64.b64encode(secret).decode())
        if self.get(name) != secret:
            raise KeyringUnusable("the system's keyring does not keep what it is given")

    def forget(self, name: str) -> None:
        """Keep it no longer. Raises `KeyringUnusable`."""
        if self.get(name) is not None:
            self._asked("delete_password", name)

    def _asked(self, what: str, *arguments: str) -> Any:
        try:
            return getattr(self._backend, what)(_PLACE, *arguments)
        except Exception as error:  # backends let through what D-Bus and others raise
            raise KeyringUnusable(f"the system's keyring does not answer: {type(error).__name__}") from None
