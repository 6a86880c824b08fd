"""Virtual machines of the cloud: found, deployed, started, stopped, destroyed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from migratekit_core.errors import OperationFailedError, UnreachableError
from migratekit_core.ossea.client import AsyncJobs, Cloud

POLL_SECONDS = 1.0
SETTLE_SECONDS = 600.0
"""How long a machine may be on its way from one state to another."""
GONE = "gone"
PASSING = frozenset({"Starting", "Stopping", "Migrating"})
DESTROYED = frozenset({"Expunging", "Expunged"})
OFF = frozenset({"Stopped", "Error", "Destroyed", GONE})
"""States in which a machine surely does not run."""


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
    """bios or efi."""
    secure_boot: bool = False
    os_type_id: str | None = None
    """None: it stays the template's."""


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
    mode = "SECURE" if spec.secure_boot else "LEGACY"
    boot = {"boottype": "UEFI", "bootmode": mode} if spec.firmware == "efi" else {}
    answer = cloud.request(
        "deployVirtualMachine",
        name=spec.name,
        displayname=spec.display_name,
        zoneid=spec.zone_id,
        serviceofferingid=spec.service_offering_id,
        volumeid=volume_id,
        templateid=template_id,
        # One entry for a network: CloudStack would keep only the last one of several.
        iptonetworklist=[
            {"networkid": nic.network_id, **({"ip": nic.ip} if nic.ip else {}), **({"mac": nic.mac} if nic.mac else {})}
            for nic in spec.nics
        ],
        details=[spec.details] if spec.details else None,
        startvm=False,
        **boot,
    )
    return str(answer["id"]), str(answer["jobid"])


def settled(cloud: Cloud, vm_id: str) -> str:
    """Return a machine's state when it is none that passes by itself: Stopped, Running, Error …; `gone` without one.

    Raises OperationFailedError where it stays Starting, Stopping or Migrating.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        vm = find(cloud, vm_id=vm_id)
        state = str(vm.get("state")) if vm is not None else GONE
        if state in DESTROYED:
            return GONE
        if state not in PASSING:
            return state
        if time.monotonic() > deadline:
            raise OperationFailedError(
                f"machine {vm_id} stays {state}", f"for {SETTLE_SECONDS:.0f} s", "look at its events in CloudStack"
            )
        time.sleep(POLL_SECONDS)


def start(cloud: Cloud, vm_id: str, jobs: AsyncJobs) -> None:
    """Start a machine; one that runs is left alone."""
    if settled(cloud, vm_id) != "Running":
        _reach(cloud, vm_id, "Running", lambda: cloud.run("startVirtualMachine", jobs, id=vm_id))


def stop(cloud: Cloud, vm_id: str, jobs: AsyncJobs) -> str:
    """Stop a machine by force; one that is stopped, or gone, is left alone. Return the state that it was in."""
    before = settled(cloud, vm_id)
    if before not in OFF:
        _reach(cloud, vm_id, "Stopped", lambda: cloud.run("stopVirtualMachine", jobs, id=vm_id, forced=True))
    return before


def destroy(cloud: Cloud, vm_id: str, jobs: AsyncJobs) -> bool:
    """Destroy and expunge a machine with its root volume; return whether there was one.

    A destroyed one that was not expunged is: it would hold its volumes and its name.
    """
    if find(cloud, vm_id=vm_id) is None:
        return False
    settled(cloud, vm_id)
    _reach(cloud, vm_id, GONE, lambda: cloud.run("destroyVirtualMachine", jobs, id=vm_id, expunge=True))
    return True


def _reach(cloud: Cloud, vm_id: str, wanted: str, act: Callable[[], object]) -> None:
    """Do something that brings a machine into a state. What was refused, or lost, may have been done all the same: by
    the call of a run that was killed, or by this one without an answer."""
    try:
        act()
    except (OperationFailedError, UnreachableError):
        if settled(cloud, vm_id) != wanted:
            raise


def owned(cloud: Cloud, key: str, value: str | None = None) -> list[dict[str, Any]]:
    """Return the machines that carry a tag, with this value where one is given."""
    if value is None:
        return cloud.tagged("listVirtualMachines", "virtualmachine", "UserVm", key)
    found = cloud.list("listVirtualMachines", "virtualmachine", tags=[{"key": key, "value": value}])
    return [vm for vm in found if tags_of(vm).get(key) == value]


def tags_of(vm: dict[str, Any]) -> dict[str, str]:
    """Return a machine's tags."""
    return {str(tag["key"]): str(tag.get("value", "")) for tag in vm.get("tags") or []}


def set_os_type(cloud: Cloud, vm_id: str, os_type_id: str) -> bool:
    """Set a stopped machine's OS type, which is its template's until then; return whether it had to be changed.

    It decides which devices the machine is given at its next start.
    """
    vm = find(cloud, vm_id=vm_id)
    if vm is None or os_type_id in (vm.get("ostypeid"), vm.get("guestosid")):
        return False
    cloud.request("updateVirtualMachine", id=vm_id, ostypeid=os_type_id)
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
