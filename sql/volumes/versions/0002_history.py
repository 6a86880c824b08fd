"""history: operations by when they ended, for the reconciler."""

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NAME, TABLE = "ix_volume_operations_completed_at", "volume_operations"


def upgrade() -> None:
    """Apply; what an upgrade that was killed has done already is left."""
    offline = context.is_offline_mode()
    if offline or NAME not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(TABLE)}:
        op.create_index(NAME, TABLE, ["completed_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_index(NAME, TABLE)
