"""Every way in which a card can be connected, made in vCenter: each has a network with a name, or a reason."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim

from migratekit_core.common.files import write_private
from tests.integration.estate import card
from tests.integration.estate_fixture import PASSWORD, logged_in
from tests.integration.machines import machine, thin
from tests.lab.lab import BINARY, COMMAND, environment
from tests.lab.parts import process, vcenter

MIB = 1 << 20
CARDS = {
    "standard01": ["VM Network"],
    "distributed01": ["DC0_DVPG0"],
    "folder01": ["VM Network"],
    "renamed01": ["DC0_DVPG2"],
    "deleted01": ["DC0_DVPG3"],
    "forgotten01": ["DC0_DVPG3"],
    "opaque01": ["DC0_NSX0"],
    "twice01": ["VM Network", "VM Network"],
    "bare01": ["VM Network"],
    "hidden01": ["VM Network"],
    "unplugged01": ["VM Network"],
    "stale01": ["VM Network"],
    "gone01": ["VM Network"],
    "port01": ["VM Network"],
    "passed01": ["VM Network"],
}
Json = dict[str, Any]
NOTHING_TOLD: Json = {"guest.net": []}
"""Of a machine without VMware Tools."""


def inventory() -> Json:
    small = [thin(8 * MIB)]
    vms = [machine(name, *small, nics=[{"network": each} for each in networks]) for name, networks in CARDS.items()]
    return {"portgroups": 4, "opaque_networks": 1, "vms": vms}


def by_name(service: Any, kind: Any, name: str) -> Any:
    content = service.RetrieveContent()
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], True)
    try:
        return next(each for each in view.view if each.name == name)
    finally:
        view.Destroy()


def backing(kind: str, **fields: Any) -> Json:
    return {"_typeName": f"VirtualEthernetCard{kind}BackingInfo", **fields}


def told(name: str) -> Json:
    """Return what VMware Tools say of a machine's first card."""
    return {"guest.net": [{"_typeName": "GuestNicInfo", "network": name, "deviceConfigId": 4000, "connected": True}]}


def make(centre: vcenter.VCenter, service: Any) -> None:
    """Do to the networks and the cards what their machines are named after."""
    group = vim.dvs.DistributedVirtualPortgroup
    datacenter = by_name(service, vim.Datacenter, "DC0")
    left = datacenter.networkFolder.CreateFolder("left")
    switch_spec = vim.DistributedVirtualSwitch.ConfigSpec(name="left-switch")
    WaitForTask(left.CreateDVS_Task(vim.DistributedVirtualSwitch.CreateSpec(configSpec=switch_spec)))
    switch = by_name(service, vim.DistributedVirtualSwitch, "left-switch")
    host = by_name(service, vim.VirtualMachine, "folder01").runtime.host
    hosts = [vim.dvs.HostMember.ConfigSpec(operation="add", host=each) for each in host.parent.host]
    WaitForTask(switch.ReconfigureDvs_Task(vim.DistributedVirtualSwitch.ConfigSpec(host=hosts)))
    # Another one of this name is in the folder above.
    WaitForTask(switch.AddDVPortgroup_Task([group.ConfigSpec(name="DC0_DVPG0", type="earlyBinding", numPorts=8)]))
    (namesake,) = [each for each in switch.portgroup if each.name == "DC0_DVPG0"]
    plug_in(by_name(service, vim.VirtualMachine, "folder01"), namesake)
    WaitForTask(by_name(service, group, "DC0_DVPG2").Rename_Task("renamed since"))
    doomed = by_name(service, group, "DC0_DVPG3")
    segment = by_name(service, vim.OpaqueNetwork, "DC0_NSX0").summary
    changes = {
        "deleted01": told("DC0_DVPG3"),
        "forgotten01": NOTHING_TOLD,
        "opaque01": card(
            "VirtualVmxnet3",
            backing(
                "OpaqueNetwork", opaqueNetworkId=segment.opaqueNetworkId, opaqueNetworkType=segment.opaqueNetworkType
            ),
        ),
        "bare01": without_backing(),
        "hidden01": NOTHING_TOLD
        | card(
            "VirtualVmxnet3",
            backing("OpaqueNetwork", opaqueNetworkId="seg-9", opaqueNetworkType="nsx.LogicalSwitch"),
        ),
        "unplugged01": card(
            "VirtualVmxnet3",
            connectable={"_typeName": "VirtualDeviceConnectInfo", "connected": False, "startConnected": False},
        ),
        "stale01": card("VirtualVmxnet3", standard("its name of last year", moref(service, "VM Network"))),
        "gone01": card("VirtualVmxnet3", standard("Old LAN", "network-9999")),
        "port01": card(
            "VirtualVmxnet3",
            backing(
                "DistributedVirtualPort",
                port={"_typeName": "DistributedVirtualSwitchPortConnection", "switchUuid": "50 01", "portKey": "17"},
            ),
        ),
        "passed01": NOTHING_TOLD
        | card("VirtualVmxnet3", {"_typeName": "VirtualEthernetCardNetworkBackingInfo", "deviceName": ""}),
    }
    for name, properties in changes.items():
        found = by_name(service, vim.VirtualMachine, name)
        centre.properties("VirtualMachine", found._moId, properties)
    WaitForTask(doomed.Destroy_Task())


def plug_in(vm: Any, portgroup: Any) -> None:
    """Connect a machine's first card with a portgroup, as an administrator does."""
    (nic,) = [each for each in vm.config.hardware.device if isinstance(each, vim.vm.device.VirtualEthernetCard)]
    port = vim.dvs.PortConnection(portgroupKey=portgroup.key, switchUuid=portgroup.config.distributedVirtualSwitch.uuid)
    nic.backing = vim.vm.device.VirtualEthernetCard.DistributedVirtualPortBackingInfo(port=port)
    edit = vim.vm.device.VirtualDeviceSpec(operation="edit", device=nic)
    WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[edit])))


def without_backing() -> Json:
    found = card("VirtualVmxnet3")
    for device in found.values():
        del device["backing"]
    return found


def standard(name: str, network: str) -> Json:
    reference = {"_typeName": "ManagedObjectReference", "type": "Network", "value": network}
    return backing("Network", deviceName=name, network=reference)


def moref(service: Any, name: str) -> str:
    return str(by_name(service, vim.Network, name)._moId)


@dataclass
class Centre:
    """A vCenter with all kinds of cards, and the command line against it."""

    config: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(COMMAND), "--config", str(self.config), *arguments],
            env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def cards(self) -> dict[str, list[Json]]:
        done = self.run("discover", "-o", "json")
        assert done.returncode == 0, done.stderr
        return {vm["name"]: vm["nics"] for vm in json.loads(done.stdout)["vms"]}


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    run = tmp_path_factory.mktemp("networks")
    try:
        simulator = vcenter.start(run, BINARY, process.choose_port(None), PASSWORD, inventory())
        with logged_in(simulator) as service:
            make(simulator, service)
        write_private(run / "vcenter.secret", PASSWORD)
        config = run / "config.toml"
        write_private(
            config,
            f'[vcenter]\nhost = "127.0.0.1"\nport = {simulator.port}\nuser = "{vcenter.USER}"\n'
            f'password = {{ file = "{run}/vcenter.secret" }}\nca_file = "{simulator.ca}"\n'
            '[database]\nkind = "sqlite"\n'
            f'directory = "{run}/state"\n',
        )
        yield Centre(config)
    finally:
        process.end_all(run)


@pytest.fixture(scope="module")
def cards(centre: Centre) -> dict[str, list[Json]]:
    return centre.cards()


@pytest.mark.parametrize(
    ("vm", "kind", "network", "path", "state", "record"),
    [
        ("standard01", "standard", "VM Network", "/DC0/network/VM Network", "present", "VM Network"),
        ("distributed01", "distributed", "DC0_DVPG0", "/DC0/network/DC0_DVPG0", "present", "DC0_DVPG0"),
        ("folder01", "distributed", "DC0_DVPG0", "/DC0/network/left/DC0_DVPG0", "present", "DC0_DVPG0"),
        ("renamed01", "distributed", "renamed since", "/DC0/network/renamed since", "present", "renamed since"),
        ("deleted01", "distributed", "DC0_DVPG3", "", "deleted", "DC0_DVPG3"),
        ("opaque01", "opaque", "DC0_NSX0", "/DC0/network/DC0_NSX0", "present", "DC0_NSX0"),
        ("unplugged01", "standard", "VM Network", "/DC0/network/VM Network", "present", "VM Network"),
        ("stale01", "standard", "VM Network", "/DC0/network/VM Network", "renamed", "its name of last year"),
        ("gone01", "standard", "Old LAN", "", "deleted", "Old LAN"),
    ],
)
def test_a_card_has_a_network_with_a_name(
    cards: dict[str, list[Json]], vm: str, kind: str, network: str, path: str, state: str, record: str
) -> None:
    (nic,) = cards[vm]
    found = tuple(nic[f"network{key}"] for key in ("_kind", "", "_path", "_state", "_record"))
    assert (*found, nic["unresolved"]) == (kind, network, path, state, record, "")


@pytest.mark.parametrize(
    ("vm", "reason"),
    [
        ("forgotten01", "does not exist any more, or is not visible to this account, and the machine's own record"),
        ("bare01", "the card has no network backing"),
        ("hidden01", "NSX segment seg-9 (nsx.LogicalSwitch) does not exist any more"),
        ("port01", "port 17 of distributed switch 50 01, which is in no portgroup"),
        ("passed01", "the card's record names no network"),
    ],
)
def test_a_card_without_a_network_has_a_reason(cards: dict[str, list[Json]], vm: str, reason: str) -> None:
    (nic,) = cards[vm]
    assert nic["network"] == ""
    assert reason in nic["unresolved"]


def test_cards_in_one_network_are_two_and_an_unplugged_one_says_so(cards: dict[str, list[Json]]) -> None:
    assert [nic["network"] for nic in cards["twice01"]] == ["VM Network", "VM Network"]
    assert len({nic["mac"] for nic in cards["twice01"]}) == 2
    assert not cards["unplugged01"][0]["connected"]
    assert cards["standard01"][0]["connected"]


def test_nothing_is_unknown(cards: dict[str, list[Json]]) -> None:
    for name, nics in cards.items():
        for nic in nics:
            assert bool(nic["network"]) != bool(nic["unresolved"]), (name, nic)
            assert "unknown" not in (nic["network"] + nic["unresolved"]).lower()
