"""history: indexes for what is asked of a long past; the machines and volumes of its syncs in tables of their own."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects.mysql import LONGTEXT

revision = "0021_history"
down_revision = "0020_error_codes"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(LONGTEXT(), "mysql", "mariadb")
INDEXES = (
    ("joblog_jobs", ("owner", "started_at")),
    ("joblog_jobs", ("kind", "started_at")),
    ("joblog_jobs", ("status", "started_at")),
    ("joblog_jobs", ("completed_at",)),
    ("joblog_steps", ("name", "id")),
    ("replication_jobs", ("source_vm_id", "created_at")),
)
REPLACED = (("joblog_jobs", "status"), ("replication_jobs", "source_vm_id"))
"""Indexes of one column that one of two begins with."""


def upgrade() -> None:
    """Apply. MariaDB commits each statement by itself: what an upgrade that was killed has done already is left."""
    there, indexes = _there()
    for table, columns in INDEXES:
        if (name := _name(table, columns)) not in indexes:
            op.create_index(name, table, list(columns))
    for table, column in REPLACED:
        if (name := _name(table, (column,))) in indexes or context.is_offline_mode():
            op.drop_index(name, table)
    if "source_vms" not in there:
        op.create_table(
            "source_vms",
            sa.Column("vm_id", sa.String(length=36), nullable=False),
            sa.Column("name", sa.String(length=255), nullable=False),
            sa.Column("path", TEXT, nullable=False),
            sa.Column("newest_job_id", sa.String(length=36), nullable=False),
            sa.Column("completed_job_id", sa.String(length=36), nullable=True),
            sa.ForeignKeyConstraint(
                ["newest_job_id"], ["replication_jobs.id"], name=op.f("fk_source_vms_newest_job_id")
            ),
            sa.ForeignKeyConstraint(
                ["completed_job_id"], ["replication_jobs.id"], name=op.f("fk_source_vms_completed_job_id")
            ),
            sa.PrimaryKeyConstraint("vm_id", name=op.f("pk_source_vms")),
        )
    for column in ("name", "newest_job_id", "completed_job_id"):
        if (name := _name("source_vms", (column,))) not in indexes:
            op.create_index(name, "source_vms", [column])
    if "source_volumes" not in there:
        op.create_table(
            "source_volumes",
            sa.Column("volume_id", sa.String(length=36), nullable=False),
            sa.Column("vm_id", sa.String(length=36), nullable=False),
            sa.Column("disk_id", sa.String(length=36), nullable=False),
            sa.PrimaryKeyConstraint("volume_id", name=op.f("pk_source_volumes")),
        )
    if (name := _name("source_volumes", ("vm_id",))) not in indexes:
        op.create_index(name, "source_volumes", ["vm_id"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("source_volumes")
    op.drop_table("source_vms")
    for table, column in REPLACED:
        op.create_index(_name(table, (column,)), table, [column])
    for table, columns in reversed(INDEXES):
        op.drop_index(_name(table, columns), table)


def _there() -> tuple[set[str], set[str]]:
    """Return the tables and the indexes that are there."""
    if context.is_offline_mode():
        return set(), set()
    looked = sa.inspect(op.get_bind())
    tables = set(looked.get_table_names())
    ours = {table for table, _ in INDEXES} | {"source_vms", "source_volumes"}
    return tables, {str(index["name"]) for table in tables & ours for index in looked.get_indexes(table)}


def _name(table: str, columns: tuple[str, ...]) -> str:
    return f"ix_{table}_{'_'.join(columns)}"
