# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a TMTP service is: wire format, rules, storage. No sockets, no clock of its own, no framework."""
