"""What each command of MigrateKit calls: vSphere privileges and CloudStack APIs. docs/permissions.md is made of this.

Privileges: VMware's API reference, each method's "Required Privileges". APIs: the calls in ossea/ and in
volumes/daemon/storage.py; a test compares.
"""

from __future__ import annotations

from migratekit_core.adapters.readers.readers import READERS
from migratekit_core.adapters.vsphere.privilege import Privilege

READ = Privilege("System.Read", "machine", "read machines, folders, networks", "(in the built-in role Read-only)")
TRACK = Privilege(
    "VirtualMachine.Config.ChangeTracking",
    "machine",
    "ReconfigVM_Task (change tracking)",
    "Change Configuration > Toggle disk change tracking",
)
SNAPSHOT = Privilege(
    "VirtualMachine.State.CreateSnapshot", "machine", "CreateSnapshot_Task", "Snapshot management > Create snapshot"
)
UNSNAPSHOT = Privilege(
    "VirtualMachine.State.RemoveSnapshot",
    "machine",
    "RemoveSnapshot_Task, ConsolidateVMDisks_Task",
    "Snapshot management > Remove snapshot",
)
AREAS = Privilege(
    "VirtualMachine.Provisioning.DiskRandomRead",
    "machine",
    "QueryChangedDiskAreas",
    "Provisioning > Allow read-only disk access",
)
POWER_OFF = Privilege(
    "VirtualMachine.Interact.PowerOff", "machine", "ShutdownGuest, PowerOffVM_Task", "Interaction > Power off"
)
POWER_ON = Privilege("VirtualMachine.Interact.PowerOn", "machine", "PowerOnVM_Task", "Interaction > Power on")

_READING = (privilege for reader in READERS.values() for privilege in reader.privileges)
_SYNC = (READ, TRACK, SNAPSHOT, UNSNAPSHOT, AREAS, *_READING)

VSPHERE: dict[str, tuple[Privilege, ...]] = {
    "discover": (READ,),
    "assess": (READ,),
    "networks": (READ,),
    "replicate": _SYNC,
    "verify": _SYNC,
    "test-failover": (READ,),
    "failover": (*_SYNC, POWER_OFF, POWER_ON),
    "rollback": (READ, POWER_ON),
}
"""vSphere privileges by command; commands that are not here do not call vSphere."""

DAEMON = "volume daemon"
_LOOK = ("listZones", "listNetworks", "listServiceOfferings", "listTemplates", "listVirtualMachines", "listApis")
HELPFUL: dict[str, str] = {
    "listDiskOfferings": "without it the disk offering is not checked before a failover",
    "listOsTypes": "without it the OS type stays the template's",
    "listAccounts": "without it quotas, and whose the OMA is, are not checked",
    "listCapabilities": "without it sizes, snapshots and expunging are not checked",
    "updateVirtualMachine": "without it the OS type stays the template's",
    "listApis": "without it nothing is said beforehand of what the role lacks",
    "listTags": "without it whole lists are read to find what carries our tag",
    "listVMSnapshot": "without it VM snapshots of the OMA are seen only when an attach is refused",
    "expungeVirtualMachine": "without it a destroyed machine keeps its addresses until CloudStack expunges it",
}
"""APIs that commands can do without, and what is so then; see `essential`."""
_FAILOVER_HELPFUL = (
    "listDiskOfferings",
    "listOsTypes",
    "listAccounts",
    "listCapabilities",
    "updateVirtualMachine",
    "expungeVirtualMachine",
)
_DEPLOY = (
    *_LOOK,
    *_FAILOVER_HELPFUL,
    "deployVirtualMachine",
    "startVirtualMachine",
    "destroyVirtualMachine",
    "createTags",
    "queryAsyncJobResult",
)
"""A machine that CloudStack could not deploy is destroyed before the next try."""

_DESTROY = (
    "listVirtualMachines",
    "stopVirtualMachine",
    "destroyVirtualMachine",
    "expungeVirtualMachine",
    "queryAsyncJobResult",
)

CLOUDSTACK: dict[str, tuple[str, ...]] = {
    DAEMON: (
        "listZones",
        "listDiskOfferings",
        "listVirtualMachines",
        "listVolumes",
        "listSnapshots",
        "listTags",
        "listVMSnapshot",
        "listApis",
        "listAccounts",
        "listCapabilities",
        "createVolume",
        "attachVolume",
        "detachVolume",
        "deleteVolume",
        "createSnapshot",
        "deleteSnapshot",
        "createTags",
        "queryAsyncJobResult",
    ),
    "networks": ("listZones", "listNetworks"),
    "test-failover": _DEPLOY,
    "failover": (*_DEPLOY, "stopVirtualMachine"),
    "rollback": (*_DESTROY, "updateVirtualMachine", "listApis", "listCapabilities"),
    "cleanup": (*_DESTROY, "updateVirtualMachine", "listTags", "listApis", "listCapabilities"),
    "assess --target": (*_LOOK, "listDiskOfferings", "listOsTypes", "listAccounts", "listCapabilities"),
}
"""CloudStack APIs by what calls them. `replicate` calls CloudStack through the volume daemon only."""

OPTIONAL = ("listHosts", "listStoragePools", "listHypervisorCapabilities")
"""An administrator's: `assess --target` uses them where it may, and says what it could not check where not."""


def essential(caller: str, api: str) -> bool:
    """Return whether what calls an API cannot work without it."""
    # It makes volumes with a disk offering; a failover only looks whether it is there.
    return api not in HELPFUL or (caller, api) == (DAEMON, "listDiskOfferings")


def users(api: str) -> tuple[str, ...]:
    """Return the commands that call an API."""
    return tuple(command for command, apis in CLOUDSTACK.items() if api in apis)


def commands_with(privilege: Privilege) -> tuple[str, ...]:
    """Return the commands that need a vSphere privilege."""
    return tuple(command for command, privileges in VSPHERE.items() if privilege in privileges)
