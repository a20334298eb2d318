# SPDX-License-Identifier: AGPL-3.0-or-later
"""Test vectors of sealed messages (docs/protocol.md): see format.md."""
