"""The situations of single recordings, by their names; and the settings that their server had."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.lab.cloudstack import answers
from tests.lab.cloudstack.throttle import Window

from .world import CREATED, World

Case = Callable[[World], None]

PAGES_OF_5 = {"default_page_size": 5}
THROTTLED = {"throttle_calls": 12, "throttle_seconds": 15.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "listVolumes.default_page_size_5": PAGES_OF_5,
    "listVolumes.default_page_size_5.pagesize_10": PAGES_OF_5,
    "listVolumes.default_page_size_5.pagesize_501": PAGES_OF_5,
    "listNetworks.default_page_size_5": PAGES_OF_5,
    "listZones.throttled": THROTTLED,
    "createVolume.throttled": THROTTLED,
    "queryAsyncJobResult.throttled": THROTTLED,
    "listCapabilities.kvm_snapshot_disabled": {"kvm_snapshot": False} | THROTTLED,
}


def removed(kind: str, parameter: str = "id") -> Case:
    """What a parameter names was there once."""

    def case(world: World) -> None:
        for entity_id in world.parameters[parameter].split(","):
            world.removed(kind, entity_id)

    return case


def throttled(world: World) -> None:
    """The caller has had all his calls."""
    world.cloud.windows[world.recording.account] = Window(time.monotonic(), 12)


def destroyed(world: World) -> None:
    """The machine was destroyed, and is not expunged yet."""
    world.machine(world.parameters["id"], "Destroyed")


def members(*names: str) -> Case:
    """Only these are in the project, and there is no other one."""

    def case(world: World) -> None:
        found = [one for one in world.cloud.projects.values() if one.name == "proj1"]
        world.cloud.projects = {one.id: replace(one, members=frozenset(names)) for one in found}

    return case


def job_of(account: str, **changes: Any) -> Case:
    """There is a job of an account's."""

    def case(world: World) -> None:
        world.job(world.parameters["jobid"], account, "user.volume.AttachVolumeCmd", **changes)

    return case


def finished_job(world: World) -> None:
    """A job of the first account's has made a volume."""
    volume = world.volume("00000000-0000-4000-8000-000000000003", account="mig", state="Allocated")
    job_id = world.parameters["jobid"]
    world.busy(f"volume:{volume.id}", job_id)
    made = answers.volume(world.cloud, volume, world.cloud.account("mig"))
    del world.cloud.queues[f"volume:{volume.id}"]
    world.job(job_id, "mig", "user.volume.CreateVolumeCmd", jobstatus=1, completed=CREATED, jobresult={"volume": made})


def wrong_secret(world: World) -> None:
    """The caller signs with another secret."""
    world.secret = "not-the-secret"


CASES: dict[str, Case] = {
    "first:wrong_signature": wrong_secret,
    "first:listVolumes.deleted": removed("volume"),
    "first:listVirtualMachines.gone": removed("virtualmachine"),
    "first:listVirtualMachines.destroyed": destroyed,
    "first:deleteVolume.deleted": removed("volume"),
    "listVolumes.expunged": removed("volume"),
    "listVirtualMachines.destroyed.allow_view": destroyed,
    "destroyVirtualMachine.gone": removed("virtualmachine"),
    "listZones.throttled": throttled,
    "createVolume.throttled": throttled,
    "queryAsyncJobResult.throttled": throttled,
    "listProjects": members("mig"),
    "listProjects.member": members("mig", "other"),
    "listProjects.id.not_member": members("mig"),
    "listProjects.not_member": members("mig"),
    "queryAsyncJobResult.of_another_account": job_of("mig"),
    "queryAsyncJobResult.of_another_account.domain_admin": job_of("mig"),
    "queryAsyncJobResult.of_project_member": job_of("other"),
    "queryAsyncJobResult.project.not_member": job_of("other"),
    "queryAsyncJobResult.queued": job_of("mig"),
    "queryAsyncJobResult.of_sub_account.admin": finished_job,
}
