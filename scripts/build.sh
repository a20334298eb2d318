#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Builds the wheel and the source archive of this tree, the same bytes wherever and whenever: scripts/build.py.
#
#   scripts/build.sh [FOLDER]    where they go; default: dist
set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
environment "[release]"
exec "$venv/bin/python" "$root/scripts/build.py" "${1:-$root/dist}"
