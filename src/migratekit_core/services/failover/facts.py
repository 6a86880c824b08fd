"""The single facts that a preflight looks at: the source, the replica, what lies between, and the cloud."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import migratekit_core.services.assessment.rules  # noqa: F401 (fills RULES)
from migratekit_core.adapters.cloudstack.offerings import Choice
from migratekit_core.adapters.cloudstack.quota import Need, shortfalls
from migratekit_core.adapters.tunnel import local
from migratekit_core.adapters.tunnel.probe import probe
from migratekit_core.adapters.vsphere import client
from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.common.errors import MigrateKitError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.common.units import GIB, human_bytes, human_seconds, round_up
from migratekit_core.context import Runtime
from migratekit_core.db.models.base import utcnow
from migratekit_core.services.assessment import commands, privileges
from migratekit_core.services.assessment.access import EXPUNGE
from migratekit_core.services.assessment.rule import RULES
from migratekit_core.services.assessment.site import Site
from migratekit_core.services.assessment.target import Target
from migratekit_core.services.failover.checks import OK, UNCHECKED, WARNING, Check, failed, judged
from migratekit_core.services.failover.destination import KEPT_MACHINE, UNTIL
from migratekit_core.services.failover.record import LIVE, ROLLED_BACK, newest_first
from migratekit_core.services.replication import replica as replicas
from migratekit_core.services.replication.replica import COMPLETED, Replica
from migratekit_core.volumed.client import oma_problem

REPLICATE = hint("run: ", migratekit("replicate"))


@dataclass(frozen=True)
class Case:
    """What is to be failed over, and how."""

    vm: VirtualMachine
    replica: Replica | None
    test: bool
    """A rehearsal: every card goes into an isolated network, without its addresses."""
    vm_name: str
    """The new machine's name."""
    adopt: bool = False
    """A machine of that name may exist: an earlier run of the same failover may have made it."""
    power_off: bool = True
    """The source may be powered off where its guest does not shut down."""
    resume: bool = False
    """An earlier run has begun: the source may be off, the volumes handed over."""
    converted: bool = False
    """The guest was, or will be, given virtio drivers."""

    @property
    def volume_ids(self) -> tuple[str, ...]:
        """Return the replica's volumes, in the order of the disks."""
        disks = self.replica.disks if self.replica is not None else ()
        return tuple(disk.ossea_volume_id for disk in disks if disk.ossea_volume_id)


def source(case: Case) -> list[Check]:
    """Look at the machine in vSphere."""
    vm, problems = case.vm, []
    if vm.connection and vm.connection != "connected":
        problems.append(f"vSphere has no hold of it: it is {vm.connection}")
    if not case.test and vm.power == "suspended":
        problems.append("it is suspended, and what is in its memory does not come along")
    if not case.test and not case.power_off and vm.power == "poweredOn" and vm.tools != "guestToolsRunning":
        problems.append("VMware Tools are not running, so its guest cannot be shut down (--power-off allows it)")
    on = {"poweredOn": "on", "poweredOff": "off"}.get(vm.power, vm.power)
    tools = "running" if vm.tools == "guestToolsRunning" else "not running"
    return judged("source", problems, f"{vm.path} is {on}, VMware Tools {tools}", "mend it in vCenter")


def replica(runtime: Runtime, case: Case) -> list[Check]:
    """Look at what was replicated: how old it is, and whether all disks are in it."""
    vm, found = case.vm, case.replica
    again = f"{REPLICATE} {vm.name}"
    if found is None:
        return failed("last sync", ["it was never replicated"], again)
    checks = _age(runtime, case, again)
    have = replicas.of_disks(runtime.databases.oma, vm, found)
    problems = [f"{disk.label} was added since the last sync" for disk in vm.disks if disk.key not in have]
    for disk in vm.disks:
        row = have.get(disk.key)
        if row is not None and (row.disk_change_id is None or row.ossea_volume_id is None):
            problems.append(f"{disk.label} is not synced")
        elif row is not None and row.capacity_bytes != disk.capacity_bytes:
            sizes = f"{human_bytes(row.capacity_bytes)} to {human_bytes(disk.capacity_bytes)}"
            problems.append(f"{disk.label} was resized from {sizes} since the last sync")
    still = {row.id for row in have.values()}
    gone = [row.label for row in found.disks if row.id not in still]
    problems += [f"{label} of the replica is none of the machine's disks any more" for label in gone]
    return checks + judged("disks", [] if case.resume else problems, f"all {len(vm.disks)} disks are synced", again)


def _age(runtime: Runtime, case: Case, again: str) -> list[Check]:
    assert case.replica is not None, "the caller has looked"
    job, last = case.replica.job, replicas.last_completed(runtime.databases.oma, case.vm.uuid)
    if case.test and job.status != COMPLETED:
        return failed("last sync", [f"its last sync is {job.status}"], again)
    if last is None or last.started_at is None:
        return failed("last sync", [] if case.resume else ["no sync of it was ever completed"], again)
    age = (utcnow() - last.started_at).total_seconds()
    limit = runtime.config.failover.max_sync_age
    text = f"its last sync is {human_seconds(age)} old"
    if age > limit and not case.resume:
        return failed(
            "last sync", [f"{text}; at most {human_seconds(limit)} are allowed (failover.max_sync_age)"], again
        )
    return [Check("last sync", OK, text)]


def infrastructure(runtime: Runtime, case: Case) -> list[Check]:
    """Look at what lies between here and the volumes: tunnel, daemon, the volumes themselves."""
    checks = []
    if runtime.config.tunnel.leads_away:
        current = local.status(runtime.config.tunnel)
        problem = probe(runtime.config.tunnel).problem if current.up else None
        why = str(problem) if problem is not None else "" if current.up else "its local end is down"
        look = hint("look with: ", migratekit("tunnel", "status"))
        checks += judged(
            "tunnel", [f"the tunnel does not work: {why}"] if why else [], f"up, to {current.remote}", look
        )
    volumes = runtime.volumes()
    try:
        health = volumes.health()
        fine = f"the volume daemon answers (version {health.get('version')})"
        checks += judged(
            "OMA", [] if health.get("status") == "ok" else [f"the daemon is {health}"], fine, "see its log"
        )
        oma = volumes.oma()
        unfit = oma_problem(oma)
        checks += judged("OMA's disks", [str(unfit)] if unfit else [], "it takes disks", unfit.todo if unfit else "")
        if offering := oma.get("backup_offering"):
            detail = f"it has the backup offering {offering}: attaching and detaching may be refused"
            todo = "remove the OMA from it, or see that backup.enable.attach.detach.of.volumes is true"
            checks.append(Check("OMA's disks", WARNING, detail, todo))
        checks += _volumes(case, {volume["id"]: volume for volume in volumes.volumes()})
    except MigrateKitError as error:
        checks += failed("OMA", [str(error)], error.todo)
    finally:
        volumes.close()
    return checks


def _volumes(case: Case, have: dict[str, dict[str, Any]]) -> list[Check]:
    if case.replica is None:
        return []
    problems = [f"volume {each} of the replica is gone" for each in case.volume_ids if each not in have]
    for each in case.volume_ids:
        volume = have.get(each)
        if volume is not None and volume["state"] != "Ready":
            problems.append(f"volume {volume['name']} is {volume['state']}, not Ready")
    fine = f"{len(case.volume_ids)} volumes are there and Ready"
    return judged("volumes", problems, fine, f"{REPLICATE} {case.vm.name}")


def former_machine(runtime: Runtime, case: Case) -> list[Check]:
    """Look for the machine of an earlier failover that was taken back and not expunged: it holds its addresses.

    An ordinary account does not see a destroyed machine, so nobody can tell from here whether it is expunged by now.
    """
    if case.test:
        return []
    kept = None
    for earlier in newest_first(runtime.databases.oma, case.vm.uuid, LIVE):
        kept = earlier.state().get(KEPT_MACHINE) if earlier.row().status == ROLLED_BACK else None
        # One that made no machine, which those addresses may have been the reason of, says nothing of them.
        if kept or earlier.row().status != ROLLED_BACK or earlier.row().destination_vm_id is not None:
            break
    if not kept:
        return []
    detail = f"machine {kept} of the failover that was taken back keeps them until CloudStack expunges it ({UNTIL}): "
    detail += "until then the new machine is refused, before the source is shut down"
    todo = "have an administrator expunge it, or keep no address: failover.keep_mac = false, failover.keep_ip = never"
    return [Check("addresses", WARNING, detail, todo)]


BY_RULES = (
    ("zone", "MK-TGT-001", "the zone is there and enabled"),
    ("OMA machine", "MK-TGT-006", "the OMA runs"),
    ("firmware", "MK-TGT-009", "a host of the zone can start it"),
    ("guest", "MK-GUEST-001", "its guest runs on KVM"),
    ("name", "MK-TGT-105", "its name is free in CloudStack"),
    ("snapshots", "MK-TGT-010", "snapshots of a running machine's volumes are allowed"),
    ("expunging", "MK-TGT-013", "destroyed machines are expunged"),
)
"""Name of the check, the rule of `assess` that makes it, and what is so where the rule finds nothing."""
ONLY_TEST, ONLY_LIVE, WITH_UEFI, ONLY_WARNED = {"snapshots"}, {"name"}, {"firmware"}, {"expunging"}


def by_rules(case: Case, found: Target) -> list[Check]:
    """Look at what the rules of `assess` know."""
    checks: list[Check] = []
    for name, rule, fine in BY_RULES:
        other = ONLY_LIVE if case.test else ONLY_TEST
        if name in other or (name in WITH_UEFI and case.vm.firmware != "efi"):
            continue
        checks += by_rule(name, rule, case, found, fine)
    return checks


def by_rule(name: str, rule_id: str, case: Case, found: Target, fine: str) -> Iterator[Check]:
    """Yield a failed check (a warning for those of ONLY_WARNED) for each hit of a rule, or one that says what is fine,
    or that nobody could look."""
    rule = RULES[rule_id]
    site = Site(machines=(case.vm,), chosen=(case.vm,), target=found)
    reason = next(filter(None, (site.lacks(fact) for fact in rule.needs)), "")
    if reason:
        yield Check(name, UNCHECKED, reason)
        return
    hits = list(
        rule.site_check(site) if rule.site_check else rule.machine_check(case.vm, site) if rule.machine_check else ()
    )
    if name in ONLY_WARNED:
        warned = [Check(name, WARNING, f"{rule.what}: {hit.message}", rule.remedy) for hit in hits]
        yield from warned or [Check(name, OK, fine)]
        return
    yield from judged(name, [hit.message for hit in hits], fine, rule.remedy)


def permissions(case: Case, found: Target, service: Any) -> list[Check]:
    """Look at whether CloudStack's role and vSphere's role allow what will be called."""
    command = "test-failover" if case.test else "failover"
    wanted = commands.CLOUDSTACK[command]
    lacking_apis = [api for api in wanted if found.apis is not None and api not in found.apis]
    missing = [api for api in lacking_apis if api not in commands.HELPFUL]
    todo = "add it to the role; docs/permissions.md"
    problems = [f"the role may not call {', '.join(missing)}"] if missing else []
    checks = judged("CloudStack role", problems, "the role may call what is needed", todo)
    # That it may not expunge is a check of its own, where it is known.
    told = {EXPUNGE} if found.may_expunge is False else set()
    for api in (api for api in lacking_apis if api in commands.HELPFUL and api not in told):
        detail = f"the role may not call {api}: {commands.HELPFUL[api]}"
        checks.append(Check("CloudStack role", WARNING, detail, todo))
    if service is None or case.resume:
        return checks
    try:
        with client.faults("the privilege check"):
            lacking = privileges.read_lacking(service, (case.vm,))
    except MigrateKitError as error:
        return [*checks, Check("vSphere role", UNCHECKED, f"vSphere did not answer: {error.why}")]
    mine = {privilege.id for privilege in commands.VSPHERE[command]}
    lacks = dict.fromkeys(each.privilege.id for each in lacking if each.privilege.id in mine)
    return checks + judged(
        "vSphere role",
        [f"the account lacks {', '.join(lacks)}"] if lacks else [],
        "the account has all privileges",
        "grant them; docs/permissions.md",
    )


def quota(case: Case, found: Target, choice: Choice | None) -> list[Check]:
    """Look at whether the account's limits leave room for what will be made."""
    if found.account is None:
        return [Check("quota", UNCHECKED, found.missing.get("target.account", "the OMA's account is not known"))]
    if case.adopt:
        return [Check("quota", OK, "its machine exists already")]
    copies = len(case.vm.disks) if case.test else 0
    gib = sum(round_up(disk.capacity_bytes, GIB) // GIB for disk in case.vm.disks) if case.test else 0
    need = Need(
        machines=1,
        cpus=choice.cpus if choice is not None else case.vm.cpus,
        memory=choice.memory if choice is not None else case.vm.memory_mib,
        # The template's root disk is there for a moment, beside the replica's volumes, which count already.
        volumes=copies + 1,
        primary_storage=gib + _template_gib(found),
        snapshots=copies,
    )
    problems = [str(short) for short in shortfalls(found.account, need)]
    fine = f"the account has room for {need.cpus} CPUs, {need.memory} MiB and {need.volumes} more volumes"
    return judged("quota", problems, fine, "raise the account's limits in CloudStack, or free what is not needed")


def _template_gib(found: Target) -> int:
    wanted = found.wanted.template
    sizes = [int(row.get("size") or 0) for row in found.templates or () if wanted in (row.get("id"), row.get("name"))]
    return round_up(max(sizes, default=0), GIB) // GIB
