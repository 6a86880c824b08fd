"""Virtual machines of the cloud: found, deployed, started, stopped, destroyed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from migratekit_core.errors import OperationFailedError
from migratekit_core.ossea.client import AsyncJobs, Cloud

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class NicSpec:
    """A network card of a machine to be: its network and, where they are to be kept, its MAC and IP address."""

    network_id: str
    mac: str | None = None
    ip: str | None = None


@dataclass(frozen=True)
class VmSpec:
    """A machine to be."""

    name: str
    display_name: str
    zone_id: str
    service_offering_id: str
    nics: tuple[NicSpec, ...]
    details: dict[str, str]
    firmware: str


def find(cloud: Cloud, *, name: str | None = None, vm_id: str | None = None) -> dict[str, Any] | None:
    """Return the machine with exactly this name, or this id; None where there is none."""
    parameters = {"id": vm_id} if vm_id else {"name": name}
    # The name of listVirtualMachines is a search: web1 finds web10, too.
    found = [
        vm
        for vm in cloud.list("listVirtualMachines", "virtualmachine", **parameters)
        if vm.get("id") == vm_id or vm.get("name") == name
    ]
    return found[0] if found else None


def deploy(
    cloud: Cloud, spec: VmSpec, *, volume_id: str | None = None, template_id: str | None = None
) -> tuple[str, str]:
    """Begin to deploy a machine, stopped, from its root volume or from a template; return its id and the job's.

    The caller writes both down before it waits (`Cloud.wait`): from the call's answer on, the machine exists.
    """
    boot = {"boottype": "UEFI", "bootmode": "LEGACY"} if spec.firmware == "efi" else {}
    first = spec.nics[0]
    answer = cloud.request(
        "deployVirtualMachine",
        name=spec.name,
        displayname=spec.display_name,
        zoneid=spec.zone_id,
        serviceofferingid=spec.service_offering_id,
        volumeid=volume_id,
        templateid=template_id,
        iptonetworklist=[
            {"networkid": nic.network_id, **({"ip": nic.ip} if nic.ip else {}), **({"mac": nic.mac} if nic.mac else {})}
            for nic in spec.nics
        ]
        if len(spec.nics) > 1
        else None,
        networkids=first.network_id if len(spec.nics) == 1 else None,
        ipaddress=first.ip if len(spec.nics) == 1 else None,
        macaddress=first.mac if len(spec.nics) == 1 else None,
        details=[spec.details] if spec.details else None,
        startvm=False,
        **boot,
    )
    return str(answer["id"]), str(answer["jobid"])


def start(cloud: Cloud, vm_id: str, jobs: AsyncJobs) -> None:
    """Start a machine; one that runs is left alone."""
    vm = find(cloud, vm_id=vm_id)
    if vm is not None and vm.get("state") == "Running":
        return
    cloud.run("startVirtualMachine", jobs, id=vm_id)


def stop(cloud: Cloud, vm_id: str, jobs: AsyncJobs) -> None:
    """Stop a machine by force; one that is stopped is left alone."""
    vm = find(cloud, vm_id=vm_id)
    if vm is not None and vm.get("state") == "Stopped":
        return
    cloud.run("stopVirtualMachine", jobs, id=vm_id, forced=True)


def destroy(cloud: Cloud, vm_id: str, jobs: AsyncJobs) -> bool:
    """Destroy and expunge a machine with its root volume; return whether there was one."""
    if find(cloud, vm_id=vm_id) is None:
        return False
    cloud.run("destroyVirtualMachine", jobs, id=vm_id, expunge=True)
    return True


def tag(cloud: Cloud, vm_id: str, tags: dict[str, str], jobs: AsyncJobs) -> None:
    """Tag a machine, so that it is found also where our record of it was lost."""
    pairs = [{"key": key, "value": value} for key, value in tags.items()]
    existing = {tag["key"] for tag in (find(cloud, vm_id=vm_id) or {}).get("tags") or []}
    missing = [pair for pair in pairs if pair["key"] not in existing]
    if missing:
        cloud.run("createTags", jobs, resourceids=vm_id, resourcetype="UserVm", tags=missing)


def wait_running(cloud: Cloud, vm_id: str, timeout: float) -> dict[str, Any]:
    """Wait until a machine is Running; return it. Raises OperationFailedError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        vm = find(cloud, vm_id=vm_id)
        state = vm.get("state") if vm else "gone"
        if vm is not None and state == "Running":
            return vm
        if state in ("Error", "gone") or time.monotonic() > deadline:
            raise OperationFailedError(
                f"the new machine {vm_id} does not run", f"its state is {state}", "look at its events in CloudStack"
            )
        time.sleep(POLL_SECONDS)
