#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Measures the service on this machine.
#
#   scripts/bench.sh         the service alone: bench/suite.py
#   scripts/bench.sh peers   beside what Debian offers for the same job, which is installed first: bench/peers/
set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# What bench/peers/ starts as private processes; strace counts their syncs.
peer_packages="mosquitto ejabberd erlang-p1-sqlite3 postfix dovecot-imapd dovecot-lmtpd strace"

install_peers() {
    local missing="" package
    for package in $peer_packages; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    # Where systemd runs, Debian's packages start their services when they come: that is not for a bench to decide.
    if [ "$(id -u)" != 0 ] || [ -d /run/systemd/system ] || ! command -v apt-get >/dev/null 2>&1; then
        say "Some peers are missing and are left out. To measure them too:  sudo apt-get install$missing"
        return 0
    fi
    say "Installing the peers:$missing …"
    # RUNLEVEL: without systemd, invoke-rc.d starts nothing in this one.
    # shellcheck disable=SC2086 # a list of words
    { apt-get update -qq &&
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null; } ||
        say "They could not be installed; those that are missing are left out."
}

environment "[bench]"
cd "$root"
if [ "${1:-}" = peers ]; then
    shift
    install_peers
    exec "$venv/bin/python" -m bench.peers "$@"
fi
exec "$venv/bin/python" -m bench.suite "$@"
