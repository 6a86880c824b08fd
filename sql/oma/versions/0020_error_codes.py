"""error codes: what an error of a wave's machine is, and its next step in parts."""

import sqlalchemy as sa
from alembic import context, op

revision = "0020_error_codes"
down_revision = "0019_event_kinds"
branch_labels = None
depends_on = None

TABLES = ("wave_vms", "wave_attempts")


def upgrade() -> None:
    """Apply. MariaDB commits each statement by itself: what an upgrade that was killed has done already is left."""
    offline = context.is_offline_mode()
    for table in TABLES:
        there = set() if offline else {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}
        for column in (
            sa.Column("error_code", sa.String(length=64), nullable=True),
            sa.Column("error_hint", sa.JSON(), nullable=True),
        ):
            if column.name not in there:
                op.add_column(table, column)


def downgrade() -> None:
    """Take back."""
    for table in TABLES:
        op.drop_column(table, "error_hint")
        op.drop_column(table, "error_code")
