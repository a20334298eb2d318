# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way to a bridge that is a process of its own on this machine (C2). It loads nothing of a bridge but that."""

from pathlib import Path

from bridges.smtp.control.socket import SOCKET_NAME, SocketDoor


def process_door(file: Path | None, bridge: str, folder: Path) -> SocketDoor:
    """To the process of this name, which has this folder; `file`: the settings that it is to be started with."""
    start = f"tmtp-gateway bridge smtp -c {file or 'FILE'} --name {bridge}; where it runs on another machine, ask there"
    return SocketDoor(folder / SOCKET_NAME, start)
