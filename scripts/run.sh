#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Starts the demo organisation: installs what is needed, shows a mail and a message arrive, serves until Ctrl-C.
set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
environment ""
cd "$root"
exec "$venv/bin/python" scripts/demo.py "$@"
