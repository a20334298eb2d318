# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the rooms below raise, as the API's problems. In one place, so that no room has to know of the API."""

import socket
import ssl

from tmtp_client.api.frames import Problem
from tmtp_client.api.problems import LOCKED
from tmtp_client.connection import REFUSALS, Disconnected, LogInRefused, Refused, RefusedHere, WrongService, said
from tmtp_client.engine.joining import Occupied
from tmtp_client.engine.recipients import Unknown
from tmtp_client.engine.refusals import advice
from tmtp_client.store.outbox import Conflict
from tmtp_client.trust.devices import Changed, NotPossible
from tmtp_client.vault.files import FileDamaged
from tmtp_client.vault.keyrings import KeyringUnusable
from tmtp_client.vault.vault import Locked, VaultDamaged, WrongSecret
from tmtp_core.names import NameRefused

_SELF_SIGNED = "a self-signed service is known by its pin, sha256:…, which its link has"
_MENDS = {"authentication required": ": the sign-in has ended; sign in again"}


def translated(error: BaseException) -> Problem | None:
    """The problem that an error of the rooms below is; None: nobody foresaw it."""
    return _of_service(error) or _of_device(error)


def _of_service(error: BaseException) -> Problem | None:  # noqa: PLR0911 - a table
    match error:
        case Occupied():
            return Problem("usage", str(error), "account")
        case WrongService() | RefusedHere():
            return Problem("refused", str(error))
        case Refused():
            return Problem("refused", f"the service refused it: {advice(str(error), ())}")
        case LogInRefused():
            return Problem("refused", f"the service says: {error}{_MENDS.get(str(error), '')}")
        case Disconnected() if str(error) in REFUSALS:
            return Problem("refused", f"the service says: {error}")
        case Disconnected():
            return Problem("not_now", f"the service cannot be reached: {error}")
        case ssl.SSLCertVerificationError():
            return Problem("refused", f"the certificate cannot be trusted ({error.verify_message}); {_SELF_SIGNED}")
        case TimeoutError():
            text = str(error) if error.errno is None else ""  # the system's own are not for people
            return Problem("not_now", text or "the service did not answer in time")
        case ConnectionError() | socket.gaierror():
            return Problem("not_now", f"the service cannot be reached: {said(error)}")
        case OSError():
            return Problem("not_now", f"it cannot be done now: {said(error)}")
    return None


def _of_device(error: BaseException) -> Problem | None:  # noqa: PLR0911 - a table
    match error:
        case NameRefused():
            return Problem("usage", f"that cannot be a name: {error}", "alias")
        case OverflowError():  # of what is kept as 64 bits
            return Problem("usage", "a number in it is too large")
        case Unknown():
            return Problem("not_found", str(error), "to")
        case Locked():
            return Problem("locked", LOCKED)
        case WrongSecret():
            return Problem("refused", str(error), "secret")
        case Changed() | Conflict():
            return Problem("conflict", str(error))
        case NotPossible() | KeyringUnusable() | VaultDamaged() | FileDamaged():
            return Problem("refused", str(error))
    return None
