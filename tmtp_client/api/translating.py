# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the rooms below raise, as the API's problems. In one place, so that no room has to know of the API."""

import ssl

from tmtp_client.api.models import Problem
from tmtp_client.connection import Disconnected, LogInRefused, Refused, WrongService
from tmtp_core.names import NameRefused

_MENDS = {"authentication required": ": the sign-in has ended; sign in again"}


def translated(error: BaseException) -> Problem | None:  # noqa: PLR0911 - a table, line by line
    """The problem that an error of the rooms below is; None: nobody foresaw it."""
    match error:
        case WrongService():
            return Problem("refused", str(error))
        case Refused():
            return Problem("refused", f"the service refused it: {error}")
        case LogInRefused():
            return Problem("refused", f"the service says: {error}{_MENDS.get(str(error), '')}")
        case Disconnected():
            return Problem("not_now", f"the service cannot be reached: {error}")
        case NameRefused():
            return Problem("usage", f"that cannot be a name: {error}", "alias")
        case ssl.SSLCertVerificationError():
            return Problem("refused", f"the certificate cannot be trusted: {error.verify_message}")
        case TimeoutError():
            return Problem("not_now", "the service did not answer in time")
        case OSError():
            return Problem("not_now", f"it cannot be done now: {error.strerror or type(error).__name__}")
    return None
