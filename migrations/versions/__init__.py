# SPDX-License-Identifier: AGPL-3.0-or-later
"""One file a step; never changed once released."""
