"""startVirtualMachine, stopVirtualMachine, destroyVirtualMachine, expungeVirtualMachine, updateVirtualMachine.

A started machine is one whose state says Running; those that a test asked for boot for real (`guests`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import answers, catalogue, devices, expunging, storage, texts
from .call import Call, Work, flag, items, mappings, need, text
from .errors import ApiError, invalid_value, no_capacity, runtime
from .model import Vm, now
from .state import Cloud, root_of, volumes_of
from .volumes import detach, existing_vm


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
        if root_of(cloud, vm_id) is None:
            raise runtime(f"Virtual machine {vm_id} has no root volume to start from.")
        _put(cloud, vm_id, state="Starting")
        waiting = [volume.id for volume in volumes_of(cloud, vm_id) if volume.state == "Allocated"]
    try:
        for volume_id in waiting:
            storage.materialise(cloud, volume_id)
    except ApiError as error:
        _put(cloud, vm_id, state="Stopped")
        raise no_capacity(error.text) from error
    if cloud.guests.boots(cloud.vms[vm_id]):
        _boot(cloud, vm_id)
    _put(cloud, vm_id, state="Running", hostid=catalogue.HOST)
    devices.power_on(cloud, vm_id)


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
        if cloud.vms[vm_id].state == "Running":
            cloud.guests.stop(vm_id)
            _put(cloud, vm_id, state="Stopped", hostid=None)
            devices.power_off(cloud, vm_id)


def start_vm(call: Call) -> Work:
    vm_id = need(call, "id")

    def run() -> Mapping[str, Any]:
        vm = existing_vm(call, vm_id)
        if vm.state != "Stopped":
            raise invalid_value(f"Virtual machine {vm_id} is {vm.state}; only a Stopped one can be started.")
        project = call.cloud.project_of(vm.account)
        if project and project.state != "Active":
            raise runtime(texts.owner_disabled(vm, call.cloud.account(vm.account)))
        start(call.cloud, vm_id)
        return answer(call, vm_id)

    return Work(run, _resources(call, vm_id), "VirtualMachine", vm_id)


def stop_vm(call: Call) -> Work:
    vm_id = need(call, "id")

    def run() -> Mapping[str, Any]:
        vm = existing_vm(call, vm_id)
        if vm.state not in ("Running", "Stopped"):
            raise invalid_value(f"Virtual machine {vm_id} is {vm.state} and cannot be stopped.")
        _stop(call.cloud, vm_id)
        return answer(call, vm_id)

    return Work(run, _resources(call, vm_id), "VirtualMachine", vm_id)


def destroy_vm(call: Call) -> Work:
    """Data volumes are detached and live on, unless volumeids says otherwise. The root goes with the machine."""
    cloud, vm_id, volume_ids = call.cloud, need(call, "id"), items(call, "volumeids")
    expunge = flag(call, "expunge")

    def run() -> Mapping[str, Any]:
        with cloud.lock:
            vm = existing_vm(call, vm_id)
            if expunge:
                expunging.check(call)
            _check_doomed(call, vm_id, volume_ids)
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

    return Work(run, _resources(call, vm_id), "VirtualMachine", vm_id)


def _check_doomed(call: Call, vm_id: str, volume_ids: list[str]) -> None:
    for volume_id in volume_ids:
        volume = call.cloud.volumes.get(volume_id)
        if volume is None or volume.virtualmachineid != vm_id:
            raise invalid_value(f"Volume {volume_id} is not attached to virtual machine {vm_id}.")
        if volume.type != "DATADISK":
            raise invalid_value(f"Volume {volume_id} is the root volume; volumeids names data volumes.")


def expunge_vm(call: Call) -> Work:
    vm_id = need(call, "id")

    def run() -> Mapping[str, Any]:
        with call.cloud.lock:
            vm = existing_vm(call, vm_id)
            expunging.check(call)
            if vm.state not in ("Destroyed", "Error"):
                raise runtime("Please destroy vm with specified vmId before expunge")
            expunging.expunge(call.cloud, vm_id)
        return {"success": True}

    return Work(run, _resources(call, vm_id), "VirtualMachine", vm_id)


def update_vm(call: Call) -> Mapping[str, Any]:
    from .deploy import check_host_name, check_name_is_free  # deploy starts machines, so it imports this module

    vm = existing_vm(call, need(call, "id"))
    changes: dict[str, Any] = {}
    if name := text(call, "name"):
        if vm.state != "Stopped":
            raise invalid_value(f"The host name changes only while the machine is Stopped; it is {vm.state}.")
        check_host_name(name)
        check_name_is_free(call.cloud, name, vm.nics, but=vm.id)
        changes["name"] = name
    if display_name := text(call, "displayname"):
        changes["displayname"] = display_name
    if os_type := text(call, "ostypeid"):
        changes["ostypeid"] = os_type
    if details := mappings(call, "details"):
        if vm.state != "Stopped":
            raise invalid_value(f"Settings change only while the machine is Stopped; it is {vm.state}.")
        changes["details"] = dict(vm.details) | {key: value for row in details for key, value in row.items()}
    _put(call.cloud, vm.id, **changes)
    return answer(call, vm.id)
