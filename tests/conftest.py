# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings that all tests share."""

import os

from hypothesis import HealthCheck, settings

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("ci", max_examples=2_000, deadline=None, suppress_health_check=_QUIET, derandomize=True)
settings.register_profile("nightly", max_examples=100_000, deadline=None, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
