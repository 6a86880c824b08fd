"""Moves a replica's volumes from the OMA to the new machine.

CloudStack runs the jobs of one virtual machine one after another. The OMA and the new machine are two, so a volume is
attached to the one while the next is detached from the other.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import chain

from migratekit_core.joblog import Job, Step
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.failover import deploy
from migratekit_core.volumed.client import VolumeClient

STEP = "move-volumes"


def move(volumes: VolumeClient, job: Job, vm_id: str, volume_ids: list[str]) -> None:
    """Have the volumes be on the machine, the first as its root disk; those that are there already stay.

    What fails first is raised, when what is under way has ended. Raises CancelledError where the job is asked to stop.
    """
    with job.step(STEP) as step, ThreadPoolExecutor(1, thread_name_prefix="attach") as pool:
        attaching: Future[None] | None = None
        for volume_id, device_id in zip(volume_ids, chain((0,), deploy.data_devices()), strict=False):
            job.stop_if_cancelled()
            volume = deploy.there(volumes, volume_id)
            if volume["vm_id"] == vm_id:
                continue
            if volume["vm_id"] is not None:
                volumes.unexport(volume_id)
                volumes.detach(volume_id)
            if attaching is not None:
                attaching.result()
            attaching = pool.submit(copy_context().run, _attach, volumes, step, vm_id, volume_id, device_id)
        if attaching is not None:
            attaching.result()


def _attach(volumes: VolumeClient, step: Step, vm_id: str, volume_id: str, device_id: int) -> None:
    done = volumes.attach(volume_id, vm_id, device_id)
    step.log(EventKind.DATA_DISK_ATTACHED, volume_id=volume_id, vm_id=vm_id, device_id=device_id)
    if done.get("moved_from"):
        step.log(
            EventKind.VOLUME_MOVED_POOL,
            level="warning",
            volume_id=volume_id,
            before=done["moved_from"],
            after=done.get("moved_to"),
        )
