# SPDX-License-Identifier: AGPL-3.0-or-later
# Everything here only calls a script, which works without make.
.PHONY: run test check bench bench-peers nightly

run:      ## the demo organisation, until Ctrl-C
	@bash scripts/run.sh

test:     ## everything that is checked before a change lands
	@bash scripts/test.sh

check:    ## lint, types, import contracts and the fast tests, in under two minutes
	@bash scripts/test.sh fast

bench:    ## what the service can do on this machine, in under five minutes
	@bash scripts/bench.sh

bench-peers:  ## the same work for Mosquitto, ejabberd, Postfix with Dovecot: installs them, about ten minutes
	@bash scripts/bench.sh peers --json var/bench/peers.json

nightly:  ## the tests with their long profiles
	@bash scripts/test.sh nightly
