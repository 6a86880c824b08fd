"""Tables of the OMA database: the cloud, replications, their disks, failovers, and CloudStack's jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index
from sqlmodel import Field

from migratekit_core.db.models.base import Key, LongText, OmaTable, Time, utcnow

ID = 36
"""Length of a UUID as text."""
NAME = 255
"""Longest name that both clouds allow."""


class OsseaConfig(OmaTable, table=True):
    """A CloudStack cloud. `api_key` and `secret_key` are stored encrypted (db.crypto)."""

    __tablename__ = "ossea_configs"

    id: int | None = Field(default=None, sa_type=Key, primary_key=True)
    name: str = Field(max_length=NAME, unique=True)
    api_url: str = Field(max_length=NAME)
    api_key: str = Field(sa_type=LongText)
    secret_key: str = Field(sa_type=LongText)
    domain: str = Field(default="ROOT", max_length=NAME)
    zone: str = Field(max_length=NAME)
    template_id: str | None = Field(default=None, max_length=ID)
    network_id: str | None = Field(default=None, max_length=ID)
    service_offering_id: str | None = Field(default=None, max_length=ID)
    disk_offering_id: str | None = Field(default=None, max_length=ID)
    oma_vm_id: str | None = Field(default=None, max_length=ID)
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})
    is_active: bool = True


class ReplicationJob(OmaTable, table=True):
    """One sync of one machine, full or incremental. The newest row of a machine describes its replica."""

    __tablename__ = "replication_jobs"

    id: str = Field(max_length=ID, primary_key=True)
    source_vm_id: str = Field(max_length=ID)
    """instanceUuid: it stays when the machine moves between hosts, and vCenter gives it to nobody else."""
    source_vm_name: str = Field(max_length=NAME, index=True)
    source_vm_path: str = Field(sa_type=LongText)
    vcenter_host: str = Field(max_length=NAME)
    datacenter: str = Field(max_length=NAME)
    replication_type: str = Field(max_length=32)
    target_network: str | None = Field(default=None, max_length=NAME)
    status: str = Field(max_length=32, index=True)
    progress_percent: float = 0.0
    current_operation: str | None = Field(default=None, max_length=NAME)
    bytes_transferred: int = Field(default=0, sa_type=BigInteger)
    total_bytes: int = Field(default=0, sa_type=BigInteger)
    transfer_speed_bps: int = Field(default=0, sa_type=BigInteger)
    """Bytes per second over the whole sync."""
    error_message: str | None = Field(default=None, sa_type=LongText)
    change_id: str | None = Field(default=None, max_length=NAME)
    previous_change_id: str | None = Field(default=None, max_length=NAME)
    snapshot_id: str | None = Field(default=None, max_length=NAME)
    nbd_port: int | None = None
    nbd_export_name: str | None = Field(default=None, max_length=NAME)
    target_device: str | None = Field(default=None, max_length=NAME)
    ossea_config_id: int | None = Field(default=None, sa_type=Key, foreign_key="ossea_configs.id")
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time, index=True)
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})
    started_at: datetime | None = Field(default=None, sa_type=Time)
    completed_at: datetime | None = Field(default=None, sa_type=Time)

    __table_args__ = (Index("ix_replication_jobs_source_vm_id_created_at", "source_vm_id", "created_at"),)


class VmDisk(OmaTable, table=True):
    """One disk within one replication. `disk_change_id` is what the volume `ossea_volume_id` is known to hold."""

    __tablename__ = "vm_disks"

    id: int | None = Field(default=None, sa_type=Key, primary_key=True)
    job_id: str = Field(max_length=ID, foreign_key="replication_jobs.id", index=True)
    disk_id: str = Field(max_length=ID)
    """The device key of vSphere (2000, 2001 …): it goes with the slot. What stays with the disk: `replica_disks`."""
    vmdk_path: str = Field(sa_type=LongText)
    size_gb: int
    """Size of the volume in GiB: the disk's capacity, rounded up."""
    datastore: str = Field(max_length=NAME)
    unit_number: int
    label: str = Field(max_length=NAME)
    capacity_bytes: int = Field(sa_type=BigInteger)
    provisioning_type: str = Field(max_length=32)
    ossea_volume_id: str | None = Field(default=None, max_length=ID, index=True)
    disk_change_id: str | None = Field(default=None, max_length=NAME)
    sync_status: str = Field(max_length=32)
    sync_progress_percent: float = 0.0
    bytes_synced: int = Field(default=0, sa_type=BigInteger)
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})


class FailoverJob(OmaTable, table=True):
    """A cut-over (`live`) or a rehearsal (`test`) of a replicated machine."""

    __tablename__ = "failover_jobs"

    id: str = Field(max_length=ID, primary_key=True)
    replication_job_id: str = Field(max_length=ID, foreign_key="replication_jobs.id")
    vm_id: str = Field(max_length=ID, index=True)
    job_type: str = Field(max_length=16)
    status: str = Field(max_length=32, index=True)
    destination_vm_id: str | None = Field(default=None, max_length=ID)
    linstor_snapshot_name: str | None = Field(default=None, sa_type=LongText)
    """Snapshots of a rehearsal. The column is named after the storage that the first deployments ran on."""
    network_mappings: dict[str, Any] | None = Field(default=None, sa_column=Column("network_mappings", JSON))
    error_message: str | None = Field(default=None, sa_type=LongText)
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})
    started_at: datetime | None = Field(default=None, sa_type=Time)
    completed_at: datetime | None = Field(default=None, sa_type=Time)


class CloudstackJob(OmaTable, table=True):
    """An asynchronous job of CloudStack, from the call that started it to its result."""

    __tablename__ = "cloudstack_job_tracking"

    id: int | None = Field(default=None, sa_type=Key, primary_key=True)
    cloudstack_job_id: str = Field(max_length=ID, unique=True)
    cloudstack_command: str = Field(max_length=64)
    cloudstack_status: str = Field(max_length=32)
    operation_type: str = Field(max_length=64)
    correlation_id: str = Field(max_length=ID, index=True)
    parent_job_id: str | None = Field(default=None, max_length=ID)
    status: str = Field(max_length=32, index=True)
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})


class FailoverState(OmaTable, table=True):
    """What a failover has to remember beyond the contract's columns: its intents and what it made."""

    __tablename__ = "failover_states"

    failover_job_id: str = Field(max_length=ID, primary_key=True, foreign_key="failover_jobs.id")
    committed: bool = False
    """Whether the volumes are being handed to the new machine: from here on the source is not replicated any more."""
    state: dict[str, Any] = Field(default_factory=dict, sa_column=Column("state", JSON, nullable=False))
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})


class ReplicationCheckpoint(OmaTable, table=True):
    """How far an interrupted copy got: all of its work list below `position` is written and flushed."""

    __tablename__ = "replication_checkpoints"

    volume_id: str = Field(max_length=ID, primary_key=True)
    job_id: str = Field(max_length=ID, foreign_key="replication_jobs.id")
    base_change_id: str | None = Field(default=None, max_length=NAME)
    """What the volume held before; None where the copy was a full one."""
    snapshot_change_id: str = Field(max_length=NAME)
    """The change id of the snapshot that was being copied."""
    position: int = Field(default=0, sa_type=BigInteger)
    """Offset in bytes on the disk: the work list is in ascending order."""
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})


class VmLock(OmaTable, table=True):
    """Who works on a machine. The lock itself is the database's (db.locks); the row is for the one who waits."""

    __tablename__ = "vm_locks"

    name: str = Field(max_length=64, primary_key=True)
    holder: str = Field(max_length=NAME)
    """What it is held for, and by which process, for people."""
    kind: str | None = Field(default=None, max_length=16)
    """A db.locks.LockKind; None for a row of before there were any."""
    token: str | None = Field(default=None, max_length=ID)
    """Of one holding of the lock: tells whether somebody else has held it meanwhile."""
    acquired_at: datetime = Field(default_factory=utcnow, sa_type=Time)
