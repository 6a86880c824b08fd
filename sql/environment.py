"""What the two Alembic environments share: where the connection comes from, and how types are compared."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import MetaData
from sqlmodel.sql.sqltypes import AutoString


def _render(kind: str, item: Any, autogen: Any) -> str | Literal[False]:
    """Have new migrations name SQLAlchemy's own type: they must not depend on the models' library."""
    return f"sa.String(length={item.length})" if kind == "type" and isinstance(item, AutoString) else False


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
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=_render,
    )
    with context.begin_transaction():
        context.run_migrations()
