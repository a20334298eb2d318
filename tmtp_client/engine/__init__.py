# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person's device does: keeps history, sends what is to be sent, receives what comes."""
