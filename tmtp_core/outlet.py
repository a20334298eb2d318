# SPDX-License-Identifier: AGPL-3.0-or-later
"""What carries a session's bytes: the seam between the core and the listeners."""

from typing import Protocol

from tmtp_core.domain.port import EMPTY, Body


class Outlet(Protocol):
    """What carries a session's bytes."""

    def send(self, head: bytes, body: Body = EMPTY) -> None:
        """Queue one frame; frames queued in one turn of the loop leave together."""
        ...

    def close(self) -> None:
        """Send what is queued, then close."""
        ...

    def cut(self, last_word: bytes) -> None:
        """Send nothing that is queued, stop in the midst of a payload, and close within about a second.

        `last_word`, if any, is sent where it can be understood: when no frame is half sent.
        """
        ...

    def abort(self) -> None:
        """Drop the connection, whatever is still to be sent."""
        ...

    def set_reading(self, wanted: bool) -> None:
        """Read on, or leave what comes to the peer's own buffers."""
        ...

    @property
    def peer_address(self) -> str:
        """The IP address of the peer; "" where there is none."""
        ...

    @property
    def congested(self) -> bool:
        """Whether the peer takes less than it is sent: no delivery should be added."""
        ...

    @property
    def clogged(self) -> bool:
        """Whether even answers pile up: no request should be read."""
        ...
