"""Alembic's entry point: `app/storage/engine/migrate.py` hands in the connection, with its transaction begun."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    render_as_batch=context.config.attributes["connection"].dialect.name == "sqlite",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
