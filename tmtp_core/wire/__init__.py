# SPDX-License-Identifier: AGPL-3.0-or-later
"""The wire protocol without a wire: bytes in, events out (protocol.md, wire.md)."""
