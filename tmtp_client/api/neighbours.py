# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose process is at the other end of a loopback connection: who asks, and who is asked.

Any user of the machine can reach a port of 127.0.0.1, and a browser sends a cookie of one port to every other port of
the same name: a neighbour who lures the person to a page of his own on 127.0.0.1 gets hold of it. On Linux the kernel
says whose a connection is (proc(5), /proc/net/tcp), and so a stolen cookie is of no use to him. Nor does he hear a
passphrase at a port that a daemon had which was killed. Elsewhere nobody says.
"""

import os
import socket
import struct
from pathlib import Path
from typing import Final, Literal

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))  # the second: of sockets that speak both families
_ESTABLISHED: Final = "01"
_LISTENING: Final = "0A"
_ROOT: Final = 0

Whose = Literal["own", "other", "unknown"]


def whose(peer: tuple[str, int], own: tuple[str, int]) -> Whose:
    """Whose connection from an IPv4 address of this machine to one of ours is; unknown where the system does not say.

    The address counts as much as the port: a neighbour at 127.0.0.2 may choose the very port of a browser at 127.0.0.1.
    Reads a file of the kernel: call it on a thread.
    """
    there, here = _written(peer), _written(own)
    rows = _rows()
    if not any(row[3] == _LISTENING and row[1].endswith(here) for row in rows):
        return "unknown"  # what does not show this very server shows others no better
    for row in rows:
        if row[3] == _ESTABLISHED and row[1].endswith(there) and row[2].endswith(here):
            return _of(row)
    return "other"  # it is gone already, and nobody's: whoever he was, he hears nothing any more


def whose_server(at: tuple[str, int]) -> Whose:
    """Whose process is reached at an IPv4 address of this machine; unknown where the system does not say, or nobody is.

    Of those that listen at the port the one at this very address is reached, else one that listens at all of them.
    """
    here = _written(at)
    found = [row for row in _rows() if row[3] == _LISTENING and row[1].rpartition(":")[2] == here.rpartition(":")[2]]
    rows = [row for row in found if row[1].endswith(here)] or found
    return "unknown" if not rows else "other" if any(_of(row) == "other" for row in rows) else "own"


def _rows() -> list[list[str]]:
    """The kernel's tables; empty where it shows none."""
    try:
        return [line.split() for table in _TABLES if table.exists() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []


def _of(row: list[str]) -> Whose:
    return "own" if int(row[7]) in {os.getuid(), _ROOT} else "other"


def _written(address: tuple[str, int]) -> str:
    """An IPv4 address as the kernel writes it: its octets as one number of this machine's. IPv6's end in the same."""
    host, port = address
    return f"{struct.unpack('=I', socket.inet_aton(host))[0]:08X}:{port:04X}"
