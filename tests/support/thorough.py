# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a test may be skipped for want of something that could be installed. In CI none is, silently.

`scripts/test.sh` says so under a name of its own, since it hides from pytest that it is in CI.
"""

import os
from typing import Final

NOTHING_IS_MISSED: Final = "true" in (os.environ.get("CI"), os.environ.get("TMTP_TEST_CI"))
