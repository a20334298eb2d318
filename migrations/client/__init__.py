# SPDX-License-Identifier: AGPL-3.0-or-later
"""The steps of a client's history (`tmtp_client.store.tables`)."""
