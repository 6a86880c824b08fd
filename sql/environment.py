"""What the two Alembic environments share: where the connection comes from, and how types are compared."""

from alembic import context
from sqlalchemy import MetaData


def run(metadata: MetaData) -> None:
    """Run the migrations on the connection that migratekit hands over, or write them as SQL."""
    attributes = context.config.attributes
    if context.is_offline_mode():
        context.configure(
            url=attributes["url"].render_as_string(),
            target_metadata=metadata,
            literal_binds=True,
            output_buffer=attributes["buffer"],
        )
        with context.begin_transaction():
            context.run_migrations()
        return
    connection = attributes["connection"]
    # render_as_batch: SQLite changes a table by copying it.
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite"
    )
    with context.begin_transaction():
        context.run_migrations()
