# SPDX-License-Identifier: AGPL-3.0-or-later
# Everything here only calls a script, which works without make.
.PHONY: run test check bench bench-peers nightly docs build

run:      ## the demo organisation, until Ctrl-C
	@bash scripts/run.sh

test:     ## everything that is checked before a change lands
	@bash scripts/test.sh

check:    ## lint, types, import contracts and the fast tests, in under two minutes
	@bash scripts/test.sh fast

bench:    ## what the service can do on this machine, in about six minutes
	@bash scripts/bench.sh

bench-peers:  ## the same work for Mosquitto, ejabberd, Postfix with Dovecot: installs them, about ten minutes
	@bash scripts/bench.sh peers --json var/bench/peers.json

nightly:  ## the tests with their long profiles, two hours: faults, fuzzing, PostgreSQL; docs/nightly.md
	@bash scripts/nightly.sh

docs:     ## the documentation as a site, in var/site; fails where a link leads nowhere
	@bash scripts/docs.sh

build:    ## wheel and source archive, in dist: the same bytes everywhere
	@bash scripts/build.sh
