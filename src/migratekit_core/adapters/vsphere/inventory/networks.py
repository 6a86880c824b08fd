"""The network that a card is in: by what the card's backing says, by the inventory, and by the machine's own record.

There is no "unknown": a card either has a network with a name, or a reason why it has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element

from migratekit_core.adapters.vsphere.inventory import wire
from migratekit_core.adapters.vsphere.inventory.places import Places
from migratekit_core.common.vsphere_names import shown

PRESENT, RENAMED, DELETED = "present", "renamed", "deleted"
STANDARD, DISTRIBUTED, OPAQUE = "standard", "distributed", "opaque"
_STANDARD = {
    "VirtualEthernetCardNetworkBackingInfo",
    "VirtualEthernetCardLegacyNetworkBackingInfo",
    "VirtualSriovEthernetCardNetworkBackingInfo",
}


@dataclass(frozen=True)
class CardNetwork:
    """A card's network. Where `name` is empty, `unresolved` says why."""

    kind: str = ""
    name: str = ""
    moref: str = ""
    path: str = ""
    key: str = ""
    record: str = ""
    state: str = ""
    unresolved: str = ""


def card_network(backing: Element | None, told: str, places: Places | None) -> CardNetwork:
    """Return the network of a card. `told`: what VMware Tools call it; `places` None: the inventory was not read."""
    if backing is None:
        return CardNetwork(unresolved="the card has no network backing")
    if places is None:
        return CardNetwork(unresolved="the networks of the inventory were not read")
    kind = wire.type_of(backing)
    if kind == "VirtualEthernetCardDistributedVirtualPortBackingInfo":
        return _distributed(backing, told, places)
    if kind == "VirtualEthernetCardOpaqueNetworkBackingInfo":
        return _opaque(backing, told, places)
    if kind in _STANDARD:
        return _standard(backing, told, places)
    return CardNetwork(unresolved=f"the card is connected to a {_words(kind)}, which is no network")


def _standard(backing: Element, told: str, places: Places) -> CardNetwork:
    # The machine's record keeps the name that the network had; the inventory has the one that it has now.
    record = wire.text(backing, "deviceName") or told
    key = wire.text(backing, "network") or places.standard_network(record)
    if not (key or record):
        return CardNetwork(STANDARD, unresolved="the card's record names no network")
    return _resolved(STANDARD, key, record, places, f"network {key} does not exist any more")


def _distributed(backing: Element, told: str, places: Places) -> CardNetwork:
    port = wire.child(backing, "port")
    key, switch = wire.text(port, "portgroupKey"), wire.text(port, "switchUuid")
    if not key:
        where = f"port {wire.text(port, 'portKey') or 'without a number'} of distributed switch {switch}"
        return CardNetwork(DISTRIBUTED, unresolved=f"the card is connected to {where}, which is in no portgroup")
    gone = f"distributed portgroup {key} does not exist any more, or is not visible to this account"
    return _resolved(DISTRIBUTED, key, told, places, gone)


def _opaque(backing: Element, told: str, places: Places) -> CardNetwork:
    key = wire.text(backing, "opaqueNetworkId")
    kind = wire.text(backing, "opaqueNetworkType") or "NSX"
    if not key:
        return CardNetwork(OPAQUE, unresolved=f"the card's {kind} network has no id")
    gone = f"NSX segment {key} ({kind}) does not exist any more, or is not visible to this account"
    return _resolved(OPAQUE, key, told, places, gone)


def _resolved(kind: str, key: str, record: str, places: Places, gone: str) -> CardNetwork:
    """Return a network by its key, else by the machine's own record, else why there is none."""
    moref, name = places.network(key)
    record = shown(record)
    if name:
        # Only the record of a standard network is about this very network: what the tools tell may be a former one.
        renamed = kind == STANDARD and record not in ("", name)
        path = places.folder(moref)[0]
        return CardNetwork(kind, name, moref, path, key, record if renamed else name, RENAMED if renamed else PRESENT)
    if record:
        return CardNetwork(kind, record, "", "", key, record, DELETED)
    return CardNetwork(kind, key=key, unresolved=f"{gone}, and the machine's own record has no name for it")


def _words(kind: str) -> str:
    return kind.removeprefix("VirtualEthernetCard").removesuffix("BackingInfo") or "backing of no type"
