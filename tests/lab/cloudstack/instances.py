"""startVirtualMachine, stopVirtualMachine, destroyVirtualMachine, expungeVirtualMachine, updateVirtualMachine.

A started machine is one whose state says Running; those that a test asked for boot for real (`guests`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from . import answers, catalogue, devices, expunging, storage, texts
from .attachments import detach
from .call import Call, Work, flag, items, mappings, need, text
from .errors import ApiError, invalid_value, no_capacity, runtime
from .lookup import existing_vm
from .model import Vm, now
from .state import Cloud, root_of, volumes_of


def answer(call: Call, vm_id: str) -> Mapping[str, Any]:
    with call.cloud.lock:
        return {"virtualmachine": answers.virtualmachine(call.cloud, call.cloud.vms[vm_id], call.account)}


def _put(cloud: Cloud, vm_id: str, **changes: Any) -> Vm:
    with cloud.lock:
        if "state" in changes:
            changes["updated"] = now()
        cloud.vms[vm_id] = replace(cloud.vms[vm_id], **changes)
        return cloud.vms[vm_id]


def _resources(call: Call, vm_id: str) -> tuple[str, ...]:
    """A job on a machine is also one on each of its volumes."""
    return (f"virtualmachine:{vm_id}", *(f"volume:{volume.id}" for volume in volumes_of(call.cloud, vm_id)))


def start(cloud: Cloud, vm_id: str) -> None:
    """Volumes that are still rows get their files now, on the storage of the host that was chosen."""
    with cloud.lock:
        waiting = [volume.id for volume in volumes_of(cloud, vm_id) if volume.storageid is None]
    try:
        for volume_id in waiting:
            storage.materialise(cloud, volume_id)
    except ApiError as error:
        _put(cloud, vm_id, state="Stopped", hostid=None)
        raise no_capacity(error.text) from error
    if cloud.guests.boots(cloud.vms[vm_id]):
        _boot(cloud, vm_id)
    details = {key: value for key, value in cloud.vms[vm_id].details.items() if key != "deployvm"}
    _put(cloud, vm_id, state="Running", details=details)
    devices.power_on(cloud, vm_id)


def begin_start(cloud: Cloud, vm_id: str) -> Callable[[], None]:
    """While a machine starts it is Starting, and its volumes that have no file yet are Creating."""
    if root_of(cloud, vm_id) is None:
        raise runtime(f"Unable to deploy VM [{vm_id}] because the ROOT volume is missing.")
    _put(cloud, vm_id, state="Starting", hostid=_host(cloud, cloud.vms[vm_id])["id"])
    new = [volume.id for volume in volumes_of(cloud, vm_id) if volume.storageid is None]
    volumes_back = [storage.at_work(cloud, volume_id, "Creating") for volume_id in new]

    def back() -> None:
        if vm_id in cloud.vms and cloud.vms[vm_id].state == "Starting":
            _put(cloud, vm_id, state="Stopped", hostid=None)
        for volume_back in volumes_back:
            volume_back()

    return back


def _begin_stop(cloud: Cloud, vm_id: str) -> Callable[[], None]:
    """While a machine stops it is Stopping; one whose stop a restart of the server interrupts runs as before."""
    if cloud.vms[vm_id].state != "Running":
        return lambda: None
    _put(cloud, vm_id, state="Stopping")

    def back() -> None:
        if vm_id in cloud.vms and cloud.vms[vm_id].state == "Stopping":
            _put(cloud, vm_id, state="Running")

    return back


def _host(cloud: Cloud, vm: Vm) -> Mapping[str, Any]:
    """The host that a machine starts on. Raises ApiError where none is fit for it.

    The one kind of affinity group is anti-affinity: its running machines are each on a host of their own.
    """
    hypervisor = catalogue.row("template", vm.templateid)["hypervisor"]
    fit = [row for row in catalogue.rows("host") if row["hypervisor"] == hypervisor]
    fit = [row for row in fit if row["ueficapability"] or "UEFI" not in vm.details]
    groups = set(vm.affinitygroups)
    taken = {one.hostid for one in cloud.vms.values() if one.id != vm.id and groups & set(one.affinitygroups)}
    free = [row for row in fit if row["id"] not in taken]
    if free:
        return free[0]
    why = ", Please check the affinity groups provided, there may not be sufficient capacity to follow them"
    raise no_capacity(f"No destination found for a deployment for {texts.vm(vm)}{why if fit and groups else ''}")


def _boot(cloud: Cloud, vm_id: str) -> None:
    try:
        guest = cloud.guests.start(cloud.config.state, cloud.vms[vm_id], volumes_of(cloud, vm_id))
    except ApiError:
        _put(cloud, vm_id, state="Stopped")
        raise

    def watch() -> None:
        """A machine that powers itself off is Stopped, as soon as its host has reported it."""
        guest.process.wait()
        if cloud.guests.running.get(vm_id) is guest:
            _stop(cloud, vm_id)

    threading.Thread(target=watch, name=f"watch-{vm_id}", daemon=True).start()


def _stop(cloud: Cloud, vm_id: str) -> None:
    with cloud.lock:
        if cloud.vms[vm_id].state in ("Running", "Stopping"):
            cloud.guests.stop(vm_id)
            _put(cloud, vm_id, state="Stopped", hostid=None)
            devices.power_off(cloud, vm_id)


def start_vm(call: Call) -> Work:
    """A machine that ran when the start was asked for is running, even with a stop before it in the queue."""
    cloud, vm_id = call.cloud, need(call, "id")
    asked = cloud.vms.get(vm_id)

    def check() -> None:
        vm = existing_vm(call, vm_id)
        if text(call, "hostid") and not call.account.is_admin:
            raise runtime("Parameter hostid can only be specified by a Root Admin, permission denied")
        if asked and {vm.state, asked.state} & {"Running", "Stopping"}:
            raise invalid_value(f"The virtual machine {vm.id} ({vm.displayname}) is already running")
        project = cloud.project_of(vm.account)
        if project and project.state != "Active":
            raise runtime(texts.owner_disabled(vm, cloud.account(vm.account)))

    def begin() -> Callable[[], None]:
        vm = existing_vm(call, vm_id)
        if vm.state != "Stopped":
            raise invalid_value(f"Virtual machine {vm_id} is {vm.state}; only a Stopped one can be started.")
        return begin_start(cloud, vm_id)

    def run() -> Mapping[str, Any]:
        start(cloud, vm_id)
        return answer(call, vm_id)

    return Work(run, _resources(call, vm_id), "VirtualMachine", vm_id, check=check, begin=begin)


def stop_vm(call: Call) -> Work:
    vm_id = need(call, "id")

    def begin() -> Callable[[], None]:
        vm = existing_vm(call, vm_id)
        if vm.state not in ("Running", "Stopped"):
            raise invalid_value(f"Virtual machine {vm_id} is {vm.state} and cannot be stopped.")
        return _begin_stop(call.cloud, vm_id)

    def run() -> Mapping[str, Any]:
        _stop(call.cloud, vm_id)
        return answer(call, vm_id)

    return Work(run, _resources(call, vm_id), "VirtualMachine", vm_id, begin=begin)


def destroy_vm(call: Call) -> Work:
    """Data volumes are detached and live on, unless volumeids says otherwise. The root goes with the machine."""
    cloud, vm_id, volume_ids = call.cloud, need(call, "id"), items(call, "volumeids")
    expunge = flag(call, "expunge")
    if vm_id not in cloud.vms:
        raise invalid_value(texts.no_uuid("VirtualMachine"))

    def check() -> None:
        vm = existing_vm(call, vm_id)
        if expunge:
            expunging.check(call)
        if vm.deleteprotection:
            who = f"[id = {vm.id}, name = {vm.instancename}]"
            raise invalid_value(f"Instance {who} has delete protection enabled and cannot be deleted.")
        _check_doomed(call, vm_id, volume_ids)

    def begin() -> Callable[[], None]:
        check()
        return _begin_stop(cloud, vm_id)

    def run() -> Mapping[str, Any]:
        with cloud.lock:
            vm = existing_vm(call, vm_id)
            _stop(cloud, vm_id)
            for volume in volumes_of(cloud, vm_id):
                if volume.type != "ROOT":
                    detach(cloud, volume)
            for volume_id in volume_ids:
                storage.expunge(cloud, volume_id)
            if vm.state != "Destroyed":
                _put(cloud, vm_id, state="Destroyed", destroyed=time.monotonic())
            if expunge:
                expunging.expunge(cloud, vm_id)
                return {"virtualmachine": dict(expunging.NOTHING_LEFT)}
        return answer(call, vm_id)

    return Work(run, _resources(call, vm_id), "VirtualMachine", vm_id, check=check, begin=begin)


def _check_doomed(call: Call, vm_id: str, volume_ids: list[str]) -> None:
    for volume_id in volume_ids:
        volume = call.cloud.volumes.get(volume_id)
        if volume is None or volume.virtualmachineid != vm_id:
            raise invalid_value(f"Volume {volume_id} is not attached to virtual machine {vm_id}.")
        if volume.type != "DATADISK":
            raise invalid_value(f"Volume {volume_id} is the root volume; volumeids names data volumes.")


def expunge_vm(call: Call) -> Work:
    cloud, vm_id = call.cloud, need(call, "id")

    def check() -> None:
        vm = existing_vm(call, vm_id)
        expunging.check(call)
        if vm.state not in ("Destroyed", "Error"):
            raise runtime("Please destroy vm with specified vmId before expunge")

    def begin() -> Callable[[], None]:
        check()
        before = cloud.vms[vm_id].state
        _put(cloud, vm_id, state="Expunging")

        def back() -> None:
            if vm_id in cloud.vms:
                _put(cloud, vm_id, state=before)

        return back

    def run() -> Mapping[str, Any]:
        expunging.expunge(cloud, vm_id)
        return {"success": True}

    return Work(run, _resources(call, vm_id), "VirtualMachine", vm_id, check=check, begin=begin)


_RESTRICTED = ("cpuOvercommitRatio", "memoryOvercommitRatio", "Message.ReservedCapacityFreed.Flag")


def update_vm(call: Call) -> Mapping[str, Any]:
    """Host name and guest OS of a running machine change, too, and a name that another machine has is taken."""
    from .deploy import check_host_name  # deploy starts machines, so it imports this module

    vm = existing_vm(call, need(call, "id"))
    changes: dict[str, Any] = {}
    if name := text(call, "name"):
        check_host_name(call.command, name)
        changes["name"] = name
    for parameter in ("displayname", "ostypeid"):
        if value := text(call, parameter):
            changes[parameter] = value
    if text(call, "deleteprotection"):
        changes["deleteprotection"] = flag(call, "deleteprotection")
    _check_switches(call)
    if details := mappings(call, "details"):
        changes["details"] = _changed(call, vm, {key: value for row in details for key, value in row.items()})
    if groups := items(call, "securitygroupids"):
        if vm.state != "Stopped":
            raise _not_updated(f"{texts.vm(vm)} must be stopped prior to update security groups")
        changes["securitygroups"] = tuple(groups)
    if flag(call, "cleanupdetails"):
        changes |= {"details": {}, "bare": True}
    _put(call.cloud, vm.id, **changes)
    return answer(call, vm.id)


def _not_updated(why: str) -> ApiError:
    return runtime(f"Failed to update VM, due to: {why}")


def _check_switches(call: Call) -> None:
    """What the compute offering, the template and the settings of the lab's cloud do not have."""
    if flag(call, "haenable"):
        raise _not_updated("Can't enable ha for the vm as it's created from the Service offering having HA disabled")
    if flag(call, "isdynamicallyscalable"):
        raise _not_updated(
            "Dynamic Scaling cannot be enabled for the VM since its template does not have dynamic scaling enabled"
        )
    if text(call, "extraconfig"):
        raise _not_updated("attempted setting extraconfig but enable.additional.vm.configuration is disabled")


def _changed(call: Call, vm: Vm, details: dict[str, str]) -> dict[str, str]:
    """The settings that a machine has then: these and no others. Extra configuration is dropped without a word."""
    asked = {key: value for key, value in details.items() if not key.startswith("extraconfig")}
    for key in sorted(asked):
        if not call.account.is_admin and key in answers.READ_ONLY_DETAILS:
            raise _not_updated(f"You're not allowed to add or edit the read-only setting: {key}")
        if not call.account.is_admin and key in _RESTRICTED:
            raise _not_updated(f"You're not allowed to add or edit the restricted setting: {key}")
    if vm.state != "Stopped":
        raise invalid_value(f"Settings change only while the machine is Stopped; it is {vm.state}.")
    return asked or dict(vm.details)
