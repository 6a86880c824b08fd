"""What the target has: zone, offerings, networks, quotas, APIs. Read only, one list call for each kind of thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from migratekit_core.adapters.cloudstack.limits import DATA_DISKS
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, OperationFailedError

if TYPE_CHECKING:
    from migratekit_core.adapters.cloudstack.client import Cloud
    from migratekit_core.config.schema import Config

Row = Mapping[str, Any]
Rows = tuple[Row, ...]


@dataclass(frozen=True)
class Wanted:
    """What the configuration names."""

    zone: str
    service_offering: str | None
    """None: the smallest that fits."""
    disk_offering: str
    template: str | None
    oma_vm: str
    max_disks: int | None = None
    """Data disks that CloudStack attaches to the OMA, where the configuration says it."""
    cpu_speed: int = 1000
    """MHz, for offerings that leave the speed open."""


@dataclass(frozen=True)
class Target:
    """The cloud as the account sees it. A list that it may not read is None, and `missing` says why."""

    wanted: Wanted
    zones: Rows | None = None
    service_offerings: Rows | None = None
    disk_offerings: Rows | None = None
    templates: Rows | None = None
    networks: Rows | None = None
    machines: Rows | None = None
    os_types: Rows | None = None
    hosts: Rows | None = None
    storage_pools: Rows | None = None
    account: Row | None = None
    """Row of listAccounts, with quotas: the account that owns the OMA."""
    caller: Row | None = None
    """Row of listAccounts: the account whose keys are used; what is made belongs to it."""
    oma_problem: str = ""
    """Why the OMA is not among `machines`, where more is known than that."""
    capabilities: Row | None = None
    apis: frozenset[str] | None = None
    """Commands that the account may call."""
    data_disks: int | None = None
    """Data disks that the hypervisor attaches to a machine at most."""
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def disk_limit(self) -> int:
        """Return how many data disks one machine takes: as configured, as the hypervisor's row says, or by default."""
        return self.wanted.max_disks or self.data_disks or DATA_DISKS

    @property
    def may_expunge(self) -> bool | None:
        """Return whether the account may expunge virtual machines: it takes a setting and a rule of the role. None:
        not known."""
        setting = (self.capabilities or {}).get("allowuserexpungerecovervm")
        if setting is None or self.apis is None:
            return None
        return bool(setting) and "expungeVirtualMachine" in self.apis

    @property
    def zone(self) -> Row | None:
        """Return the zone, where the configuration names exactly one."""
        found = named(self.zones or (), self.wanted.zone)
        return found[0] if len(found) == 1 else None


def named(rows: Rows, wanted: str) -> Rows:
    """Return the rows with this name or id."""
    return tuple(row for row in rows if wanted in (row.get("id"), row.get("name")))


def read_target(config: Config, cloud: Cloud | None = None) -> Target:
    """Read the target. Raises AuthError where the keys are refused, UnreachableError where nothing answers."""
    from migratekit_core.adapters.cloudstack.client import Cloud
    from migratekit_core.adapters.cloudstack.patience import AT_ONCE

    ossea = config.ossea
    assert ossea is not None, "the caller has required the table"
    wanted = Wanted(
        ossea.zone,
        ossea.service_offering,
        ossea.disk_offering,
        ossea.template,
        ossea.oma_vm,
        ossea.max_disks,
        ossea.cpu_speed,
    )
    cloud = cloud or Cloud(ossea, AT_ONCE)
    read = _Reader(cloud)
    # First, and not forgiven: keys that are refused here are refused everywhere.
    listed = cloud.request("listApis").get("api") or []
    apis = frozenset(str(api["name"]) for api in listed)
    zones = read.rows("zones", "listZones", "zone")
    found = named(zones or (), wanted.zone)
    zone = {"zoneid": found[0]["id"]} if len(found) == 1 else {}
    machines = read.rows("machines", "listVirtualMachines", "virtualmachine")
    accounts = read.rows("account", "listAccounts", "account")
    limits = read.rows("data_disks", "listHypervisorCapabilities", "hypervisorCapabilities", hypervisor="KVM")
    return Target(
        wanted=wanted,
        zones=zones,
        service_offerings=read.rows("service_offerings", "listServiceOfferings", "serviceoffering", **zone),
        disk_offerings=read.rows("disk_offerings", "listDiskOfferings", "diskoffering", **zone),
        templates=read.rows("templates", "listTemplates", "template", templatefilter="executable", **zone),
        networks=read.rows("networks", "listNetworks", "network", **zone),
        machines=machines,
        os_types=read.rows("os_types", "listOsTypes", "ostype"),
        hosts=read.rows("hosts", "listHosts", "host", type="Routing", **zone),
        storage_pools=read.rows("storage_pools", "listStoragePools", "storagepool", **zone),
        account=_account(accounts, machines, wanted.oma_vm),
        caller=accounts[0] if accounts is not None and len(accounts) == 1 else None,
        oma_problem=_oma_problem(cloud, machines, wanted.oma_vm),
        capabilities=read.one("capabilities", "listCapabilities", "capability"),
        apis=apis,
        data_disks=_data_disks(limits),
        missing=read.missing,
    )


class _Reader:
    """Reads lists; one that the role may not read is left out, with the reason."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.missing: dict[str, str] = {}

    def rows(self, fact: str, command: str, key: str, **parameters: Any) -> Rows | None:
        """Return the rows of a list command, or None."""
        try:
            return tuple(self._cloud.list(command, key, **parameters))
        except (AuthError, OperationFailedError) as error:
            self.missing[f"target.{fact}"] = _unread(command, error)
            return None

    def one(self, fact: str, command: str, key: str) -> Row | None:
        """Return the answer of a command that has no list, or None."""
        try:
            found: Row = self._cloud.request(command).get(key) or {}
        except (AuthError, OperationFailedError) as error:
            self.missing[f"target.{fact}"] = _unread(command, error)
            return None
        return found


def _unread(command: str, error: MigrateKitError) -> str:
    """Return why a list is not known. That the role lacks a command needs none of CloudStack's own words."""
    return f"the role may not call {command}" if error.code is ErrorCode.NOT_ALLOWED else error.why


def _account(accounts: Rows | None, machines: Rows | None, oma: str) -> Row | None:
    """Return the account that owns the OMA: an administrator sees others, too."""
    owners = {(vm.get("account"), vm.get("domainid")) for vm in named(machines or (), oma)}
    mine = [row for row in accounts or () if (row.get("name"), row.get("domainid")) in owners]
    if len(mine) == 1:
        return mine[0]
    return accounts[0] if accounts is not None and len(accounts) == 1 else None


def _oma_problem(cloud: Cloud, machines: Rows | None, wanted: str) -> str:
    """Return why the OMA is not among the machines that the account sees."""
    from migratekit_core.adapters.cloudstack import compute

    if machines is None or named(machines, wanted):
        return ""
    try:
        compute.oma(cloud, wanted)
    except MigrateKitError as error:
        return f"{error.what}: {error.why}"
    return ""


def _data_disks(limits: Rows | None) -> int | None:
    """Return the least limit of the KVM versions."""
    known = [int(row["maxdatavolumeslimit"]) for row in limits or () if row.get("maxdatavolumeslimit")]
    return min(known) if known else None
