"""What the machines are in and on: folders, datacenters, clusters, hosts, pools, datastores, networks. One look."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from migratekit_core.adapters.vsphere.inventory import wire
from migratekit_core.adapters.vsphere.inventory.collector import Found, Retrieval
from migratekit_core.adapters.vsphere.inventory.model import Datastore
from migratekit_core.common.vsphere_names import shown

_WANTED = {
    "Folder": ["name", "parent"],
    "Datacenter": ["name", "parent"],
    "ComputeResource": ["name", "parent"],
    "ClusterComputeResource": ["name", "parent", "configurationEx"],
    "HostSystem": ["name", "parent"],
    "ResourcePool": ["name", "parent"],
    "VirtualApp": ["name", "parent", "parentFolder"],
    "Datastore": [
        "name",
        "summary.type",
        "summary.capacity",
        "summary.freeSpace",
        "summary.accessible",
        "summary.multipleHostAccess",
    ],
    "Network": ["name", "parent"],
    "DistributedVirtualPortgroup": ["name", "parent", "key"],
    "OpaqueNetwork": ["name", "parent", "summary"],
}

_AS_THE_CLUSTER = "clusterRestartPriority"
"""A restart priority that is no override."""


class Places:
    """The inventory around the machines, by managed object id."""

    def __init__(self, service: Any) -> None:
        self._found: dict[str, Found] = {}
        self._paths: dict[str, tuple[str, str]] = {}
        self._networks: dict[str, tuple[str, str]] = {}
        self.datastores: dict[str, Datastore] = {}
        self.drs_overrides: dict[str, str] = {}
        self.ha_overrides: dict[str, str] = {}
        self.drs_rules: dict[str, tuple[str, ...]] = {}
        for found in Retrieval(service, _WANTED):
            self._found[found.moref] = found
            if found.type == "Datastore":
                self.datastores[found.moref] = _datastore(found)
            elif found.type in ("Network", "DistributedVirtualPortgroup", "OpaqueNetwork"):
                self._remember_network(found)
            elif found.type == "ClusterComputeResource":
                self._remember_cluster(found.properties.get("configurationEx"))

    def name(self, moref: str) -> str:
        """Return the name of an object, as the API has it; "" where it is not visible."""
        found = self._found.get(moref)
        return wire.text(found.properties.get("name")) if found else ""

    def network(self, key: str) -> tuple[str, str]:
        """Return (managed object id, name as it is shown) of a network by what a card calls it: its id, portgroup key
        or NSX id."""
        return self._networks.get(key, ("", ""))

    def standard_network(self, name: str) -> str:
        """Return the managed object id of the only standard network with this name; "" where none or several have."""
        named = [
            each.moref
            for each in self._found.values()
            if each.type == "Network" and shown(self.name(each.moref)) == shown(name)
        ]
        return named[0] if len(named) == 1 else ""

    def cluster(self, host: str) -> str:
        """Return the name of a host's cluster; "" where it has none."""
        parent = self._parent(host)
        found = self._found.get(parent)
        return self.name(parent) if found and found.type == "ClusterComputeResource" else ""

    def pool(self, moref: str) -> str:
        """Return the path of a resource pool below its cluster."""
        names = []
        while (found := self._found.get(moref)) and found.type in ("ResourcePool", "VirtualApp"):
            names.append(self.name(moref))
            moref = self._parent(moref)
        return "/".join(reversed(names))

    def vapp(self, moref: str) -> str:
        """Return the name of a resource pool that is a vApp, "" of another one."""
        found = self._found.get(moref)
        return self.name(moref) if found and found.type == "VirtualApp" else ""

    def folder(self, moref: str) -> tuple[str, str]:
        """Return the path of a folder (or vApp), and its datacenter with the folders above it, as `dcPath` wants it."""
        if moref not in self._paths:
            self._paths[moref] = self._path(moref)
        return self._paths[moref]

    def _path(self, moref: str) -> tuple[str, str]:
        parts: list[str] = []
        below_datacenter = 0
        while found := self._found.get(moref):
            parent = self._parent(moref)
            # A vApp's parent is a pool; in the inventory of machines it stands in its folder, which it names itself.
            if found.type == "VirtualApp":
                parent = wire.text(found.properties.get("parentFolder")) or parent
            # The root folder ("Datacenters", or "ha-folder-root" of a host) is no part of a path.
            if parent:
                parts.append(self.name(moref))
            if found.type == "Datacenter":
                below_datacenter = len(parts) - 1
            moref = parent
        parts.reverse()
        return "/" + "/".join(parts) if parts else "", "/".join(parts[: len(parts) - below_datacenter])

    def _parent(self, moref: str) -> str:
        found = self._found.get(moref)
        return wire.text(found.properties.get("parent")) if found else ""

    def _remember_network(self, found: Found) -> None:
        keys = (found.moref, wire.text(found.properties.get("key")))
        opaque = wire.text(found.properties.get("summary"), "opaqueNetworkId")
        for key in filter(None, (*keys, opaque)):
            self._networks[key] = (found.moref, shown(self.name(found.moref)))

    def _remember_cluster(self, configuration: Element | None) -> None:
        drs = wire.child(configuration, "drsConfig")
        usual = wire.text(drs, "defaultVmBehavior")
        # Where overrides are off for the whole cluster, those of machines are kept and mean nothing.
        overrides = wire.children(configuration, "drsVmConfig")
        for override in overrides if wire.text(drs, "enableVmBehaviorOverrides") != "false" else ():
            enabled = wire.text(override, "enabled") != "false"
            behavior = wire.text(override, "behavior") if enabled else "disabled"
            if behavior != usual:
                self.drs_overrides[wire.text(override, "key")] = behavior
        for override in wire.children(configuration, "dasVmConfig"):
            priority = wire.text(override, "dasSettings", "restartPriority") or wire.text(override, "restartPriority")
            if priority != _AS_THE_CLUSTER:
                self.ha_overrides[wire.text(override, "key")] = priority
        # Rules between machines name them; rules about hosts name a group of them.
        groups = {wire.text(each, "name"): wire.texts(each, "vm") for each in wire.children(configuration, "group")}
        for rule in wire.children(configuration, "rule"):
            if wire.text(rule, "enabled") == "false":
                continue
            for vm in (*wire.texts(rule, "vm"), *groups.get(wire.text(rule, "vmGroupName"), ())):
                self.drs_rules[vm] = (*self.drs_rules.get(vm, ()), wire.text(rule, "name"))


def _datastore(found: Found) -> Datastore:
    facts = found.properties
    return Datastore(
        moref=found.moref,
        name=shown(wire.text(facts.get("name"))),
        type=wire.text(facts.get("summary.type")),
        capacity_bytes=wire.number(facts.get("summary.capacity")),
        free_bytes=wire.number(facts.get("summary.freeSpace")),
        accessible=wire.truth(facts.get("summary.accessible")),
        shared=wire.truth(facts.get("summary.multipleHostAccess")),
    )
