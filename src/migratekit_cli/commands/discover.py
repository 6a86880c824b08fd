"""migratekit discover"""

from __future__ import annotations

from dataclasses import asdict

import typer

from migratekit_cli import render
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import configuration
from migratekit_core.units import human_bytes


@reported
def discover(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show the virtual machines of the source: disks, change tracking, networks, power, guest, firmware."""
    from migratekit_core.config.load import require
    from migratekit_core.vsphere import client, inventory

    config = configuration(context)
    require(config, "vcenter")
    assert config.vcenter is not None, "require has seen to it"
    with client.connect(config.vcenter) as service:
        machines = sorted(inventory.list_vms(service), key=lambda vm: vm.path)
    table = render.Table(
        "NAME", "POWER", "CPU", "MEMORY", "DISKS", "CBT", "NETWORKS", "FIRMWARE", "GUEST", right=("CPU",)
    )
    for vm in machines:
        tracked = vm.cbt_enabled and all(disk.change_id for disk in vm.disks)
        table.add(
            vm.name,
            vm.power.removeprefix("powered").lower(),
            vm.cpus,
            f"{vm.memory_mib} MiB",
            " + ".join(human_bytes(disk.capacity_bytes) for disk in vm.disks),
            "on" if tracked else "on, not yet effective" if vm.cbt_enabled else "off",
            ", ".join(nic.network or f"({nic.unresolved})" for nic in vm.nics),
            vm.firmware,
            vm.guest_name,
        )
    render.result(output, "migratekit.discover/1", {"vms": [asdict(vm) for vm in machines]}, table)
