# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two families of errors: *theirs*, each carrying the reply it earns, and *ours*."""


class TmtpError(Exception):
    """Root of all errors of this package."""


class ProtocolError(TmtpError):
    """The peer broke the protocol: it gets `quit` with this text (wire.md §3, §5), and the link closes.

    `quit_text` is None where the reference server closes without a word.
    """

    def __init__(self, quit_text: str | None) -> None:
        super().__init__(quit_text or "closed without a word")
        self.quit_text = quit_text


class RequestRefused(TmtpError):
    """The request is well formed but not granted: an `ack` with this `error`; the link stays open (wire.md §5)."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class NotFound(RequestRefused):
    """What an administrator names is not there."""


class LoginRefused(ProtocolError):
    """A log-in or registration that fails ends the link (wire.md §3.4)."""


UNAVAILABLE = "service temporarily unavailable, try again"
"""What peers are told of `ServiceUnavailable`."""


class ServiceUnavailable(TmtpError):
    """Ours, and temporary: the disk is full, the service is stopping. Trying again under the same id is right.

    Nothing was stored; only a crash before the next commit may bring back what a failing disk took after all.
    """


class StoreCorrupt(TmtpError):
    """Ours: what the database says contradicts itself. Never guessed around."""
