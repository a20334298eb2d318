# SPDX-License-Identifier: AGPL-3.0-or-later
"""One mail, from whole octets to a reply for each recipient: gathered, decided on, done, written down (C2)."""
