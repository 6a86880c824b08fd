"""Situations to be put together: what a recorded call found, as functions that change a world."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.lab.cloudstack import answers, catalogue, jobs
from tests.lab.cloudstack.model import Nic
from tests.lab.cloudstack.throttle import Window

from . import ask
from .places import PROJECT_ACCOUNT
from .world import CREATED, World

MACHINE_SNAPSHOT = "e08390a2-4e60-452b-891d-9b96e761d6ce"
Case = Callable[[World], None]
"""Changes the cloud that a call finds, before the call."""


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
        world.volume(world.parameters.get("volumeid") or world.parameters["id"], **changes)

    return case


def attached(vm_id: str, device: int = 1, **changes: Any) -> Case:
    """The volume that is named is attached to a machine."""

    def case(world: World) -> None:
        volume_id = world.parameters.get("volumeid") or world.parameters["id"]
        world.attached(volume_id, vm_id, device, **changes)

    return case


def root_of(vm_id: str, state: str, *, started: bool = True, **changes: Any) -> Case:
    """The volume that is named is the root volume of a machine."""

    def case(world: World) -> None:
        volume_id = world.parameters.get("volumeid") or world.parameters["id"]
        world.machine(vm_id, state, root=volume_id, started=started, **changes)

    return case


def machine(
    state: str, *, vm_id: str | None = None, data: bool = False, older_data: bool = False, **changes: Any
) -> Case:  # fmt: skip
    """The machine that is named, in a state; with a data disk if told so, one that is older than the machine."""

    def case(world: World) -> None:
        named = vm_id or world.parameters.get("virtualmachineid") or world.parameters["id"]
        if older_data:
            data_id = f"{named[:-4]}dada"
            world.volume(data_id, virtualmachineid=named, deviceid=1, attached=CREATED, account=PROJECT_ACCOUNT)
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


def implemented(*names: str) -> Case:
    """Machines have run in these networks since the facts were seen, or in all: they have their VLANs."""

    def case(world: World) -> None:
        found = []
        for row in catalogue.rows("network"):
            waits = row["state"] == "Allocated" and (not names or row["name"] in names)
            found.append(row | {"state": "Implemented"} if waits else row)
        catalogue.use({kind: catalogue.rows(kind) for kind in catalogue.kinds()} | {"network": found})

    return case


def with_volume(world: World) -> None:
    """The volumes that are to go with the machine are attached to it."""
    for volume_id in world.parameters["volumeids"].split(","):
        world.attached(volume_id, world.parameters["id"])


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


def restarted(world: World) -> None:
    """The management server is restarted while the job works or waits."""
    world.meanwhile = lambda: jobs.interrupt(world.cloud)


class _Counted(threading.Condition):
    """Counts who waits for a turn."""

    waiting = 0

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait, and be counted."""
        self.waiting += 1
        return super().wait_for(predicate, timeout)


def asked_twice(world: World) -> None:
    """The same was asked just before; both jobs wait for another one on the machine, which ends then."""
    cloud, asked_for, name = world.cloud, world.parameters, world.recording.account
    caller, queue = ask.Caller(f"key-of-{name}", f"secret-of-{name}"), f"virtualmachine:{asked_for['virtualmachineid']}"
    cloud.turns = turns = _Counted(cloud.lock)
    world.busy(queue, "00000000-0000-4000-8000-0000000000b1")

    def end() -> None:
        """Let the job end that is in the way, once both have looked at the rules."""
        until = time.monotonic() + ask.PATIENCE
        while turns.waiting < 2 and time.monotonic() < until:
            time.sleep(0.002)
        with turns:
            cloud.queues[queue].popleft()
            turns.notify_all()

    world.before = lambda server: ask.call(server, caller, world.recording.command, asked_for, "GET") and None
    world.meanwhile = end


def full(world: World) -> None:
    """The machine has as many data disks as it takes (one, by the settings of the case)."""
    world.attached("00000000-0000-4000-8000-0000000000f1", world.parameters["virtualmachineid"])


def machine_snapshot(vm_id: str) -> Case:
    """The machine has a snapshot."""

    def case(world: World) -> None:
        world.machine_snapshot(MACHINE_SNAPSHOT, vm_id)

    return case


def snapshot_under_way(state: str) -> Case:
    """A snapshot of the volume that is named is not done yet."""

    def case(world: World) -> None:
        world.snapshot("00000000-0000-4000-8000-0000000000c1", volumeid=world.parameters["id"], state=state)

    return case


def snapshot_ends(vm_id: str) -> Case:
    """The volume that is named is Snapshotting, and the machine busy with it; that ends after the request."""

    def case(world: World) -> None:
        cloud, volume_id, queue = world.cloud, world.parameters["id"], f"virtualmachine:{vm_id}"
        world.attached(volume_id, vm_id, state="Snapshotting")
        world.busy(queue, "00000000-0000-4000-8000-0000000000b1")

        def end() -> None:
            with cloud.turns:
                cloud.volumes[volume_id] = replace(cloud.volumes[volume_id], state="Ready")
                cloud.queues[queue].popleft()
                cloud.turns.notify_all()

        world.meanwhile = end

    return case
