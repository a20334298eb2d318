# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether it is night: HYPOTHESIS_PROFILE=nightly, which docs/nightly.md sets. By day tests do less of the same."""

import os
from typing import Final

NIGHTLY: Final = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
