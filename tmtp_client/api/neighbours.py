# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose process is at the other end of a loopback connection.

Any user of the machine can reach a port of 127.0.0.1, and a browser sends a cookie of one port to every other port of
the same name: a neighbour who lures the person to a page of his own on 127.0.0.1 gets hold of it. On Linux the kernel
says whose a connection is (proc(5), /proc/net/tcp), and so a stolen cookie is of no use to him. Elsewhere nobody says.
"""

import os
from pathlib import Path
from typing import Final, Literal

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))  # the second: of sockets that speak both families
_ESTABLISHED: Final = "01"
_LISTENING: Final = "0A"
_ROOT: Final = 0

Whose = Literal["own", "other", "unknown"]


def whose(peer_port: int, own_port: int) -> Whose:
    """Whose connection from a port of this machine to one of ours is; unknown where the system does not say.

    Reads a file of the kernel: call it on a thread.
    """
    try:
        rows = [line.split() for table in _TABLES if table.exists() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return "unknown"
    if not any(row[3] == _LISTENING and _port(row[1]) == own_port for row in rows):
        return "unknown"  # what does not show this very server shows others no better
    for row in rows:
        if row[3] == _ESTABLISHED and _port(row[1]) == peer_port and _port(row[2]) == own_port:
            return "own" if int(row[7]) in {os.getuid(), _ROOT} else "other"
    return "other"  # it is gone already, and nobody's: whoever he was, he hears nothing any more


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
