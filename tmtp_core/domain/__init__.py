# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules of a TMTP service: who may do what, and who gets a copy. No I/O; storage through a port."""
