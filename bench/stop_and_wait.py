# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gateway without group commits: what this server would be if it committed each decision by itself.

    python -m bench.stop_and_wait serve -c FILE

For `bench` only, as the other side of a ratio. The window of one delivery comes from its settings file.
"""

from pathlib import Path
from typing import NoReturn

from gateway.cli import process as command
from gateway.cli.main import main
from gateway.settings import Address, load_settings
from tmtp_core import limits


def here(config: Path, process: int, http: str | None) -> NoReturn:
    """Serve in this process: what was altered here would be as before in a process of its own."""
    command.serve(load_settings(config), process, Address.model_validate(http) if http else None)


if __name__ == "__main__":
    limits.BATCH_COMMANDS_MAX = 1
    command.become = here
    main()
