# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Debian offers for the same job, started as private processes and measured on the same work as this server."""
