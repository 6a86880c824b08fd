"""What the cloud consists of. All frozen: a change is a new object put into the state under its lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

GIB = 1 << 30
CDROM_DEVICE_ID = 3  # kept for the ISO on every hypervisor, so no volume may have it

RESOURCE_TYPES = {"user_vm": "0", "volume": "2", "snapshot": "3", "cpu": "8", "memory": "9", "primary_storage": "10"}


@dataclass(frozen=True)
class Account:
    id: str
    name: str
    domain: str
    domainid: str
    userid: str
    accounttype: int  # 0 user, 1 root admin, 2 domain admin, 5 project
    apikey: str
    secretkey: str
    deny: frozenset[str] = frozenset()
    path: str = "ROOT"  # of its domain
    limits: Mapping[str, int] = field(default_factory=dict)
    user: str = ""

    @property
    def username(self) -> str:
        """The user whose keys these are; the first one has the account's name."""
        return self.user or self.name

    @property
    def is_admin(self) -> bool:
        return self.accounttype == 1

    @property
    def is_domain_admin(self) -> bool:
        return self.accounttype == 2

    @property
    def limit(self) -> Mapping[str, int]:
        """Per resource type; -1 is unlimited, primary_storage counts GiB, memory MiB."""
        return {name: self.limits.get(name, -1) for name in RESOURCE_TYPES}


@dataclass(frozen=True)
class Project:
    id: str
    name: str
    displaytext: str
    account: str  # the account that owns the project's things; nobody has its keys
    owner: str
    members: frozenset[str]  # accounts, the owner as well
    state: str = "Active"  # or Suspended
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Volume:
    id: str
    name: str
    account: str
    zoneid: str
    size: int
    type: str  # ROOT or DATADISK
    state: str  # Allocated, Creating, Ready, ...
    created: str
    diskofferingid: str | None = None
    virtualmachineid: str | None = None
    deviceid: int | None = None
    attached: str | None = None
    templateid: str | None = None
    snapshotid: str | None = None
    storageid: str | None = None  # none until a file exists
    miniops: int | None = None
    maxiops: int | None = None
    deleteprotection: bool = False


@dataclass(frozen=True)
class Snapshot:
    id: str
    name: str
    account: str
    volumeid: str
    volumename: str
    volumetype: str
    zoneid: str
    size: int
    state: str  # Creating, BackedUp, Error
    created: str
    diskofferingid: str | None
    templateid: str | None


@dataclass(frozen=True)
class Nic:
    id: str
    networkid: str
    macaddress: str
    ipaddress: str | None  # an L2 network gives none
    isdefault: bool
    deviceid: int
    secondary: tuple[Mapping[str, str], ...] = ()  # id and ipaddress of each


@dataclass(frozen=True)
class Vm:
    id: str
    name: str
    displayname: str
    account: str
    zoneid: str
    state: str  # Stopped, Starting, Running, Stopping, Destroyed, Expunging, Error
    serviceofferingid: str
    templateid: str
    ostypeid: str
    created: str
    nics: tuple[Nic, ...]
    cpunumber: int
    cpuspeed: int
    memory: int
    instancename: str
    details: Mapping[str, str] = field(default_factory=dict)
    hostid: str | None = None
    destroyed: float | None = None  # when, by the monotonic clock
    backupofferingid: str | None = None
    securitygroups: tuple[str, ...] = ()
    affinitygroups: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)  # fields of its row: key pairs and user data
    bare: bool = False  # has no settings at all, not even those that users do not see
    updated: str | None = None  # when its state changed last; none before the first start
    deleteprotection: bool = False


@dataclass(frozen=True)
class VmSnapshot:
    id: str
    name: str
    displayname: str
    vmid: str
    account: str
    created: str
    state: str  # Creating, Ready
    type: str


@dataclass(frozen=True)
class Tag:
    resourceid: str
    resourcetype: str
    key: str
    value: str
    account: str


@dataclass(frozen=True)
class Job:
    id: str
    account: str
    cmd: str
    jobinstancetype: str | None
    jobinstanceid: str | None
    created: str
    jobstatus: int = 0  # 0 pending, 1 succeeded, 2 failed
    jobresultcode: int = 0
    jobresult: Mapping[str, Any] | None = None
    completed: str | None = None
    words: str | None = None  # instead of a result: what one says that was cancelled


def now() -> str:
    """Dates leave CloudStack in this one format, in the server's time zone."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
