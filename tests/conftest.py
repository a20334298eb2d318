# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings that all tests share."""

import os
import signal

from hypothesis import HealthCheck, settings

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]

# By day as many as find what is plainly wrong; a night's round begins with 2,000 others (docs/nightly.md).
settings.register_profile("ci", max_examples=100, deadline=None, suppress_health_check=_QUIET, derandomize=True)
_EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "100000"))  # of a night's round, after which come others
settings.register_profile("nightly", max_examples=_EXAMPLES, deadline=None, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A shell that runs the tests in the background tells its children to ignore Ctrl-C. The programs under test
# are to be interrupted as a person would: they inherit the default again.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
