"""migratekit discover"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.session import configuration
from migratekit_cli.ui import plain, stream
from migratekit_cli.ui.stream import ListOutput
from migratekit_core.common.units import human_bytes

if TYPE_CHECKING:
    from migratekit_core.adapters.vsphere.inventory import VirtualMachine

COLUMNS = ("NAME", "POWER", "CPU", "MEMORY", "DISKS", "CBT", "NETWORKS", "FIRMWARE", "GUEST")
MOST_DISKS = 3
"""That a table lists one by one."""
CSV_COLUMNS = (
    "moref",
    "uuid",
    "name",
    "path",
    "power",
    "connection",
    "template",
    "cluster",
    "host",
    "cpus",
    "memory_mib",
    "disks",
    "capacity_bytes",
    "committed_bytes",
    "cbt",
    "snapshots",
    "firmware",
    "hardware_version",
    "guest_id",
    "guest_name",
    "tools",
    "networks",
    "ip_addresses",
    "tags",
)


class Power(StrEnum):
    """Power states, as a filter."""

    ON = "on"
    OFF = "off"
    SUSPENDED = "suspended"


@reported
def command(
    context: typer.Context,
    name: Annotated[list[str] | None, typer.Option("--name", help="Only machines with such a name (glob).")] = None,
    folder: Annotated[
        list[str] | None, typer.Option("--folder", help="Only machines in or below such a folder (path or name, glob).")
    ] = None,
    cluster: Annotated[
        list[str] | None, typer.Option("--cluster", help="Only machines in such a cluster (glob).")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="Only machines with such a tag: category:name or name (glob).")
    ] = None,
    power: Annotated[list[Power] | None, typer.Option("--power", help="Only machines in this state.")] = None,
    guest: Annotated[
        list[str] | None, typer.Option("--guest", help="Only machines with such a guest system, by id or name (glob).")
    ] = None,
    tags: Annotated[bool, typer.Option("--tags", help="Read the tags as well; --tag does it by itself.")] = False,
    output: Annotated[
        ListOutput, typer.Option("--output", "-o", help="Form of the result on stdout.")
    ] = ListOutput.TABLE,
) -> None:
    """Show the virtual machines of the source: disks, change tracking, networks, power, guest, firmware.

    They are written as they are read, in vSphere's order. A filter that is given several times lets any of its values
    through; different filters must all fit.
    """
    from migratekit_core.adapters.vsphere import client, inventory
    from migratekit_core.config.load import require

    config = configuration(context)
    require(config, "vcenter")
    assert config.vcenter is not None, "require has seen to it"
    wanted = inventory.Filter(
        names=tuple(name or ()),
        folders=tuple(folder or ()),
        clusters=tuple(cluster or ()),
        tags=tuple(tag or ()),
        powers=tuple(power or ()),
        guests=tuple(guest or ()),
    )
    read_tags = None
    if tags or tag:
        from migratekit_core.adapters.vsphere.tags import read_tags as read

        read_tags = read(config.vcenter)
    with client.connect(config.vcenter, plain.err) as service:
        listing = _listing(output)
        for vm in inventory.list_vms(service, read_tags):
            if wanted.fits(vm):
                listing.add(vm)
        listing.end()


def _listing(output: ListOutput) -> stream.Stream:
    if output is ListOutput.TABLE:
        return stream.TableStream(COLUMNS, _table_row)
    if output is ListOutput.CSV:
        return stream.CsvStream(CSV_COLUMNS, _csv_row)
    kind = stream.JsonStream if output is ListOutput.JSON else stream.YamlStream
    return kind("migratekit.discover/1", "vms")


def _disks(vm: VirtualMachine) -> str:
    """Return the disks' sizes; of many, how many and how much."""
    if len(vm.disks) > MOST_DISKS:
        return f"{len(vm.disks)} disks, {human_bytes(sum(disk.capacity_bytes for disk in vm.disks))}"
    return " + ".join(human_bytes(disk.capacity_bytes) for disk in vm.disks)


def _tracking(vm: VirtualMachine) -> str:
    if not vm.cbt_enabled:
        return "off"
    return "on, not for all disks" if vm.excluded_disks else "on"


def _power(vm: VirtualMachine) -> str:
    """Return the power state, or why there is none to speak of."""
    return vm.power.removeprefix("powered").lower() if vm.connection == "connected" else vm.connection


def _table_row(vm: VirtualMachine) -> tuple[object, ...]:
    return (
        vm.name,
        _power(vm),
        vm.cpus,
        f"{vm.memory_mib} MiB",
        _disks(vm),
        _tracking(vm),
        ", ".join(nic.network or f"({nic.unresolved})" for nic in vm.nics),
        vm.firmware,
        vm.guest_name,
    )


def _csv_row(vm: VirtualMachine) -> tuple[object, ...]:
    return (
        vm.moref,
        vm.uuid,
        vm.name,
        vm.path,
        vm.power,
        vm.connection,
        str(vm.template).lower(),
        vm.cluster,
        vm.host_name,
        vm.cpus,
        vm.memory_mib,
        len(vm.disks),
        sum(disk.capacity_bytes for disk in vm.disks),
        vm.committed_bytes,
        _tracking(vm),
        len(vm.snapshots),
        vm.firmware,
        vm.hardware_version,
        vm.guest_id,
        vm.guest_name,
        vm.tools,
        ";".join(nic.network for nic in vm.nics),
        ";".join(address for nic in vm.nics for address in nic.ip_addresses),
        ";".join(vm.tags or ()),
    )
