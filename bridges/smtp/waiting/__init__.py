# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mail that lies on our disk: spooled while the service is away, or held for a person's decision (C2)."""
