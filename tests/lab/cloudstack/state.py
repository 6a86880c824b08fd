"""Everything the cloud knows, under one lock, and the small questions every command asks of it."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import catalogue, limits
from .errors import over_limit
from .guests import Guests
from .model import GIB, Account, Job, Project, Snapshot, Tag, Vm, VmSnapshot, Volume
from .settings import Config
from .throttle import Window


@dataclass(frozen=True)
class Fault:
    """One thing to go wrong on purpose; `count` times, or for ever with a negative count."""

    id: int
    command: str
    mode: str
    errorcode: int = 530
    cserrorcode: int = 9999
    text: str = "The lab was told to fail here."
    seconds: float = 5.0
    count: int = 1


@dataclass
class Cloud:
    config: Config
    accounts: Mapping[str, Account]
    projects: dict[str, Project] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    volumes: dict[str, Volume] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    vms: dict[str, Vm] = field(default_factory=dict)
    # By path: the domain's id, and its limits per resource type.
    domain_limits: dict[str, tuple[str, Mapping[str, int]]] = field(default_factory=dict)
    vmsnapshots: dict[str, VmSnapshot] = field(default_factory=dict)
    hotplugged: dict[str, set[str]] = field(default_factory=dict)  # volumes that a machine got since it was started
    interrupted: set[str] = field(default_factory=set)  # jobs that a restart of the server has ended
    tags: list[Tag] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    removed: dict[str, set[str]] = field(default_factory=dict)  # ids the real database would still find
    queues: dict[str, deque[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    events: list[dict[str, Any]] = field(default_factory=list)
    stale: dict[str, tuple[float, Volume | None]] = field(default_factory=dict)  # what the lists show, until when
    free_bytes: int | None = None  # None: primary storage never fills
    sequence: int = 0
    guests: Guests = field(default_factory=Guests)
    asked: set[tuple[str, str]] = field(default_factory=set)  # which client has asked listApis for which command
    windows: dict[str, Window] = field(default_factory=dict)  # of throttled accounts

    restart: Callable[[float], None] | None = None  # of the management server; None where it cannot be restarted

    def __post_init__(self) -> None:
        self.turns = threading.Condition(self.lock)
        self.started_with = self.config

    def next_number(self) -> int:
        with self.lock:
            self.sequence += 1
            return self.sequence

    def account(self, name: str) -> Account:
        """Return an account, or the one that a project's things belong to."""
        project = self.project_of(name)
        if project is None:
            return next(account for account in self.accounts.values() if account.name == name)
        owner = self.account(project.owner)
        return replace(owner, id=project.id, name=name, accounttype=5, apikey="", limits=project.limits)

    def project_of(self, account: str) -> Project | None:
        """Return the project whose things belong to this account; None where it is a real one."""
        return next((project for project in self.projects.values() if project.account == account), None)


def knows(cloud: Cloud, kind: str, entity_id: str) -> bool:
    """Whether such an id was ever given out. One of a removed thing is known: it finds nothing, but is no error."""
    live: dict[str, Any] = {
        "volume": cloud.volumes,
        "snapshot": cloud.snapshots,
        "virtualmachine": cloud.vms,
        "vmsnapshot": cloud.vmsnapshots,
        "job": cloud.jobs,
        "project": cloud.projects,
        "domain": {account.domainid for account in cloud.accounts.values()},
        "account": {account.id for account in cloud.accounts.values()},
        "storagepool": {catalogue.POOL, catalogue.OTHER_POOL},
        "nic": {nic.id for vm in cloud.vms.values() for nic in vm.nics},
    }
    found = entity_id in live.get(kind, ()) or catalogue.has(kind, entity_id)
    return found or entity_id in cloud.removed.get(kind, ())


def forget(cloud: Cloud, kind: str, entity_id: str) -> None:
    """Takes an entity out of the tables, its tags with it."""
    tables: dict[str, Any] = {
        "volume": cloud.volumes,
        "snapshot": cloud.snapshots,
        "virtualmachine": cloud.vms,
        "job": cloud.jobs,
    }
    tables[kind].pop(entity_id, None)
    cloud.tags = [tag for tag in cloud.tags if tag.resourceid != entity_id]
    if kind != "job":
        cloud.removed.setdefault(kind, set()).add(entity_id)


def volumes_of(cloud: Cloud, vm_id: str) -> list[Volume]:
    found = [volume for volume in cloud.volumes.values() if volume.virtualmachineid == vm_id]
    return sorted(found, key=lambda volume: volume.deviceid or 0)


def root_of(cloud: Cloud, vm_id: str) -> Volume | None:
    return next((volume for volume in volumes_of(cloud, vm_id) if volume.type == "ROOT"), None)


def snapshots_of(cloud: Cloud, volume_id: str) -> Iterator[Snapshot]:
    return (snapshot for snapshot in cloud.snapshots.values() if snapshot.volumeid == volume_id)


def usage(cloud: Cloud, account: str) -> dict[str, int]:
    """What counts against an account's limits. An allocated volume counts although it has no file yet."""
    volumes = [volume for volume in cloud.volumes.values() if volume.account == account]
    vms = [vm for vm in cloud.vms.values() if vm.account == account and vm.state != "Destroyed"]
    return {
        "user_vm": len(vms),
        "cpu": sum(vm.cpunumber for vm in vms),  # stopped ones, too: resource.count.running.vms.only is false
        "memory": sum(vm.memory for vm in vms),
        "volume": len(volumes),
        "snapshot": sum(snapshot.account == account for snapshot in cloud.snapshots.values()),
        "primary_storage": sum(volume.size for volume in volumes) // GIB,
    }


def check_limits(cloud: Cloud, account: str, **more: int) -> None:
    """Raise ApiError where an account, its project or one of its domains would have more than it may."""
    owner, project = cloud.account(account), cloud.project_of(account)
    name = f"Project Name = {project.name}" if project else f"Account Name = {account}"
    used = usage(cloud, account)
    for resource, amount in more.items():
        if limits.exceeded(owner.limit[resource], used[resource], amount):
            sizes = limits.sizes(resource, owner.limit[resource], used[resource], amount)
            raise over_limit(limits.of_account(resource, name, *sizes))
        for path, domain_id, most in _domains_above(cloud, owner, resource):
            theirs = sum(usage(cloud, one)[resource] for one in _accounts_below(cloud, path))
            if limits.exceeded(most, theirs, amount):
                sizes = limits.sizes(resource, most, theirs, amount)
                raise over_limit(limits.of_domain(resource, domain_id, *sizes))


def _domains_above(cloud: Cloud, owner: Account, resource: str) -> Iterator[tuple[str, str, int]]:
    """The domains of an account that have a limit: path, id and limit."""
    for path, (domain_id, most) in cloud.domain_limits.items():
        if f"{owner.path}/".startswith(f"{path}/") and resource in most:
            yield path, domain_id, most[resource]


def _accounts_below(cloud: Cloud, path: str) -> set[str]:
    """The names of the accounts of a domain and of those below it."""
    return {one.name for one in cloud.accounts.values() if f"{one.path}/".startswith(f"{path}/")}
