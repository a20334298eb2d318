# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one door to the engine: what a page, a terminal or a phone's shell asks for (B1)."""
