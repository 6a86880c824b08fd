"""fleet: what runs of waves were asked for, and who may send how much."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0012_fleet"
down_revision = "0007_waves"
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb").with_variant(mysql.DATETIME(fsp=6), "mysql")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb").with_variant(mysql.LONGTEXT(), "mysql")


def upgrade() -> None:
    """Apply. MariaDB commits each statement by itself: what an upgrade that was killed has done already is left."""
    op.create_table(
        "fleet_runs",
        sa.Column("wave_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("again", sa.Boolean(), nullable=False),
        sa.Column("rehearse", sa.Boolean(), nullable=False),
        sa.Column("gate_open", sa.Boolean(), nullable=False),
        sa.Column("abort_below", sa.Float(), nullable=False),
        sa.Column("note", TEXT, nullable=True),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.Column("asked_by", sa.String(length=255), nullable=False),
        sa.Column("driver", sa.String(length=255), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["wave_id"], ["waves.id"], name=op.f("fk_fleet_runs_wave_id")),
        sa.PrimaryKeyConstraint("wave_id", name=op.f("pk_fleet_runs")),
        if_not_exists=True,
    )
    op.create_index(op.f("ix_fleet_runs_phase"), "fleet_runs", ["phase"], unique=False, if_not_exists=True)
    op.create_table(
        "fleet_grants",
        sa.Column("token", sa.String(length=36), nullable=False),
        sa.Column("granted", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("renewed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_fleet_grants")),
        if_not_exists=True,
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("fleet_grants")
    op.drop_table("fleet_runs")
