# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gateway.yaml`: every setting, its default, its reason."""
