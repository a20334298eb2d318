# SPDX-License-Identifier: AGPL-3.0-or-later
"""Members' answers to mail: sent as mail by the organisation's relay, or returned with whom to invite (C5)."""
