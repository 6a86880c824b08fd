"""The situations of single recordings, by their names; and the settings that their server had."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.lab.cloudstack import answers, catalogue
from tests.lab.cloudstack.model import Nic
from tests.lab.cloudstack.throttle import Window

from .places import HOSTS
from .world import CREATED, World

Case = Callable[[World], None]

M1, VM1, SWAPPED, PROJECT_VM = (
    "66be4ab8-b8a9-4476-a571-2d8060baf740", "c2fa18db-2175-4618-a984-915c6bb84dfd",
    "905abb63-59c5-473a-8ca4-a18c1522491d", "30441618-ed77-4b1d-bcc8-ce24bcfe351a",
)  # fmt: skip
"""Machines of the second server: one that was never started, one that runs, one whose root was swapped, a project's."""
FIRST_OMA, FIRST_VM = "d59ba11f-aaf6-4446-8d8f-89e2329353d8", "6bf83f3e-09cc-47c0-982a-8da09bd312cf"
S9B = "1b5dc09d-3f61-4cf2-9f48-d4f6fb97b805"
"""A volume that no answer shows."""
KVM_TEMPLATE = "f334c386-ecab-11f1-8f90-02fc00000001"

PAGES_OF_5 = {"default_page_size": 5}
THROTTLED = {"throttle_calls": 12, "throttle_seconds": 15.0}
CUSTOM_2_TO_50 = {"custom_disk_min": 2, "custom_disk_max": 50}
CLUSTER_POOL = {"pool_scope": "CLUSTER"}
SETTINGS: dict[str, dict[str, Any]] = {
    "listVolumes.default_page_size_5": PAGES_OF_5,
    "listVolumes.default_page_size_5.pagesize_10": PAGES_OF_5,
    "listVolumes.default_page_size_5.pagesize_501": PAGES_OF_5,
    "listNetworks.default_page_size_5": PAGES_OF_5,
    "listZones.throttled": THROTTLED,
    "createVolume.throttled": THROTTLED,
    "queryAsyncJobResult.throttled": THROTTLED,
    "listCapabilities.kvm_snapshot_disabled": {"kvm_snapshot": False} | THROTTLED,
    "createSnapshot.kvm_snapshot_disabled": {"kvm_snapshot": False},
    "createSnapshot.kvm_snapshot_disabled.as_admin": {"kvm_snapshot": False},
    "createSnapshot.kvm_snapshot_disabled.simulator": {"kvm_snapshot": False},
    "createSnapshot.kvm_snapshot_disabled.stopped": {"kvm_snapshot": False},
    "createVolume.above_2000.custom_max_raised": {"custom_disk_max": 10000},
    "createVolume.above_storage_max_volume_size": {"max_volume_size": 40},
    "createVolume.fixed_above_storage_max": {"max_volume_size": 40},
    "createVolume.custom_above_max": CUSTOM_2_TO_50,
    "createVolume.custom_below_min": CUSTOM_2_TO_50,
    "createVolume.custom_in_range": CUSTOM_2_TO_50,
    "first:destroyVirtualMachine.expunge_refused": {"allow_user_expunge": False},
    "first:deployVirtualMachine.volumeid_without_template": CLUSTER_POOL,
    "deployVirtualMachine.snapshotid.cluster_pool": CLUSTER_POOL,
    "deployVirtualMachine.volumeid.cluster_pool": CLUSTER_POOL,
}


def all_of(*cases: Case) -> Case:
    """Several situations at once."""

    def case(world: World) -> None:
        for one in cases:
            one(world)

    return case


def asked(**parameters: str) -> Case:
    """Parameters that the recording lacks."""

    def case(world: World) -> None:
        world.parameters.update(parameters)

    return case


def from_job(parameter: str, *path: str) -> Case:
    """A parameter that the recording lacks, from the job's row or from its result."""

    def case(world: World) -> None:
        job: Any = world.recording.job
        for name in path:
            job = job[name]
        world.parameters[parameter] = job

    return case


def volume(**changes: Any) -> Case:
    """The volume that is named, changed so."""

    def case(world: World) -> None:
        world.volume(world.parameters.get("id") or world.parameters["volumeid"], **changes)

    return case


def attached(vm_id: str, device: int = 1, **changes: Any) -> Case:
    """The volume that is named is attached to a machine."""

    def case(world: World) -> None:
        volume_id = world.parameters.get("id") or world.parameters["volumeid"]
        world.attached(volume_id, vm_id, device, **changes)

    return case


def root_of(vm_id: str, state: str, *, started: bool = True, **changes: Any) -> Case:
    """The volume that is named is the root volume of a machine."""

    def case(world: World) -> None:
        volume_id = world.parameters.get("id") or world.parameters["volumeid"]
        world.machine(vm_id, state, root=volume_id, started=started, **changes)

    return case


def machine(state: str, *, vm_id: str | None = None, data: bool = False, **changes: Any) -> Case:
    """The machine that is named, in a state; with a data disk if told so."""

    def case(world: World) -> None:
        named = vm_id or world.parameters.get("id") or world.parameters["virtualmachineid"]
        made = world.machine(named, state, **changes)
        if data:
            world.attached(f"{named[:-4]}dada", named, account=made.account)

    return case


def never_started(**details: str) -> Case:
    """The machine that is named was deployed and not started; it has these settings."""
    return machine("Stopped", started=False, details=details)


def limited(**limits: int) -> Case:
    """The caller may have no more of something."""

    def case(world: World) -> None:
        name = world.recording.account
        accounts = world.cloud.accounts
        world.cloud.accounts = {
            key: replace(one, limits=limits) if one.name == name else one for key, one in accounts.items()
        }

    return case


def project_limited(**limits: int) -> Case:
    """The project may have no more of something."""

    def case(world: World) -> None:
        found = world.cloud.projects
        world.cloud.projects = {key: replace(one, limits=limits) for key, one in found.items()}

    return case


def suspended(world: World) -> None:
    """The project is suspended."""
    world.cloud.projects = {key: replace(one, state="Suspended") for key, one in world.cloud.projects.items()}


def domain_limited(**limits: int) -> Case:
    """The domain tenant1 may have no more of something."""

    def case(world: World) -> None:
        world.cloud.domain_limits["ROOT/tenant1"] = (world.place.domains["ROOT/tenant1"], limits)

    return case


def tagged(key: str, value: str, kind: str = "Volume") -> Case:
    """What is named has a tag already."""

    def case(world: World) -> None:
        named = world.parameters.get("resourceids") or world.parameters["id"]
        for one in named.split(","):
            owner = world.owner(world.facts.best("volume" if kind == "Volume" else "virtualmachine", one))
            world.tag(one, key, value, kind, owner)

    return case


def taken(**changes: Any) -> Case:
    """Another machine has a card in the network that is asked for, with this address."""

    def case(world: World) -> None:
        asked_for = world.parameters
        network = asked_for.get("iptonetworklist[0].networkid") or asked_for["networkids"]
        fields = {"ipaddress": "10.1.1.251", "macaddress": "02:01:00:cc:0f:01"} | changes
        nic = Nic("00000000-0000-4000-8000-00000000000a", network, str(fields["macaddress"]),
                  str(fields["ipaddress"]), True, 0)  # fmt: skip
        world.machine("00000000-0000-4000-8000-00000000000b", "Running", nics=(nic,), account="mig",
                      name=str(fields.get("name", "holder")))  # fmt: skip

    return case


def on_every_host(world: World) -> None:
    """A machine of the affinity group runs on each host."""
    for number, row in enumerate(catalogue.rows("host")):
        vm_id = f"00000000-0000-4000-8000-00000000001{number}"
        group = world.parameters["affinitygroupids"]
        world.machine(vm_id, "Running", hostid=row["id"], affinitygroups=(group,), account="mig")


def snapshot(**changes: Any) -> Case:
    """The snapshot that is named, changed so."""

    def case(world: World) -> None:
        world.snapshot(world.parameters.get("id") or world.parameters["snapshotid"], **changes)

    return case


def without_groups(world: World) -> None:
    """The affinity group was deleted."""
    tables = {kind: catalogue.rows(kind) for kind in catalogue.kinds()}
    catalogue.use(tables | {"affinitygroup": []})


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


def placeless(world: World) -> None:
    """The volume was never attached."""
    world.volume(world.parameters["volumeid"], state="Allocated")


def second_device(world: World) -> None:
    """A volume is the machine's device 2."""
    world.attached("0e3e1a58-2789-49b1-adf2-ad15d27c7c23", world.parameters["virtualmachineid"], 2)


SIMULATOR = "0d013e69-ecac-11f1-8f90-02fc00000001"
STOPPED_UEFI = never_started(UEFI="SECURE")
PROJECT_VM_RUNS = all_of(machine("Running", vm_id=PROJECT_VM, data=True), tagged("migratekit", "p", "UserVm"))
CASES: dict[str, Case] = {
    "first:wrong_signature": wrong_secret,
    "first:listVolumes.deleted": removed("volume"),
    "first:listVirtualMachines.gone": removed("virtualmachine"),
    "first:listVirtualMachines.destroyed": destroyed,
    "first:deleteVolume.deleted": removed("volume"),
    "first:deleteVolume.attached": attached(FIRST_VM),
    "first:createVolume.quota": limited(volume=0),
    "first:attachVolume": tagged("migratekit", "x"),
    "first:attachVolume.again": attached(FIRST_OMA),
    "first:attachVolume.root": machine("Stopped", root=None),
    "first:attachVolume.data": machine("Stopped", started=True),
    "first:detachVolume": attached(FIRST_OMA),
    "first:detachVolume.root": root_of(FIRST_VM, "Stopped", started=False),
    "first:detachVolume.root.running": root_of(FIRST_VM, "Running"),
    "first:detachVolume.root.stopped": attached(FIRST_VM, 0),
    "first:destroyVirtualMachine": never_started(deployvm="true"),
    "first:startVirtualMachine": machine(
        "Stopped", data=True, details={"nicAdapter": "virtio", "rootDiskController": "virtio"}
    ),
    "first:stopVirtualMachine.forced": machine(
        "Running", data=True, details={"nicAdapter": "virtio", "rootDiskController": "virtio"}
    ),
    "first:updateVirtualMachine.ostypeid": never_started(
        nicAdapter="virtio", rootDiskController="virtio", deployvm="true"
    ),
    "first:deployVirtualMachine.same_name": taken(name="rec-vm"),
    "listVolumes.expunged": removed("volume"),
    "listVirtualMachines.destroyed.allow_view": destroyed,
    "listVirtualMachines.affinitygroupid": without_groups,
    "listVolumes.after_expunge.volumeids": removed("volume", "ids"),
    "destroyVirtualMachine.gone": removed("virtualmachine"),
    "destroyVirtualMachine.after_crash": machine("Stopped", started=False, hostid=HOSTS[0]),
    "destroyVirtualMachine.deleteprotection": machine("Stopped", started=False, deleteprotection=True),
    "destroyVirtualMachine.with_data_disks": machine("Running", data=True),
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
    "createSnapshot.asyncbackup": attached(VM1),
    "createSnapshot.attached_running": attached(VM1),
    "createSnapshot.detached": volume(name="s9b"),
    "createSnapshot.during_attach": volume(state="Attaching"),
    "createSnapshot.during_resize": volume(state="Resizing"),
    "createSnapshot.during_snapshot": volume(state="Snapshotting"),
    "createSnapshot.first_of_two": all_of(from_job("volumeid", "jobresult", "snapshot", "volumeid"), attached(VM1)),
    "createSnapshot.second_at_once": all_of(from_job("volumeid", "jobresult", "snapshot", "volumeid"), attached(VM1)),
    "createSnapshot.with_detach_at_once": all_of(
        from_job("volumeid", "jobresult", "snapshot", "volumeid"), attached(VM1)
    ),
    "createSnapshot.kvm_snapshot_disabled": all_of(
        machine("Running", vm_id=VM1, templateid=KVM_TEMPLATE), attached(VM1)
    ),
    "createSnapshot.kvm_snapshot_disabled.as_admin": all_of(
        machine("Running", vm_id=VM1, templateid=KVM_TEMPLATE), attached(VM1)
    ),
    "createSnapshot.kvm_snapshot_disabled.stopped": all_of(
        machine("Stopped", vm_id=VM1, templateid=KVM_TEMPLATE), attached(VM1)
    ),
    "createSnapshot.kvm_snapshot_disabled.simulator": root_of(VM1, "Running"),
    "createSnapshot.locationtype": volume(),
    "createSnapshot.name_long": volume(),
    "createSnapshot.never_attached": volume(state="Allocated"),
    "createSnapshot.project.limit": project_limited(snapshot=0),
    "createSnapshot.project": attached(PROJECT_VM),
    "createSnapshot.project.tags": attached(PROJECT_VM),
    "createSnapshot.quiescevm": attached(VM1),
    "createSnapshot.resize": attached(VM1),
    "createSnapshot.cross": attached(VM1),
    "createSnapshot.domain_admin.volume_of_sub_account": attached("b6bb5bd4-7013-41a6-a31f-34d6c1683db3"),
    "createSnapshot.root.zone_wide": root_of("9c1e651f-08fa-4ddf-bf7f-a56d70710426", "Running"),
    "createSnapshot.root_running": root_of(VM1, "Running"),
    "createSnapshot.vm_has_vmsnapshot": root_of(VM1, "Running"),
    "createSnapshot.same_name": attached(VM1),
    "createSnapshot.swapped_root": all_of(machine("Running", vm_id=SWAPPED, root=None), attached(SWAPPED, 0)),
    "createTags.same_key.again": tagged("k1", "v1"),
    "deleteTags": tagged("k1", "v1"),
    "deleteSnapshot.again": removed("snapshot"),
    "startVirtualMachine.after_assign": machine("Stopped", data=True),
    "startVirtualMachine.considerlasthost": machine("Stopped", started=False),
    "startVirtualMachine.considerlasthost.stopped": machine("Stopped"),
    "startVirtualMachine.considerlasthost_false": machine(
        "Stopped", affinitygroups=("8849bf9b-a0e9-4ad7-a500-9f1726fba9c9",)
    ),
    "startVirtualMachine.hostid_as_user": machine("Stopped"),
    "startVirtualMachine.project": all_of(machine("Stopped", data=True), tagged("migratekit", "p", "UserVm")),
    "startVirtualMachine.project.reactivated": all_of(
        machine("Stopped", data=True), tagged("migratekit", "p", "UserVm")
    ),
    "startVirtualMachine.project.suspended": all_of(machine("Stopped"), suspended),
    "startVirtualMachine.swapped_root": machine("Stopped", data=True),
    "startVirtualMachine.uefi_no_host": never_started(UEFI="LEGACY"),
    "startVirtualMachine.volume_in_another_cluster": machine("Stopped", data=True),
    "startVirtualMachine.without_root": machine("Stopped", root=None),
    "startVirtualMachine.template_of_other_hypervisor": machine("Stopped", started=False, templateid=KVM_TEMPLATE),
    "startVirtualMachine.running": machine("Running"),
    "stopVirtualMachine": machine("Running"),
    "stopVirtualMachine.again": machine("Stopped"),
    "stopVirtualMachine.forced.again": never_started(UEFI="SECURE"),
    "stopVirtualMachine.project": all_of(machine("Running", data=True), tagged("migratekit", "p", "UserVm")),
    "stopVirtualMachine.with_detach_at_once": machine("Running", data=True),
    "updateVirtualMachine.cleanupdetails": STOPPED_UEFI,
    "updateVirtualMachine.deleteprotection": STOPPED_UEFI,
    "updateVirtualMachine.deleteprotection.off": STOPPED_UEFI,
    "updateVirtualMachine.details.UEFI": never_started(nonsense="1"),
    "updateVirtualMachine.details.extraconfig": STOPPED_UEFI,
    "updateVirtualMachine.details.second": never_started(),
    "updateVirtualMachine.details.unknown": never_started(),
    "updateVirtualMachine.details.denied": never_started(),
    "updateVirtualMachine.details.stopped": never_started(),
    "updateVirtualMachine.details.readonly": never_started(),
    "updateVirtualMachine.displayname.html": STOPPED_UEFI,
    "updateVirtualMachine.displayname.utf8": STOPPED_UEFI,
    "updateVirtualMachine.name.running": machine("Running", data=True),
    "updateVirtualMachine.name.stopped": STOPPED_UEFI,
    "updateVirtualMachine.name.taken_in_network": STOPPED_UEFI,
    "updateVirtualMachine.ostypeid.running": machine("Running", data=True),
    "updateVirtualMachine.ostypeid.stopped": STOPPED_UEFI,
    "updateVirtualMachine.project.member": PROJECT_VM_RUNS,
    "updateVirtualMachine.securitygroups.stopped": machine("Stopped"),
    "updateVirtualMachine.userdata": machine(
        "Stopped",
        started=False,
        details={"deployvm": "true"},
        extra={"userdataid": "7b8b9d00-5b23-4a5d-a59e-4103209af4c2", "userdataname": "ud1"},
    ),
    "deployVirtualMachine.affinity.no_host_left": on_every_host,
    "deployVirtualMachine.domain_limit": domain_limited(volume=0),
    "deployVirtualMachine.iptonetworklist.shared.taken": taken(ipaddress="10.70.0.15"),
    "deployVirtualMachine.iptonetworklist.taken": taken(ipaddress="10.1.1.80"),
    "deployVirtualMachine.iptonetworklist.taken.as_admin": taken(ipaddress="10.1.1.50"),
    "deployVirtualMachine.iptonetworklist.taken.stopped": taken(ipaddress="10.1.1.50"),
    "deployVirtualMachine.sg_zone.ip_taken": taken(ipaddress="10.60.0.150"),
    "deployVirtualMachine.mac.duplicate_same_network": taken(macaddress="00:50:56:aa:bb:01"),
    "deployVirtualMachine.project.limit_cpus": project_limited(cpu=0),
    "deployVirtualMachine.project.limit_instances": project_limited(user_vm=0),
    "deployVirtualMachine.project.limit_volumes": project_limited(volume=0),
    "deployVirtualMachine.snapshotid.root.zone_wide": snapshot(templateid=SIMULATOR),
    "deployVirtualMachine.volumeid.allocated": placeless,
    "createVolume.account_limit": limited(volume=0),
    "createVolume.domain_limit": domain_limited(volume=0),
    "createVolume.domain_limit.primary_storage": domain_limited(primary_storage=15),
    "createVolume.domain_limit.sub_domain": domain_limited(volume=0),
    "createVolume.project.limit": project_limited(volume=0),
    "createVolume.project.limit_primary_storage": project_limited(primary_storage=12),
    "createVolume.project.suspended": suspended,
    "createVolume.snapshot.deleted": removed("snapshot", "snapshotid"),
    "createVolume.snapshot.root": snapshot(volumetype="ROOT", templateid=SIMULATOR, diskofferingid=None),
    "createVolume.snapshot.smaller_of_root": snapshot(volumetype="ROOT", templateid=SIMULATOR, diskofferingid=None),
    "deleteVolume.deleteprotection": volume(deleteprotection=True),
    "deleteVolume.during_attach": volume(state="Attaching"),
    "deleteVolume.during_migration": volume(state="Migrating"),
    "deleteVolume.during_snapshot": volume(state="Snapshotting"),
    "deleteVolume.during_snapshot.detached": volume(state="Snapshotting"),
    "deleteVolume.with_snapshots": volume(),
    "detachVolume.deleteprotection": attached(VM1, deleteprotection=True),
    "detachVolume.during_resize": attached(VM1),
    "detachVolume.during_snapshot": all_of(from_job("id", "jobinstanceid"), attached(VM1)),
    "detachVolume.during_snapshot.slow": attached(VM1, state="Snapshotting"),
    "detachVolume.project.projectid_given": attached(PROJECT_VM),
    "detachVolume.root.never_started": root_of(SWAPPED, "Stopped", started=False),
    "detachVolume.root.zone_wide": root_of("9c1e651f-08fa-4ddf-bf7f-a56d70710426", "Stopped"),
    "detachVolume.with_stop_at_once": attached(VM1),
    "detachVolume.zone_wide": attached(VM1),
    "attachVolume.already_attached_elsewhere": all_of(machine("Stopped", vm_id=SWAPPED, root=None), attached(VM1)),
    "attachVolume.as_root.volume_of_pool": machine("Stopped", root=None),
    "attachVolume.destroyed": volume(state="Destroy"),
    "attachVolume.deviceid_0_root_present": all_of(machine("Stopped"), volume()),
    "attachVolume.deviceid_0_running": volume(),
    "attachVolume.deviceid_99": volume(),
    "attachVolume.deviceid_taken": second_device,
    "attachVolume.during_migration": volume(state="Migrating"),
    "attachVolume.during_snapshot": volume(state="Snapshotting"),
    "attachVolume.project.suspended": suspended,
    "attachVolume.vm_never_started_other_hypervisor": all_of(
        machine("Stopped", started=False, templateid=KVM_TEMPLATE), volume(state="Allocated")
    ),
    "attachVolume.volume_of_simulator_to_kvm_vm": machine("Stopped", started=False, templateid=KVM_TEMPLATE),
    "attachVolume.encrypted": volume(state="Allocated"),
    "attachVolume.no_pool_with_tag": volume(state="Allocated"),
    "listSnapshots.locationtype": lambda world: world.removed("volume", S9B),
    "listSnapshots.volumeid": lambda world: world.removed("volume", S9B),
}
