"""The target as a whole: what the configuration names, and whether there is room."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migratekit_core.adapters.cloudstack.limits import DATA_DISKS
from migratekit_core.adapters.cloudstack.quota import Need, shortfalls
from migratekit_core.common.units import GIB, human_bytes, round_up
from migratekit_core.services.assessment.rule import Hit, Severity, site_rule
from migratekit_core.services.assessment.site import Site
from migratekit_core.services.assessment.sizing import allocated
from migratekit_core.services.assessment.target import Row, Rows, Target, named

IN_CONFIG = "Correct the setting in the [ossea] table, or make it in CloudStack."


def _target(site: Site) -> Target:
    assert site.target is not None, "every rule here needs it"
    return site.target


def _one(rows: Rows, wanted: str, setting: str) -> Row | str:
    """Return the row that is meant, or what is wrong."""
    found = named(rows, wanted)
    if len(found) == 1:
        return found[0]
    if found:
        return f"{setting} = {wanted!r} is ambiguous: {len(found)} have that name"
    known = ", ".join(sorted(str(row.get("name", "")) for row in rows)[:8]) or "none"
    return f"{setting} = {wanted!r} does not exist; there are: {known}"


def needed_gib(site: Site) -> int:
    """Return what the volumes of the assessed machines take on the target, in GiB."""
    return sum(round_up(disk.capacity_bytes, GIB) // GIB for vm in site.chosen for disk in vm.disks)


@site_rule(
    "MK-TGT-001",
    Severity.BLOCKER,
    "zone",
    why="Volumes and machines are made in it.",
    remedy=IN_CONFIG,
    needs=("target.zones",),
)
def zone(site: Site) -> Iterator[Hit]:
    """Report a zone that is not there, or disabled."""
    target = _target(site)
    found = _one(target.zones or (), target.wanted.zone, "ossea.zone")
    if isinstance(found, str):
        yield Hit(found)
    elif found.get("allocationstate", "Enabled") != "Enabled":
        yield Hit(f"zone {found.get('name')} is {found.get('allocationstate')}")


@site_rule(
    "MK-TGT-002",
    Severity.BLOCKER,
    "service offering",
    why="Machines are deployed with it.",
    remedy=IN_CONFIG,
    needs=("target.service_offerings",),
)
def service_offering(site: Site) -> Iterator[Hit]:
    """Report a service offering that is not there."""
    target = _target(site)
    if target.wanted.service_offering is None:
        return  # the smallest that fits is taken: MK-TGT-103
    found = _one(target.service_offerings or (), target.wanted.service_offering, "ossea.service_offering")
    if isinstance(found, str):
        yield Hit(found)


@site_rule(
    "MK-TGT-003",
    Severity.BLOCKER,
    "disk offering",
    why="Volumes are made with it, each in the size of its disk: it has to be a custom one.",
    remedy=IN_CONFIG,
    needs=("target.disk_offerings",),
)
def disk_offering(site: Site) -> Iterator[Hit]:
    """Report a disk offering that is not there, or has a size of its own."""
    target = _target(site)
    found = _one(target.disk_offerings or (), target.wanted.disk_offering, "ossea.disk_offering")
    if isinstance(found, str):
        yield Hit(found)
    elif not found.get("iscustomized"):
        yield Hit(
            f"ossea.disk_offering = {target.wanted.disk_offering!r} has a fixed size of {found.get('disksize')} GiB"
        )


@site_rule(
    "MK-TGT-004",
    Severity.BLOCKER,
    "template",
    why="A replica becomes a root disk by taking the place of a template's: deployVirtualMachine takes a "
    "volume only where "
    "it was itself made of a template.",
    remedy="Register a small template (its content is never booted), wait until it is ready, and name it in "
    "ossea.template.",
    needs=("target.templates",),
)
def template(site: Site) -> Iterator[Hit]:
    """Report a template that is not named, not there or not ready."""
    target = _target(site)
    if target.wanted.template is None:
        yield Hit("ossea.template is not set")
        return
    found = _one(target.templates or (), target.wanted.template, "ossea.template")
    if isinstance(found, str):
        yield Hit(found)
    elif not found.get("isready"):
        yield Hit(f"template {found.get('name')} is not ready: {found.get('status')}")
    elif (theirs := found.get("hypervisor")) and (ours := _hypervisor(target)) and theirs != ours:
        yield Hit(f"template {found.get('name')} is for {theirs}, and the OMA runs on {ours}")


def _hypervisor(target: Target) -> str:
    """Return the hypervisor that the OMA runs on, and so the replicas' volumes are for; "" where it is not known."""
    found = named(target.machines or (), target.wanted.oma_vm)
    return str(found[0].get("hypervisor") or "") if len(found) == 1 else ""


@site_rule(
    "MK-TGT-005",
    Severity.BLOCKER,
    "network of the target",
    why="Machines are put into it at failover, or at a rehearsal.",
    remedy="Correct the [networks] table, or make the network in CloudStack.",
    needs=("target.networks", "network_map"),
)
def networks(site: Site) -> Iterator[Hit]:
    """Report networks that the configuration names and the cloud does not have."""
    rows = _target(site).networks or ()
    settings = {
        f"networks.map {source!r}": name for source, name in (site.network_map or {}).items() if isinstance(name, str)
    }
    settings |= {f"networks {entry.source!r}": entry.target for entry in site.stored_map if entry.target}
    if site.test_network:
        settings["networks.test"] = site.test_network
    for setting, name in settings.items():
        found = _one(rows, name, setting)
        if isinstance(found, str):
            yield Hit(found, setting)


@site_rule(
    "MK-TGT-006",
    Severity.BLOCKER,
    "OMA machine",
    why="The volume daemon attaches every replica volume to it.",
    remedy="Start it, or correct ossea.oma_vm; docs/setup-oma.md.",
    needs=("target.machines",),
)
def oma(site: Site) -> Iterator[Hit]:
    """Report an OMA that is not there or does not run."""
    target = _target(site)
    found = _one(target.machines or (), target.wanted.oma_vm, "ossea.oma_vm")
    if isinstance(found, str):
        yield Hit(target.oma_problem or found)
    elif found.get("state") != "Running":
        yield Hit(f"{found.get('name')} is {found.get('state')}")


@site_rule(
    "MK-TGT-007",
    Severity.BLOCKER,
    "quota",
    why="CloudStack refuses what goes beyond the account's limits.",
    remedy="Raise the account's limits, or migrate fewer machines at a time. Rehearsals need as much again for "
    "a while.",
    needs=("target.account",),
)
def quota(site: Site) -> Iterator[Hit]:
    """Report limits that all assessed machines together would exceed."""
    need = Need(
        machines=len(site.chosen),
        cpus=sum(vm.cpus for vm in site.chosen),
        memory=sum(vm.memory_mib for vm in site.chosen),
        volumes=sum(len(vm.disks) for vm in site.chosen),
        primary_storage=needed_gib(site),
    )
    for short in shortfalls(_target(site).account or {}, need):
        yield Hit(str(short), short.what)


@site_rule(
    "MK-TGT-008",
    Severity.BLOCKER,
    "primary storage",
    why="The replicas of all assessed machines do not fit: their data, or what CloudStack lets volumes be promised "
    "(capacity of the pools by their over-provisioning).",
    remedy="Add primary storage, or migrate fewer machines at a time.",
    needs=("target.storage_pools", "target.disk_offerings"),
)
def primary_storage(site: Site) -> Iterator[Hit]:
    """Report that all pools that the disk offering may use have too little room together."""
    pools = _pools(site)
    data, free = sum(map(allocated, site.chosen)), _free(pools)
    needed, left = needed_gib(site) * GIB, sum(map(_promisable, pools))
    where = f"{len(pools)} {'pool' if len(pools) == 1 else 'pools'}"
    if data > free:
        yield Hit(f"the machines hold {human_bytes(data)}, {human_bytes(free)} are free in {where}", "data")
    if needed > left:
        yield Hit(f"volumes of {human_bytes(needed)} are needed, {human_bytes(left)} may be made in {where}", "volumes")


def _pools(site: Site) -> list[Row]:
    """Return the pools that are up and have the tags of the disk offering."""
    target = _target(site)
    offerings = named(target.disk_offerings or (), target.wanted.disk_offering)
    tags = _tags(offerings[0]) if len(offerings) == 1 else set()
    pools = target.storage_pools or ()
    return [pool for pool in pools if pool.get("state", "Up") == "Up" and tags <= _tags(pool)]


def _tags(row: Row) -> set[str]:
    """Return storage tags: a list with commas in between, or nothing."""
    tags = row.get("tags") or ""
    return {tag.strip() for tag in tags.split(",") if tag.strip()} if isinstance(tags, str) else set()


def _free(pools: Iterable[Row]) -> int:
    """Return the bytes that nothing is written to."""
    return sum(max(int(pool.get("disksizetotal") or 0) - int(pool.get("disksizeused") or 0), 0) for pool in pools)


def _promisable(pool: Row) -> int:
    """Return the bytes of volumes that CloudStack yet makes on a pool."""
    promised = int(pool.get("disksizetotal") or 0) * float(pool.get("overprovisionfactor") or 1)
    return max(int(promised) - int(pool.get("disksizeallocated") or 0), 0)


@site_rule(
    "MK-TGT-009",
    Severity.BLOCKER,
    "no host for UEFI guests",
    why="Machines with UEFI firmware only start on hosts that are set up for it (uefi.properties of the agent).",
    remedy="Install OVMF on a host and enable UEFI in its agent.",
    needs=("target.hosts",),
)
def uefi_hosts(site: Site) -> Iterator[Hit]:
    """Report that no host can start the UEFI machines."""
    guests = [vm.name for vm in site.chosen if vm.firmware == "efi"]
    able = [host for host in _target(site).hosts or () if host.get("ueficapability")]
    if guests and not able:
        yield Hit(f"{len(guests)} of the machines have UEFI firmware, and none of the zone's hosts can start them")


@site_rule(
    "MK-TGT-010",
    Severity.WARNING,
    "rehearsals are not possible",
    why="test-failover takes snapshots of attached volumes, which the cloud's settings forbid for running machines.",
    remedy="Set kvm.snapshot.enabled = true in CloudStack's global settings.",
    needs=("target.capabilities",),
)
def rehearsals(site: Site) -> Iterator[Hit]:
    """Report clouds without snapshots of running machines' volumes."""
    if (_target(site).capabilities or {}).get("kvmsnapshotenabled") is False:
        yield Hit("kvm.snapshot.enabled is false")


@site_rule(
    "MK-TGT-011",
    Severity.WARNING,
    "primary storage is over-committed",
    why="The data fits, but the disks can grow to more than is free: then machines stop in the middle of writing.",
    remedy="Watch the pools' use and add storage in time, or migrate fewer machines at a time.",
    needs=("target.storage_pools", "target.disk_offerings"),
)
def over_committed(site: Site) -> Iterator[Hit]:
    """Report that the pools have room for the machines' data, but not for their capacity."""
    pools = _pools(site)
    data, free, needed = sum(map(allocated, site.chosen)), _free(pools), needed_gib(site) * GIB
    if data <= free < needed:
        yield Hit(f"the disks can grow to {human_bytes(needed)}, {human_bytes(free)} are free")


@site_rule(
    "MK-TGT-012",
    Severity.INFO,
    "more disks than the OMA holds at a time",
    why="Replica volumes stay attached to the OMA between syncs, and CloudStack attaches a limited number to one "
    f"machine: {DATA_DISKS} are assumed where neither ossea.max_disks nor listHypervisorCapabilities says otherwise. "
    "Where it is full, a sync has volumes of machines that nobody works with detached; machines synced at the same "
    "time have to fit.",
    remedy="Sync only so many at a time as fit, or set up several OMAs (an ossea.oma_vm for each profile).",
    needs=("target",),
)
def waves_needed(site: Site) -> Iterator[Hit]:
    """Report that the assessed machines cannot all be replicated at once."""
    limit = _target(site).disk_limit
    disks = sum(len(vm.disks) for vm in site.chosen)
    # One machine with too many disks is MK-TGT-101's.
    if disks > limit and len(site.chosen) > 1:
        yield Hit(f"{len(site.chosen)} machines have {disks} disks, and {limit} can be attached")


@site_rule(
    "MK-TGT-013",
    Severity.WARNING,
    "virtual machines are not expunged",
    why="A machine that is destroyed and not expunged keeps its addresses until CloudStack expunges it by itself "
    "(expunge.delay, a day by default). Going back, and cleaning up after a rehearsal, work all the same.",
    remedy="Set allow.user.expunge.recover.vm = true for the account, and add expungeVirtualMachine to its role; "
    "docs/permissions.md.",
    needs=("target.may_expunge",),
)
def expunging(site: Site) -> Iterator[Hit]:
    """Report an account that may not expunge: by the setting, by its role, or by both."""
    target = _target(site)
    if target.may_expunge:
        return
    reasons = []
    if not (target.capabilities or {}).get("allowuserexpungerecovervm"):
        reasons.append("allow.user.expunge.recover.vm is false")
    if "expungeVirtualMachine" not in (target.apis or ()):
        reasons.append("the role lacks expungeVirtualMachine")
    yield Hit(" and ".join(reasons))
