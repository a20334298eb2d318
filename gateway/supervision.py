# SPDX-License-Identifier: AGPL-3.0-or-later
"""What whoever started this process is told: that it is ready, that it lives, that it stops (sd_notify(3)).

systemd waits for the first (`Type=notify`) and starts the process again when the second stays away (`WatchdogSec=`).
Elsewhere there is no socket, and nothing is said.
"""

import os
import socket
from collections.abc import MutableMapping
from typing import Self

import structlog

log = structlog.get_logger()


class Supervisor:
    """The socket at `address`, which wants to hear every `watchdog_s` seconds, or (None) not at all."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = address
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Self:
        """As systemd names it; taken out of the environment, since programs started from here are not the service."""
        address = environment.pop("NOTIFY_SOCKET", None)
        microseconds = environment.pop("WATCHDOG_USEC", "")
        ours = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = address is not None and ours and microseconds.isascii() and microseconds.isdigit()
        return cls(address or None, int(microseconds) / 1e6 if watched and int(microseconds) else None)

    @property
    def interval_s(self) -> float | None:
        """How often to say `alive`: twice in the time after which it would be missed (sd_watchdog_enabled(3))."""
        return self.watchdog_s / 2 if self.watchdog_s is not None else None

    def ready(self, status: str) -> None:
        """Everything is served now; `status` is what `systemctl status` shows."""
        self._tell(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """The event loop turns."""
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """It was told to stop, and does."""
        self._tell("STOPPING=1\nSTATUS=stopping")

    def _tell(self, text: str) -> None:
        """Never waits and never fails: a service must not end for want of a listener."""
        if self._address is None:
            return
        path = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as to:
                to.sendto(text.encode(), path)
        except OSError as error:
            log.warning("supervisor_not_told", told=text.partition("\n")[0], error=error.strerror)
