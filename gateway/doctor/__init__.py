# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is wrong with a gateway, and what would mend it (A7, C1): looked at from outside, while it runs or not."""

from gateway.doctor.examination import examine
from gateway.doctor.findings import Finding, Level

__all__ = ["Finding", "Level", "examine"]
