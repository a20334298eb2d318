# SPDX-License-Identifier: AGPL-3.0-or-later
"""What happens on a connection, from its octets to whole mails (RFC 5321, 2033): PROXY, TLS, the guard, the session."""
