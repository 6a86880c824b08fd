"""source: the installation's id, the disks that volumes are replicas of, snapshots whose removal is pending."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0022_source"
down_revision = "0021_history"
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb").with_variant(mysql.DATETIME(fsp=6), "mysql")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb").with_variant(mysql.LONGTEXT(), "mysql")


def upgrade() -> None:
    """Apply. MariaDB commits each statement by itself: what an upgrade that was killed has done already is left."""
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("token", sa.String(length=12), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
        if_not_exists=True,
    )
    op.create_table(
        "replica_disks",
        sa.Column("volume_id", sa.String(length=36), nullable=False),
        sa.Column("disk_uuid", sa.String(length=255), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("volume_id", name=op.f("pk_replica_disks")),
        if_not_exists=True,
    )
    op.create_table(
        "pending_removals",
        sa.Column("vm_uuid", sa.String(length=36), nullable=False),
        sa.Column("snapshot_id", sa.String(length=255), nullable=False),
        sa.Column("vm_name", sa.String(length=255), nullable=False),
        sa.Column("vcenter_host", sa.String(length=255), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("task_id", sa.String(length=255), nullable=True),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("vm_uuid", "snapshot_id", name=op.f("pk_pending_removals")),
        if_not_exists=True,
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("pending_removals")
    op.drop_table("replica_disks")
    op.drop_table("installation")
