"""Virtual machines of the cloud: found, deployed, started, stopped, destroyed."""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from migratekit_core.adapters.cloudstack.client import AsyncJobs, Cloud, by_name_or_id
from migratekit_core.adapters.cloudstack.patience import InterruptedJobError, through_restarts
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
)

POLL_SECONDS = 1.0
SETTLE_SECONDS = 600.0
"""How long a machine may be on its way from one state to another."""
GONE, ERROR = "gone", "Error"
PASSING = frozenset({"Starting", "Stopping", "Migrating"})
DESTROYED = frozenset({"Expunging", "Expunged"})
STOPPED = frozenset({"Stopped"})
OFF = frozenset({"Stopped", ERROR, "Destroyed", GONE})
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


def oma(cloud: Cloud, wanted: str) -> dict[str, Any]:
    """Return the row of the OMA by its name or id.

    Raises PreconditionError where there is none, several have the name, it is in a project, or it belongs to another
    account: what is made belongs to the account whose keys are used, and CloudStack attaches no volume of one owner to
    a virtual machine of another, whoever asks (recorded).
    """
    found = _named(cloud, wanted)
    # An administrator sees the machines of others by their id only; other lists have his own.
    foreign = next((row for row in found if wanted == row["id"] and not _lists(cloud, row)), None)
    if foreign is not None:
        raise PreconditionError(
            f"the OMA {foreign.get('name')!r} belongs to another account",
            f"account {foreign.get('account')} of domain {foreign.get('domain')} owns it, and CloudStack attaches none "
            "of this account's volumes to it",
            "use the keys of a user of the account that owns the OMA",
            code=ErrorCode.DIFFERENT_ACCOUNTS,
        )
    if not found:
        for row in _named(cloud, wanted, projectid=-1):
            raise PreconditionError(
                f"the OMA {wanted!r} is in project {str(row.get('project') or row.get('projectid'))!r}",
                "this version makes volumes and virtual machines outside of projects only, and CloudStack attaches "
                "none of them to a virtual machine within one",
                "set up the OMA outside of the project, in the account whose keys are configured",
                code=ErrorCode.DIFFERENT_ACCOUNTS,
            )
        raise PreconditionError(
            f"virtual machine {wanted!r} does not exist in CloudStack",
            "no virtual machine of this account has that name or id; those of other accounts cannot be seen",
            "set ossea.oma_vm, or use the keys of a user of the account that owns the OMA",
            code=ErrorCode.GONE,
        )
    return by_name_or_id(found, wanted, "virtual machine", "ossea.oma_vm")


def _lists(cloud: Cloud, vm: dict[str, Any]) -> bool:
    """Return whether the account finds a virtual machine by its name, too: then it is its own."""
    return any(row["id"] == vm["id"] for row in _named(cloud, str(vm.get("name"))))


def _named(cloud: Cloud, wanted: str, **where: Any) -> list[dict[str, Any]]:
    """Return the virtual machines with exactly this name or id."""
    try:
        # An id that is none is refused, and a name is searched for: web1 finds web10, too.
        parameters = {"id": str(UUID(wanted))}
    except ValueError:
        parameters = {"name": wanted}
    try:
        rows = cloud.list("listVirtualMachines", "virtualmachine", **parameters, **where)
    except MigrateKitError as error:
        # A role that may list none at all is told as that; only in projects there may be nothing for it to see.
        if error.code is not ErrorCode.GONE and not (where and error.code is ErrorCode.NOT_ALLOWED):
            raise
        return []
    return [row for row in rows if wanted in (row.get("id"), row.get("name"))]


def deploy(cloud: Cloud, spec: VmSpec, template_id: str) -> tuple[str, str]:
    """Begin to deploy a machine, stopped, from a template; return its id and the job's.

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


def watched(
    cloud: Cloud, vm_id: str, ends: Callable[[str], bool], seconds: float = SETTLE_SECONDS
) -> tuple[dict[str, Any] | None, str]:
    """Look at a machine until `ends` takes its state, or for `seconds`; return it and its state: `gone` without one."""
    deadline = time.monotonic() + seconds
    while True:
        vm = find(cloud, vm_id=vm_id)
        state = str(vm.get("state")) if vm is not None else GONE
        if ends(state) or time.monotonic() > deadline:
            return vm, state
        time.sleep(POLL_SECONDS)


def settled(cloud: Cloud, vm_id: str) -> str:
    """Return a machine's state when it is none that passes by itself: Stopped, Running, Error …; `gone` without one.

    Raises OperationFailedError where it stays Starting, Stopping or Migrating.
    """
    _, state = watched(cloud, vm_id, lambda state: state not in PASSING)
    if state in PASSING:
        raise OperationFailedError(
            f"machine {vm_id} stays {state}",
            f"for {SETTLE_SECONDS:.0f} s",
            "look at its events in CloudStack",
            code=ErrorCode.MACHINE_FAILED,
            facts={"vm_id": vm_id, "state": state},
        )
    return GONE if state in DESTROYED else state


def start(cloud: Cloud, vm_id: str, jobs: AsyncJobs) -> None:
    """Start a machine; one that runs is left alone."""
    if settled(cloud, vm_id) != "Running":
        _reach(cloud, vm_id, {"Running"}, lambda: cloud.run("startVirtualMachine", jobs, id=vm_id))


def stop(cloud: Cloud, vm_id: str, jobs: AsyncJobs) -> str:
    """Stop a machine, by force only where it does not stop otherwise; one that is stopped, or gone, is left alone.

    Return the state that it was in.
    """
    before = settled(cloud, vm_id)
    if before in OFF:
        return before
    try:
        _reach(cloud, vm_id, STOPPED, lambda: cloud.run("stopVirtualMachine", jobs, id=vm_id))
    except (OperationFailedError, UnreachableError):
        _reach(cloud, vm_id, STOPPED, lambda: cloud.run("stopVirtualMachine", jobs, id=vm_id, forced=True))
    return before


class Destroyed(StrEnum):
    """What became of a machine that was to be destroyed."""

    ABSENT = "absent"
    """There was none."""
    EXPUNGED = "expunged"
    """It is gone for good, with its root volume."""
    KEPT = "kept"
    """The account may not expunge: CloudStack keeps it, destroyed, until expunge.delay has passed."""
    LEFT = "left"
    """The account may not expunge, and it was to be left as it is then."""


def destroy(
    cloud: Cloud,
    vm_id: str,
    jobs: AsyncJobs,
    take_off: Callable[[], object] = lambda: None,
    *,
    only_expunged: bool = False,
) -> Destroyed:
    """Destroy and expunge a machine with its root volume; without expunging where the account may not.

    A destroyed machine that is not expunged keeps its volumes, addresses and name: `take_off` is called before, while
    it is stopped, to take volumes off it, and its name is set free. An ordinary account does not see it any more.
    `only_expunged`: where it would be kept, it is not destroyed either.
    """
    if find(cloud, vm_id=vm_id) is None:
        return Destroyed.ABSENT
    if settled(cloud, vm_id) == GONE:
        return Destroyed.ABSENT
    try:
        _reach(cloud, vm_id, {GONE}, lambda: cloud.run("destroyVirtualMachine", jobs, id=vm_id, expunge=True))
        return Destroyed.EXPUNGED
    except AuthError as error:
        if error.code is not ErrorCode.EXPUNGE_NOT_ALLOWED:
            raise
    if only_expunged:
        return Destroyed.LEFT
    if settled(cloud, vm_id) not in ("Destroyed", GONE):
        stop(cloud, vm_id, jobs)
        take_off()
        _free_name(cloud, vm_id)
        _reach(cloud, vm_id, {"Destroyed", GONE}, lambda: cloud.run("destroyVirtualMachine", jobs, id=vm_id))
    return Destroyed.KEPT


def may_expunge(cloud: Cloud) -> bool | None:
    """Return whether the account may expunge virtual machines: it takes a setting and a rule of the role. None where it
    may not ask for the setting."""
    try:
        setting = (cloud.request("listCapabilities").get("capability") or {}).get("allowuserexpungerecovervm")
    except (AuthError, OperationFailedError):
        return None
    if not setting:
        return False
    try:
        return bool(cloud.request("listApis", name="expungeVirtualMachine").get("api"))
    except (AuthError, OperationFailedError):
        # So it is refused to a role that lacks it.
        return False


def _free_name(cloud: Cloud, vm_id: str) -> None:
    """Give a machine that will be kept another name, so that its own is free; a role may forbid it."""
    name = str((find(cloud, vm_id=vm_id) or {}).get("name", "vm"))
    with suppress(AuthError, OperationFailedError, PreconditionError):
        cloud.request("updateVirtualMachine", id=vm_id, name=f"{name[:40].rstrip('-')}-destroyed-{vm_id[:8]}")


def _reach(cloud: Cloud, vm_id: str, wanted: Set[str], act: Callable[[], object]) -> None:
    """Do something that brings a machine into one of these states. What was refused, or lost, may have been done all
    the same: by the call of a run that was killed, or by this one without an answer. What a restart of CloudStack has
    ended is done again."""

    def there() -> bool | None:
        return settled(cloud, vm_id) in wanted or None

    try:
        through_restarts(lambda: bool(act()) or True, there)
    except InterruptedJobError:
        raise
    except (OperationFailedError, UnreachableError):
        if not there():
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
