"""Keeps the small tables of machines and volumes in step with the syncs: always within the transaction of the sync's
own rows. What they hold follows from those rows, so an upgrade fills them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from migratekit_core.common.vsphere_names import spellings
from migratekit_core.db.models.oma import ReplicationJob
from migratekit_core.db.models.sources import SourceVm, SourceVolume

COMPLETED = "completed"

FILL = (
    """
    INSERT INTO source_vms (vm_id, name, path, newest_job_id, completed_job_id)
    SELECT job.source_vm_id, job.source_vm_name, job.source_vm_path, job.id,
           (SELECT done.id FROM replication_jobs done
            WHERE done.source_vm_id = job.source_vm_id AND done.status = 'completed'
            ORDER BY done.created_at DESC, done.id DESC LIMIT 1)
    FROM (SELECT DISTINCT source_vm_id FROM replication_jobs) vm
    JOIN replication_jobs job ON job.id =
         (SELECT newest.id FROM replication_jobs newest WHERE newest.source_vm_id = vm.source_vm_id
          ORDER BY newest.created_at DESC, newest.id DESC LIMIT 1)
    WHERE NOT EXISTS (SELECT 1 FROM source_vms known WHERE known.vm_id = vm.source_vm_id)
    """,
    """
    INSERT INTO source_volumes (volume_id, vm_id, disk_id)
    SELECT disk.ossea_volume_id, MIN(job.source_vm_id), MIN(disk.disk_id)
    FROM vm_disks disk JOIN replication_jobs job ON job.id = disk.job_id
    WHERE disk.ossea_volume_id IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM source_volumes known WHERE known.volume_id = disk.ossea_volume_id)
    GROUP BY disk.ossea_volume_id
    """,
)
"""For a database of before there were these tables; what is there already stays."""


def fill(connection: Connection) -> None:
    """Write the rows that syncs of earlier versions did not; the caller commits."""
    for statement in FILL:
        connection.exec_driver_sql(statement)


def note_sync(db: Session, job: ReplicationJob) -> None:
    """Take a sync that began, or was completed, as its machine's newest. The sync's row is flushed already."""
    row = db.get(SourceVm, job.source_vm_id)
    if row is None:
        row = SourceVm(vm_id=job.source_vm_id, name=job.source_vm_name, path=job.source_vm_path, newest_job_id=job.id)
    row.name, row.path, row.newest_job_id = job.source_vm_name, job.source_vm_path, job.id
    if job.status == COMPLETED:
        row.completed_job_id = job.id
    db.add(row)


def note_volume(db: Session, vm_id: str, disk_id: str, volume_id: str) -> None:
    """Take a volume as one that a machine's disk was copied to."""
    if db.get(SourceVolume, volume_id) is None:
        db.add(SourceVolume(volume_id=volume_id, vm_id=vm_id, disk_id=disk_id))


def called(names: Sequence[str]) -> SelectOfScalar[SourceVm]:
    """Return the query for the machines with one of these names, paths or instanceUuids, however they are spelled."""
    names = sorted(frozenset().union(*map(spellings, names)))
    query = select(SourceVm).where(
        col(SourceVm.name).in_(names) | col(SourceVm.vm_id).in_(names) | col(SourceVm.path).in_(names)
    )
    return query.order_by(col(SourceVm.vm_id))
