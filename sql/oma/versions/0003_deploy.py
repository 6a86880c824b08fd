"""the mapping of networks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003_deploy"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb").with_variant(mysql.DATETIME(fsp=6), "mysql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "network_mappings",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("machine", sa.String(length=255), nullable=False),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("target", sa.String(length=255), nullable=True),
        sa.Column("origin", sa.String(length=32), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_network_mappings")),
        sa.UniqueConstraint("machine", "source", name=op.f("uq_network_mappings_machine")),
        # MariaDB has no transactions for tables: a migration that was killed after this is run again.
        if_not_exists=True,
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("network_mappings")
