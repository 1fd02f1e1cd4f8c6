"""Run by alembic for every migration, in the transaction that `annotation_store.migrate` has opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
