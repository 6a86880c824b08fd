"""Snapshots and changed-block tracking."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.adapters.readers.layout import Layout
from migratekit_core.adapters.vsphere.inventory import Snapshot, VirtualMachine
from migratekit_core.services.assessment.rule import OTHER_READERS, Hit, Severity, machine_rule
from migratekit_core.services.assessment.site import Site

LEAST_HARDWARE = 7
"""Virtual hardware version that brought changed-block tracking."""
OUR_PREFIX = "migratekit-"
"""How the names of MigrateKit's snapshots begin (vsphere/snapshots.py), of all installations."""


def _hardware(vm: VirtualMachine) -> int | None:
    digits = vm.hardware_version.removeprefix("vmx-")
    return int(digits) if digits.isdigit() else None


def foreign(vm: VirtualMachine) -> tuple[Snapshot, ...]:
    """Return the snapshots that are not ours."""
    return tuple(snapshot for snapshot in vm.snapshots if not snapshot.name.startswith(OUR_PREFIX))


@machine_rule(
    "MK-CBT-001",
    Severity.BLOCKER,
    "changed-block tracking is not supported",
    why="Virtual hardware before version 7 cannot track changes, so a running machine could not be followed.",
    remedy="Power the machine off and upgrade its virtual hardware, or move it cold.",
)
def not_supported(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report machines that are too old, or that vSphere says cannot track."""
    version = _hardware(vm)
    if version is not None and version < LEAST_HARDWARE:
        yield Hit(f"virtual hardware {vm.hardware_version}, and vmx-0{LEAST_HARDWARE} is needed")
    elif vm.disks and not vm.cbt_supported:
        yield Hit("vSphere says that this machine cannot track changes")


@machine_rule(
    "MK-CBT-002",
    Severity.INFO,
    "changed-block tracking is off",
    why="It is needed for every sync but the first. MigrateKit switches it on at the first `replicate`, which stuns a "
    "running guest for a moment (a short snapshot).",
    remedy="Nothing has to be done; or switch it on beforehand, in a quiet hour.",
)
def off(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report machines without change tracking, where it can be switched on."""
    if not vm.cbt_enabled and vm.disks and not vm.has_snapshots:
        yield Hit("change tracking is off")


@machine_rule(
    "MK-CBT-003",
    Severity.BLOCKER,
    "changed-block tracking is off for a disk",
    why="The disk is excluded by an advanced setting, which switching the machine's flag on does not undo. `replicate` "
    "refuses the machine.",
    remedy="Remove scsiX:Y.ctkEnabled = FALSE from the advanced settings; the next snapshot starts the tracking.",
)
def off_for_a_disk(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report disks that are excluded. Whether the others have a change id, only a snapshot of theirs tells."""
    for label, key in vm.excluded_disks.items():
        yield Hit(f"{key} is FALSE", label)


@machine_rule(
    "MK-CBT-004",
    Severity.BLOCKER,
    "changed-block tracking cannot be switched on",
    why="It is off, and vSphere does not begin to track a machine that has snapshots.",
    remedy="Remove or consolidate the snapshots first.",
)
def cannot_begin(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report snapshots without tracking."""
    if not vm.tracks and vm.has_snapshots:
        yield Hit(f"change tracking is off, and there are snapshots ({_names(vm.snapshots)})")


@machine_rule(
    "MK-SNAP-001",
    Severity.BLOCKER,
    "existing snapshots",
    why="With a snapshot the disk's content is spread over several files; a reader of files would copy an old state.",
    remedy="Remove the snapshots (Delete All), and agree with the backup's schedule: it makes them, too; "
    f"{OTHER_READERS}",
)
def existing(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report snapshots of others where files are read."""
    if Layout.CHAIN not in site.unread or not vm.has_snapshots:
        return
    others = foreign(vm)
    if others or not vm.snapshots:
        yield Hit(_names(others))


@machine_rule(
    "MK-SNAP-002",
    Severity.WARNING,
    "consolidation is needed",
    why="A removed snapshot left its files behind: the machine runs on deltas that no snapshot accounts for. "
    "`replicate` consolidates them first, which may take long.",
    remedy="Nothing has to be done; or consolidate in vCenter (Snapshots > Consolidate). Where that fails, look what "
    "holds the files.",
)
def consolidation(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report machines that ask for consolidation."""
    if vm.consolidation_needed:
        yield Hit("vSphere asks to consolidate its disks")


@machine_rule(
    "MK-SNAP-003",
    Severity.INFO,
    "snapshot of an interrupted run",
    why="A run of MigrateKit was killed, or one runs at this moment, maybe another installation's. Its snapshot grows.",
    remedy="Run replicate again: it removes the snapshots of its own installation first.",
)
def ours(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report snapshots of ours."""
    for snapshot in vm.snapshots:
        if snapshot.name.startswith(OUR_PREFIX):
            yield Hit(f"made {snapshot.created or 'earlier'}", snapshot.name)


def _names(snapshots: tuple[Snapshot, ...]) -> str:
    return ", ".join(snapshot.name for snapshot in snapshots) or "unnamed"
