# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures that an administrator gives, made anew before anybody is shown them (B2, B6)."""

import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

from tmtp_core.wire.look import picture_type

_PATIENCE_S: Final = 120.0  # the processor's time is bounded: so long takes only a machine that has much else to do

Purpose = Literal["logo", "backdrop"]


class PictureRefused(ValueError):
    """This file is no picture that could be shown; the text says why."""

    def __init__(self, purpose: Purpose, text: str) -> None:
        super().__init__(text)
        self.purpose = purpose


def made_anew(path: Path, purpose: Purpose) -> bytes:
    """A picture's pixels in a fresh file of bounded size: PNG for a logo, JPEG for a backdrop. Raises `PictureRefused`.

    The file is decoded in a worker process with little memory and time (`gateway.pictures.worker`).
    """
    command = [sys.executable, "-P", "-m", "gateway.pictures.worker", purpose]  # -P: no code from here
    try:
        with path.open("rb") as file:
            done = subprocess.run(command, stdin=file, capture_output=True, timeout=_PATIENCE_S, check=False)  # noqa: S603
    except OSError as error:
        raise PictureRefused(purpose, f"{path} cannot be read: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        words = f"{path} was not read within {_PATIENCE_S:.0f} s: this machine has too much else to do; try again"
        raise PictureRefused(purpose, words) from None
    if done.returncode == 1:
        raise PictureRefused(purpose, f"{path}: {done.stderr.decode(errors='replace').strip()[-200:]}")
    if done.returncode or picture_type(done.stdout) is None:
        raise PictureRefused(purpose, f"{path} takes more to read than a picture may")
    return done.stdout
