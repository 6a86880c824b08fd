"""joblog: events that are written once, and how far running jobs are."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

revision = "0006_joblog"
down_revision = "0003_deploy"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. MariaDB commits each statement by itself: what an upgrade that was killed has done already is left."""
    look = None if context.is_offline_mode() else sa.inspect(op.get_bind())
    if look is None or not look.has_table("joblog_progress"):
        op.create_table(
            "joblog_progress",
            sa.Column("job_id", sa.String(length=36), nullable=False),
            sa.Column("item", sa.String(length=255), nullable=False),
            sa.Column("done", sa.BigInteger(), nullable=False),
            sa.Column("total", sa.BigInteger(), nullable=False),
            sa.Column("rate", sa.BigInteger(), nullable=False),
            sa.Column(
                "updated_at",
                sa.DateTime()
                .with_variant(mysql.DATETIME(fsp=6), "mariadb")
                .with_variant(mysql.DATETIME(fsp=6), "mysql"),
                nullable=False,
            ),
            sa.ForeignKeyConstraint(["job_id"], ["joblog_jobs.id"], name=op.f("fk_joblog_progress_job_id")),
            sa.PrimaryKeyConstraint("job_id", "item", name=op.f("pk_joblog_progress")),
        )
    columns = set() if look is None else {column["name"] for column in look.get_columns("joblog_events")}
    if "uid" not in columns:
        op.add_column("joblog_events", sa.Column("uid", sa.String(length=36), nullable=True))
    indexes = set() if look is None else {index["name"] for index in look.get_indexes("joblog_events")}
    if "ix_joblog_events_uid" not in indexes:
        op.create_index(op.f("ix_joblog_events_uid"), "joblog_events", ["uid"], unique=True)
