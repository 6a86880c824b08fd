"""waves: what is moved together, its machines, and every attempt at one."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0007_waves"
down_revision = "0006_joblog"
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mariadb").with_variant(mysql.DATETIME(fsp=6), "mysql")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mariadb").with_variant(mysql.LONGTEXT(), "mysql")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply. MariaDB commits each statement by itself: what an upgrade that was killed has done already is left."""
    op.create_table(
        "waves",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("content", TEXT, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("task", sa.String(length=16), nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("cancel_asked", sa.Boolean(), nullable=False),
        sa.Column("asked_by", sa.String(length=255), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waves")),
        sa.UniqueConstraint("name", name=op.f("uq_waves_name")),
        if_not_exists=True,
    )
    op.create_index(op.f("ix_waves_status"), "waves", ["status"], unique=False, if_not_exists=True)
    op.create_table(
        "wave_vms",
        sa.Column("id", KEY, nullable=False),
        sa.Column("wave_id", sa.String(length=36), nullable=False),
        sa.Column("vm_id", sa.String(length=255), nullable=False),
        sa.Column("vm_name", sa.String(length=255), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("group_name", sa.String(length=255), nullable=False),
        sa.Column("vcenter", sa.String(length=255), nullable=False),
        sa.Column("oma", sa.String(length=255), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("came_from", sa.String(length=16), nullable=False),
        sa.Column("task", sa.String(length=16), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=True),
        sa.Column("token", sa.String(length=36), nullable=True),
        sa.Column("heartbeat_at", TIME, nullable=True),
        sa.Column("cancel_asked", sa.Boolean(), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False),
        sa.Column("rate", sa.BigInteger(), nullable=False),
        sa.Column("error_what", TEXT, nullable=True),
        sa.Column("error_why", TEXT, nullable=True),
        sa.Column("error_todo", TEXT, nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["wave_id"], ["waves.id"], name=op.f("fk_wave_vms_wave_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wave_vms")),
        sa.UniqueConstraint("wave_id", "vm_id", name=op.f("uq_wave_vms_wave_id")),
        if_not_exists=True,
    )
    op.create_index(op.f("ix_wave_vms_state"), "wave_vms", ["state", "heartbeat_at"], unique=False, if_not_exists=True)
    op.create_index(op.f("ix_wave_vms_vm_id"), "wave_vms", ["vm_id"], unique=False, if_not_exists=True)
    op.create_table(
        "wave_attempts",
        sa.Column("token", sa.String(length=36), nullable=False),
        sa.Column("machine_id", KEY, nullable=False),
        sa.Column("task", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("error_what", TEXT, nullable=True),
        sa.Column("error_why", TEXT, nullable=True),
        sa.Column("error_todo", TEXT, nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["machine_id"], ["wave_vms.id"], name=op.f("fk_wave_attempts_machine_id")),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_wave_attempts")),
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_wave_attempts_machine_id"), "wave_attempts", ["machine_id"], unique=False, if_not_exists=True
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("wave_attempts")
    op.drop_table("wave_vms")
    op.drop_table("waves")
