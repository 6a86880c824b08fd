"""event kinds: what programs go by instead of an event's text; what a lock is held for, and by which run."""

import sqlalchemy as sa
from alembic import context, op

revision = "0019_event_kinds"
down_revision = "0012_fleet"
branch_labels = None
depends_on = None

TEXTS = {
    "asked to stop": "stop-asked",
    "cannot be cancelled any more": "cancel-closed",
    "given up: its host is gone": "given-up",
    "asked for other settings": "settings-asked",
    "asked to cut over now": "cutover-asked",
    "asked": "wave-asked",
    "cleaned up after an interrupted run": "leftovers-cleaned",
    "changed-block tracking": "change-tracking",
    "volume ready": "volume-ready",
    "plan": "disk-planned",
    "changes unknown, copying everything": "changes-unknown",
    "compared": "disk-differences",
    "disk copied": "disk-copied",
    "identical": "disk-identical",
    "volume deleted": "volume-deleted",
    "failover": "failover-joined",
    "target": "target-chosen",
    "waits until it may cut over": "cutover-waits",
    "predicted downtime": "downtime-predicted",
    "source is off": "source-off",
    "every disk is synced": "disks-synced",
    "identical by digests": "digests-identical",
    "machine exists": "machine-exists",
    "OS type set": "os-type-set",
    "OS type is right": "os-type-right",
    "OS type not set": "os-type-not-set",
    "data disk attached": "data-disk-attached",
    "machine runs": "machine-runs",
    "machine is up": "machine-up",
    "machine is not up": "machine-not-up",
    "volume attached": "volume-attached",
    "snapshot taken": "snapshot-taken",
    "snapshot deleted": "snapshot-deleted",
    "volume made": "volume-made",
    "going back": "rollback-begun",
    "machine is stopped": "machine-stopped",
    "volume taken off": "volume-taken-off",
    "volume not taken off": "volume-not-taken-off",
    "source started": "source-back",
    "source was running": "source-back",
    "source left off": "source-back",
    "volume attached to the OMA": "volume-back",
    "volume left detached": "volume-left-detached",
    "replication may go on": "replication-allowed",
    "machine destroyed": "machine-destroyed",
    "machine destroyed, not expunged": "machine-not-expunged",
    "machine was gone": "machine-absent",
    "machine removed": "orphan-removed",
    "volume removed": "orphan-removed",
    "snapshot removed": "orphan-removed",
    "the guest is converted": "guest-converts",
    "the guest is not converted": "guest-stays",
    "the guest cannot be looked into": "guest-unreadable",
    "virtio is built into the kernel": "virtio-built-in",
    "an initramfs cannot be read": "initramfs-unreadable",
    "looked into the initramfs": "initramfs-read",
    "conversion begins": "conversion-begun",
    "guest converted": "guest-converted",
    "the snapshot is gone": "conversion-snapshot-gone",
    "replica put back": "replica-put-back",
    "converted volume deleted": "converted-volume-deleted",
    "volume created": "volume-created",
    "volume taken back": "volume-taken-back",
    "device found": "device-found",
    "attached but without a device, attaching again": "device-missing",
    "attached": "attached",
    "detached": "detached",
    "exported": "exported",
    "export removed": "export-removed",
    "hashed": "hashed",
    "room made": "room-made",
    "volume could not be detached": "room-not-made",
    "drift": "drift-confirmed",
    "repaired": "drift-repaired",
    "export taken back": "export-taken-back",
    "export taken back, its connections stay open": "export-taken-back-in-use",
    "what a probe has left is removed": "probe-leftover-removed",
    "what a probe has left is not removed": "probe-leftover-stays",
}
"""What was said before events had kinds (0.1.0, and what followed it), and the kind of each. It does not change when
texts or kinds do: rows of then are what it is for."""
PATTERNS = {
    "rehearsal %, whose row is lost": "rehearsal-lost",
    "rehearsal %": "rehearsal-found",
    "drift is over: %": "drift-over",
    "drift: %": "drift-found",
}
"""The same for texts with something of the event in them, as LIKE takes them; the first that fits counts."""


def upgrade() -> None:
    """Apply. MariaDB commits each statement by itself: what an upgrade that was killed has done already is left."""
    _add("joblog_events", sa.Column("kind", sa.String(length=64), nullable=True))
    _add("vm_locks", sa.Column("kind", sa.String(length=16), nullable=True))
    _add("vm_locks", sa.Column("token", sa.String(length=36), nullable=True))
    op.execute(_named())


def _add(table: str, column: sa.Column[str]) -> None:
    # SQLite has no ADD COLUMN IF NOT EXISTS.
    known = [] if context.is_offline_mode() else sa.inspect(op.get_bind()).get_columns(table)
    if column.name not in {each["name"] for each in known}:
        op.add_column(table, column)


def _named() -> sa.Update:
    """Return the statement that gives the events that are there their kinds; other texts get none."""
    events = sa.table("joblog_events", sa.column("kind"), sa.column("message"), sa.column("fields"))
    message = events.c.message

    def has(name: str) -> sa.ColumnElement[bool]:
        return sa.func.json_extract(events.c.fields, f"$.{name}").is_not(None)

    kind = sa.case(
        # What another program wrote may be any text, also one of ours.
        (has("tool"), "tool-output"),
        (sa.and_(message == "snapshot taken", has("snapshot")), "source-snapshot-taken"),
        (sa.and_(message.like("% differ"), has("differing")), "disk-different"),
        *((message.like(pattern), named) for pattern, named in PATTERNS.items()),
        (sa.and_(message.like("%: done"), has("seconds")), "probe-step-done"),
        else_=sa.case(TEXTS, value=message),
    )
    return sa.update(events).where(events.c.kind.is_(None)).values(kind=kind)


def downgrade() -> None:
    """Take back."""
    for table, column in (("vm_locks", "token"), ("vm_locks", "kind"), ("joblog_events", "kind")):
        op.drop_column(table, column)
