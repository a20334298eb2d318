# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which settings file is meant where none is named."""

from pathlib import Path
from typing import Final

import typer

VARIABLE: Final = "TMTP_GATEWAY_CONFIG"
SYSTEM_CONFIG: Final = Path("/etc/tmtp-gateway/gateway.yaml")


def found_config(context: typer.Context, parameter: typer.CallbackParam, value: Path) -> Path:
    """What `--config` or the variable names; else ./gateway.yaml; else, where only that is there, the system's."""
    source = context.get_parameter_source(parameter.name or "")
    if source is not None and source.name != "DEFAULT":  # by name: some releases of typer bring a click of their own
        return value
    return value if value.exists() or not SYSTEM_CONFIG.exists() else SYSTEM_CONFIG
