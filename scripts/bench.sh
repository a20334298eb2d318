#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Measures the service on this machine: see bench/suite.py.
set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
environment "[bench]"
cd "$root"
exec "$venv/bin/python" -m bench.suite "$@"
