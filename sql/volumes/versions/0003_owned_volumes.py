"""owned volumes: which volumes are MigrateKit's."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE = "owned_volumes"


def upgrade() -> None:
    """Apply. MariaDB commits each statement by itself: what an upgrade that was killed has done already is left."""
    if not context.is_offline_mode() and TABLE in sa.inspect(op.get_bind()).get_table_names():
        return
    time = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb").with_variant(mysql.DATETIME(fsp=6), "mysql")
    op.create_table(
        TABLE,
        sa.Column("volume_id", sa.String(length=36), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("confirmed_at", time, nullable=True),
        sa.Column("created_at", time, nullable=False),
        sa.PrimaryKeyConstraint("volume_id", name=op.f("pk_owned_volumes")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table(TABLE)
