# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a command of the client loads: it asks the local API, and waits for nothing that only the engine needs (B1)."""

import subprocess
import sys

ENGINES_OWN = ("sqlalchemy", "sqlcipher3", "aiosmtpd", "tmtp_client.engine", "tmtp_client.vault", "segno")


def test_a_command_loads_neither_the_engine_nor_a_database() -> None:
    """They took half of the time until a command answered."""
    program = "import sys, tmtp_client.cli.main; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "tmtp_client.api.client" in loaded
    assert [name for name in loaded if name.startswith(ENGINES_OWN)] == []
