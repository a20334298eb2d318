# SPDX-License-Identifier: AGPL-3.0-or-later
"""The program `tmtp`: Ctrl-C ends it quietly from its first moment on, while it is still being loaded, too."""

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run it."""
    try:
        from tmtp_client.cli.main import main as run  # noqa: PLC0415 - loading takes a moment

        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
