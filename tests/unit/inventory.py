"""Machines for the unit tests of assessment: one that nothing stands in the way of, and the means to spoil it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from migratekit_core.adapters.vsphere.inventory import (
    Controller,
    Datastore,
    Disk,
    GuestAddress,
    Nic,
    VirtualMachine,
)

GIB = 1 << 30
STORE = Datastore("datastore-1", "ds1", "VMFS", 1000 * GIB, 500 * GIB, accessible=True, shared=True)


def disk(number: int = 1, **changes: Any) -> Disk:
    """Return a thin disk of 10 GiB on a paravirtual controller."""
    path = changes.pop("path", f"[ds1] good01/disk{number}.vmdk")
    whole = Disk(
        key=1999 + number,
        label=f"Hard disk {number}",
        unit_number=number - 1,
        controller="ParaVirtualSCSIController",
        capacity_bytes=10 * GIB,
        path=path,
        datastore="ds1",
        provisioning="thin",
        mode="persistent",
        change_id="52 aa/1",
        backing="FlatVer2",
        has_parent=False,
        controller_key=1000,
        datastore_moref=STORE.moref,
        sharing="sharingNone",
        base_path=path,
    )
    return replace(whole, **changes)


def nic(number: int = 1, **changes: Any) -> Nic:
    """Return a vmxnet3 card in VM Network with a static address."""
    whole = Nic(
        key=3999 + number,
        label=f"Network adapter {number}",
        type="vmxnet3",
        mac=f"00:50:56:00:00:{number:02x}",
        network="VM Network",
        network_kind="standard",
        connected=True,
        ip_addresses=("10.1.1.21",),
        network_moref="network-7",
        start_connected=True,
        addresses=(GuestAddress("10.1.1.21", 24, "manual"),),
        dhcp=False,
    )
    return replace(whole, **changes)


def machine(name: str = "good01", **changes: Any) -> VirtualMachine:
    """Return a Debian machine that only an info (its disk is thin) can be said about."""
    whole = VirtualMachine(
        moref=f"vm-{name}",
        uuid=f"50aa-{name}",
        name=name,
        path=f"/DC0/vm/prod/{name}",
        datacenter="DC0",
        power="poweredOn",
        connection="connected",
        template=False,
        cpus=2,
        memory_mib=2048,
        firmware="bios",
        guest_id="debian12_64Guest",
        guest_name="Debian GNU/Linux 12 (64-bit)",
        hardware_version="vmx-19",
        tools="guestToolsRunning",
        cbt_enabled=True,
        has_snapshots=False,
        host="host-1",
        disks=(disk(),),
        nics=(nic(),),
        folder="/DC0/vm/prod",
        datastores=(STORE,),
        controllers=(Controller(1000, "ParaVirtualSCSIController", "SCSI controller 0", 0, "noSharing"),),
        fault_tolerance="notConfigured",
        latency_sensitivity="normal",
        tools_status="guestToolsCurrent",
        guest_family="linuxGuest",
        guest_hostname=name,
        guest_reported_id="debian12_64Guest",
        gateways=("10.1.1.1",),
        committed_bytes=6 * GIB,
    )
    return replace(whole, **changes)


def write(path: Path, *machines: VirtualMachine) -> Path:
    """Write what `discover --output json` would."""
    path.write_text(json.dumps({"schema": "migratekit.discover/1", "vms": [asdict(vm) for vm in machines]}))
    return path
