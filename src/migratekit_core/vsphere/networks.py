"""Names the network of every NIC. There is no "unknown": what cannot be resolved says why (`Nic.unresolved`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl


@dataclass(frozen=True)
class Nic:
    """A network card. Where `network` is empty, `unresolved` says why."""

    key: int
    label: str
    type: str
    mac: str
    network: str
    network_kind: str
    """standard, distributed or opaque (NSX)."""
    connected: bool
    ip_addresses: tuple[str, ...]
    unresolved: str = ""


class Networks:
    """The networks of the inventory, by the keys that NICs refer to them with; read when first needed."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self._names: dict[str, str] = {}
        self._read_already = False

    def portgroup(self, key: str) -> str | None:
        """Return the name of a distributed portgroup; its key is its managed object id."""
        return self._read().get(key)

    def opaque(self, network_id: str) -> str | None:
        """Return the name of an NSX segment by its opaque network id."""
        return self._read().get(network_id)

    def _read(self) -> dict[str, str]:
        if not self._read_already:
            self._read_already = True
            manager = self._content.viewManager
            view = manager.CreateContainerView(self._content.rootFolder, [vim.Network], True)
            try:
                for network in view.view:
                    self._remember(network)
            finally:
                view.Destroy()
        return self._names

    def _remember(self, network: Any) -> None:
        try:
            self._names[network._moId] = network.name
            if isinstance(network, vim.dvs.DistributedVirtualPortgroup):
                self._names[network.key] = network.name
            if isinstance(network, vim.OpaqueNetwork):
                self._names[network.summary.opaqueNetworkId] = network.name
        except vmodl.fault.ManagedObjectNotFound:
            return  # deleted between the view and this look: a NIC on it is unresolved


def read_nics(devices: Any, guest_net: Any, networks: Networks) -> tuple[Nic, ...]:
    """Return the network cards among a machine's devices, with what the guest says of their addresses."""
    addresses = {net.deviceConfigId: tuple(net.ipAddress or ()) for net in guest_net}
    cards = [device for device in devices if isinstance(device, vim.vm.device.VirtualEthernetCard)]
    return tuple(_nic(card, addresses.get(card.key, ()), networks) for card in cards)


def _nic(card: Any, ips: tuple[str, ...], networks: Networks) -> Nic:
    name, kind, unresolved = _network(card.backing, networks)
    return Nic(
        key=card.key,
        label=card.deviceInfo.label if card.deviceInfo else f"NIC {card.key}",
        type=type(card).__name__.rpartition(".")[2].removeprefix("Virtual").lower(),
        mac=card.macAddress or "",
        network=name,
        network_kind=kind,
        connected=bool(card.connectable and card.connectable.connected),
        ip_addresses=ips,
        unresolved=unresolved,
    )


def _network(backing: Any, networks: Networks) -> tuple[str, str, str]:
    """Return (name, kind, why there is no name) of a NIC's backing."""
    ethernet = vim.vm.device.VirtualEthernetCard
    if isinstance(backing, ethernet.DistributedVirtualPortBackingInfo):
        key = backing.port.portgroupKey
        name = networks.portgroup(key) if key else None
        reason = "" if name else f"distributed portgroup {key or 'without a key'} does not exist any more"
        return name or "", "distributed", reason
    if isinstance(backing, ethernet.OpaqueNetworkBackingInfo):
        name = networks.opaque(backing.opaqueNetworkId)
        reason = "" if name else f"NSX segment {backing.opaqueNetworkId} is not visible to this account"
        return name or "", "opaque", reason
    if isinstance(backing, ethernet.NetworkBackingInfo):
        # The machine's own record names the network also where the portgroup was deleted since.
        name = backing.deviceName or ""
        return name, "standard", "" if name else "the card's record names no network"
    return "", "", "the card has no network backing"
