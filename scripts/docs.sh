#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Builds the documentation as a site in var/site; a link or an anchor that leads nowhere fails it.
#
#   scripts/docs.sh          build it
#   scripts/docs.sh serve    show it at http://127.0.0.1:8000 while you write
set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
environment "[docs]"
cd "$root"
# The theme's makers announce their next one at every build.
export NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true
if [ "${1:-build}" = serve ]; then
    exec "$venv/bin/mkdocs" serve --dev-addr 127.0.0.1:8000
fi
exec "$venv/bin/mkdocs" build --strict --quiet "$@"
