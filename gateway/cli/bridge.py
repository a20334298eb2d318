# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway bridge …`: bridges that are processes of their own (C2)."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import USAGE, ConfigOption, bridges_of, fail, run
from gateway.cli.smtp.asking import NameOption

bridge = typer.Typer(no_args_is_help=True, help="Run a bridge as a process of its own.")

FolderOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Its folder, if that is not data_dir/bridges/NAME.")
]


@bridge.callback()
def _about() -> None:
    """Run a bridge as a process of its own."""


@bridge.command("smtp")
def smtp(config: ConfigOption = Path("gateway.yaml"), name: NameOption = None, folder: FolderOption = None) -> None:
    """Run one SMTP intake until SIGTERM or Ctrl-C: the one that the file has with `process: own`.

    It has its folder and nothing else: no service's data. The gateway makes the folder at its start. On another machine
    the file needs the bridge alone, and the folder device.key and service.json (docs/leaving-smtp.md).

    Example: tmtp-gateway bridge smtp -c gateway.yaml --name intake
    """
    from gateway.bridge_folder import BridgeFolder  # noqa: PLC0415 - see below
    from gateway.cli.bridge_serving import serve_bridge_until_told  # noqa: PLC0415 - only this command needs it
    from gateway.cli.serving import new_event_loop  # noqa: PLC0415

    settings, chosen, _ = bridges_of(config, name)
    if chosen.process != "own":
        fail(f"{chosen.name} is a part of the gateway's process: say `process: own` there, and start that again", USAGE)
    where = BridgeFolder(folder) if folder is not None else BridgeFolder.of(settings.data_dir, chosen.name)
    run(lambda: serve_bridge_until_told(settings, chosen, where), new_event_loop)
