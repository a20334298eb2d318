# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an intake remembers: one small SQLite file of its own, never a service's (C2).

`database` opens it; `tables` says what is in it; each further module is one thing that is remembered.
"""
