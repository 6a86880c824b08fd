"""A machine's facts twice: read of pyVmomi's objects, call by call, and of ours."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

from migratekit_core.adapters.vsphere import inventory


def as_pyvmomi_says(vm: Any) -> dict[str, Any]:
    """The facts of a machine, from pyVmomi's objects."""
    devices = vm.config.hardware.device
    nets = {net.deviceConfigId: tuple(net.ipAddress) for net in vm.guest.net}
    parts = []
    at = vm
    while at is not None and at.parent is not None:
        parts.append(at.name)
        at = at.parent
    host = vm.runtime.host
    return {
        "moref": vm._moId, "uuid": vm.config.instanceUuid, "bios_uuid": vm.config.uuid, "name": vm.name,
        "path": "/" + "/".join(reversed(parts)), "datacenter": parts[-1], "power": vm.runtime.powerState,
        "connection": vm.runtime.connectionState, "template": vm.config.template, "cpus": vm.config.hardware.numCPU,
        "memory_mib": vm.config.hardware.memoryMB, "firmware": vm.config.firmware, "guest_id": vm.config.guestId,
        "guest_name": vm.config.guestFullName, "hardware_version": vm.config.version,
        "tools": vm.guest.toolsRunningStatus, "tools_version": vm.guest.toolsVersion,
        "tools_status": vm.guest.toolsVersionStatus2, "cbt_enabled": bool(vm.config.changeTrackingEnabled),
        "has_snapshots": vm.snapshot is not None, "host": host._moId, "host_name": host.name,
        "cluster": host.parent.name if isinstance(host.parent, vim.ClusterComputeResource) else "",
        "resource_pool": vm.resourcePool.name, "vmx_path": vm.config.files.vmPathName,
        "committed_bytes": vm.summary.storage.committed, "guest_hostname": vm.guest.hostName or "",
        "cbt_supported": vm.capability.changeTrackingSupported,
        "latency_sensitivity": vm.config.latencySensitivity.level,
        "datastores": [(d._moId, d.name, d.summary.type, d.summary.capacity) for d in vm.datastore],
        "disks": [
            (d.key, d.deviceInfo.label, d.unitNumber, d.controllerKey, d.capacityInBytes, d.backing.fileName,
             d.backing.diskMode, d.backing.changeId or None, d.backing.thinProvisioned, d.backing.uuid)
            for d in devices if isinstance(d, vim.vm.device.VirtualDisk)
        ],
        "nics": [
            (d.key, d.deviceInfo.label, d.macAddress, d.connectable.connected, nets.get(d.key, ()))
            for d in devices if isinstance(d, vim.vm.device.VirtualEthernetCard)
        ],
        "networks": sorted(network.name for network in vm.network),
        "controllers": [
            (d.key, type(d).__name__.rpartition(".")[2], d.busNumber)
            for d in devices if isinstance(d, vim.vm.device.VirtualController)
        ],
        "snapshots": [tree.name for tree in vm.snapshot.rootSnapshotList] if vm.snapshot else [],
    }  # fmt: skip


def as_we_say(vm: inventory.VirtualMachine, like: dict[str, Any]) -> dict[str, Any]:
    """The same facts, from ours."""
    plain = {name: getattr(vm, name) for name in like if hasattr(vm, name)}
    return plain | {
        "datastores": [(d.moref, d.name, d.type, d.capacity_bytes) for d in vm.datastores],
        "disks": [
            (d.key, d.label, d.unit_number, d.controller_key, d.capacity_bytes, d.path, d.mode, d.change_id,
             d.provisioning == "thin", d.uuid)
            for d in vm.disks
        ],
        "nics": [(n.key, n.label, n.mac, n.connected, n.ip_addresses) for n in vm.nics],
        "networks": sorted({n.network for n in vm.nics}),
        "controllers": [(c.key, c.type, c.bus_number) for c in vm.controllers],
        "snapshots": [snapshot.name for snapshot in vm.snapshots],
    }  # fmt: skip
