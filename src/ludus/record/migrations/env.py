"""What alembic runs for each migration: on the connection that it is given, in its transaction. See `ludus.record.revisions`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
