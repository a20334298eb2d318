# SPDX-License-Identifier: AGPL-3.0-or-later
"""The steps of the administrators' own database (`gateway.administration.tables`), beside those of the instances'."""
