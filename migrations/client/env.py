# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs the steps on the connection that `tmtp_client.store.database` hands over, inside its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], render_as_batch=True, transactional_ddl=True)
context.run_migrations()
