#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Installs what the tests need and runs their long profiles, as far as a budget of time goes: docs/nightly.md.
#
#   scripts/nightly.sh [--budget 2h] [--only STEP] [--with bench|peers|idle|intake] [--seed N]
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/test.sh" nightly "$@"
