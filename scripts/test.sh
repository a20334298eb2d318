#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# Installs what the tests need and runs everything: lint, types, import contracts, all tests.
#
#   scripts/test.sh          everything
#   scripts/test.sh fast     lint, types, contracts and the fast tests (make check)
#   scripts/test.sh nightly  the tests with their long profiles: scripts/nightly.sh, which see
set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
what=${1:-all}
unsteady_max=4 # so many failures may be a busy machine's
patience=75m   # with all tests together: then they are told to stop, and say what failed until then

python_tests="libpython$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)-testsuite"
debian_packages="chromium chromium-headless-shell firefox-esr ffmpeg npm swaks curl openssl strace dbus-run-session:dbus-daemon gnome-keyring-daemon:gnome-keyring valgrind systemd-analyze:systemd fusermount3:fuse3
    /usr/lib/postgresql/*/bin/postgres:postgresql /usr/lib/python3*/test/test_email/data:$python_tests"

install_debian_packages() {
    local missing="" package
    for package in $debian_packages; do
        # shellcheck disable=SC2086 # a pattern, for what is on nobody's path
        command -v "${package%%:*}" >/dev/null 2>&1 || ls ${package%%:*} >/dev/null 2>&1 || missing="$missing ${package##*:}"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "Installing for the tests:$missing …"
        # shellcheck disable=SC2086 # a list of words
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null; } ||
            say "They could not be installed; the tests that need them are skipped by name."
    else
        say "Some tests need more and are skipped by name. To run them too:  sudo apt-get install$missing"
    fi
}

step() {
    say "== $*"
    "$@"
}

# Thousands of tests wait for processes, and a machine that others use fails one of them now and then. What failed is tried
# once more, alone: red is what fails again, or more than a few; what passes then is named as unsteady, and is to be mended.
tests() {
    local status=0 failed
    step timeout --foreground --signal=INT --kill-after=1m "$patience" pytest "$@" || status=$?
    [ "$status" = 1 ] || return "$status"
    failed=$(python -c 'import json, pathlib; print(*json.loads(pathlib.Path(".pytest_cache/v/cache/lastfailed").read_text()), sep="\n")')
    [ "$(printf '%s\n' "$failed" | wc -l)" -le "$unsteady_max" ] || return 1
    step pytest --last-failed --last-failed-no-failures none || return 1
    say "UNSTEADY: failed among the others, and not alone. Somebody has to look at it:" "$failed"
}

environment "[test]"
cd "$root"
PATH="$venv/bin:$PATH"
export PATH
[ "$what" = fast ] || install_debian_packages

step ruff check .
step ruff format --check .
step mypy
step lint-imports --no-cache
# What is tested once more with PostgreSQL below: what reaches the store by every way there is.
on_postgresql="tests/integration/test_consent.py tests/integration/test_blocks.py tests/integration/test_devices.py
    tests/integration/test_groups.py tests/integration/test_nodes.py tests/integration/test_returns.py
    tests/integration/test_store.py tests/integration/test_stopping.py tests/integration/test_administration.py
    tests/integration/test_sign_in.py"
# Most tests wait for processes of their own: two at a time for each core. Those of a file share what they start. In the
# order of their folders, since those that take minutes come first, and one of them begun last would be waited for alone.
workers=$((2 * $(nproc)))
workers=$((workers < 8 ? workers : 8))
all_cores="-n $workers --dist loadfile --no-loadscope-reorder"
# Where it believes to be in CI, pytest shows how long texts differ in full: that of a page's memory takes it hours.
export TMTP_TEST_CI=${CI:-}
unset CI BUILD_NUMBER
# Thousands of processes are started, and each would compile what it imports where the environment has Python keep nothing.
python -m compileall -q tmtp_core tmtp_client gateway bridges migrations
case $what in
    # shellcheck disable=SC2086 # a list of words
    fast) tests $all_cores -m "not slow" tests/unit ;;
    nightly)
        shift
        step python -m tests.nightly "$@"
        ;;
    *)
        # shellcheck disable=SC2086 # a list of words
        tests $all_cores
        # shellcheck disable=SC2086 # a list of words
        TMTP_TEST_ENGINE=postgresql tests $all_cores $on_postgresql
        ;;
esac
