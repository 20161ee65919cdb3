"""Alembic's entry: runs on the connection that the store hands over, and on nothing else."""

from alembic import context

from adapters.store.store import VERSION_TABLE
from adapters.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
