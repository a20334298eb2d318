# SPDX-License-Identifier: AGPL-3.0-or-later
"""What makes services run: settings, listeners, console, archive, command line."""
