"""The lab's vCenter must behave like vSphere where a migration depends on it, or every other test proves nothing."""

import contextlib
import hashlib
import random
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pyVim.connect import Disconnect
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from tests.integration.simulator import PASSWORD, USER, LabVcsim, machine, started

BLOCK = 64 << 10
MIB = 1 << 20

INVENTORY = {
    "vms": [
        machine(
            "web01",
            [8 * MIB + 512, MIB],
            cpus=2,
            memory_mb=1024,
            firmware="efi",
            guest_id="debian12_64Guest",
            folder="prod/web",
            hardware_version="vmx-19",
            nics=[
                {"network": "VM Network", "mac": "00:50:56:01:02:03", "type": "vmxnet3", "ip": "192.0.2.5"},
                {"network": "DC0_DVPG0", "mac": "00:50:56:01:02:04", "type": "e1000e"},
            ],
        ),
        machine("cycle", [4 * MIB]),
        machine("frozen", [4 * MIB], cbt=True),
        machine("pages", [512 * MIB], cbt=True),
        machine("epochs", [4 * MIB], cbt=True),
        machine("chain", [4 * MIB], cbt=True),
        machine("tree", [4 * MIB], cbt=True),
        machine("busy", [8 * MIB + 1536, 2 * MIB], cbt=True),
        machine("grows", [4 * MIB], cbt=True),
        machine("off", [4 * MIB], power="off", tools="notRunning"),
        machine("deaf", [], tools="notRunning"),
        machine("obeys", [MIB]),
        machine("faulty", [MIB]),
        machine("many", [MIB] * 9),
        machine("twin", [MIB], folder="a"),
        machine("twin", [MIB], folder="b"),
    ]
}


@pytest.fixture(scope="module")
def labvcsim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabVcsim]:
    with started(tmp_path_factory.mktemp("vcsim"), INVENTORY) as lab:
        yield lab


def disks_of(config: Any) -> list[Any]:
    return [d for d in config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk)]


def change_id(config: Any, disk: int = 0) -> str | None:
    return disks_of(config)[disk].backing.changeId


def epoch(lab: LabVcsim, name: str) -> str:
    """Of a machine's first disk, as it is now."""
    found: str = lab.http.get(f"/lab/vms/{name}").json()["disks"][0]["epoch"]
    return found


def snap(vm: Any, name: str = "migratekit") -> Any:
    task = vm.CreateSnapshot_Task(name=name, description="", memory=False, quiesce=False)
    WaitForTask(task)
    return task.info.result


def unsnap(snapshot: Any, children: bool = False) -> None:
    WaitForTask(snapshot.RemoveSnapshot_Task(removeChildren=children))


def cbt_on(vm: Any) -> None:
    WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))


def areas(vm: Any, snapshot: Any, since: str, disk: int = 0) -> list[tuple[int, int]]:
    """All areas, paged as a client must; each page's promises are checked."""
    device = disks_of(snapshot.config)[disk]
    found: list[tuple[int, int]] = []
    offset = 0
    while offset < device.capacityInBytes:
        page = vm.QueryChangedDiskAreas(snapshot, device.key, offset, since)
        assert page.startOffset == offset
        assert page.length > 0
        assert len(page.changedArea) <= 2000
        for area in page.changedArea:
            assert offset <= area.start
            assert area.start + area.length <= offset + page.length
        found += [(area.start, area.length) for area in page.changedArea]
        offset += page.length
    assert offset == device.capacityInBytes
    return found


def runs(blocks: set[int], capacity: int) -> list[tuple[int, int]]:
    """The areas that a set of blocks must come out as."""
    found: list[tuple[int, int]] = []
    for block in sorted(blocks):
        start, end = block * BLOCK, min((block + 1) * BLOCK, capacity)
        if found and found[-1][0] + found[-1][1] == start:
            found[-1] = (found[-1][0], end - found[-1][0])
        else:
            found.append((start, end - start))
    return found


def test_wrong_password_is_refused(labvcsim: LabVcsim) -> None:
    with pytest.raises(vim.fault.InvalidLogin):
        labvcsim.login(password="wrong")
    with pytest.raises(vim.fault.InvalidLogin):
        labvcsim.login(user="root")


def test_nothing_works_without_a_session(labvcsim: LabVcsim) -> None:
    instance = labvcsim.login()
    vm = instance.RetrieveContent().searchIndex.FindByInventoryPath("DC0/vm/prod/web/web01")
    assert vm.name == "web01"
    Disconnect(instance)
    with pytest.raises(vim.fault.NotAuthenticated):
        _ = vm.name
    with pytest.raises(vim.fault.NotAuthenticated):
        vm.PowerOffVM_Task()


def test_inventory_is_as_described(labvcsim: LabVcsim) -> None:
    vm = labvcsim.vm("web01")
    assert vm.parent.name == "web"
    config = vm.config
    assert (config.hardware.numCPU, config.hardware.memoryMB, config.firmware) == (2, 1024, "efi")
    assert (config.guestId, config.guestFullName) == ("debian12_64Guest", "Debian GNU/Linux 12 (64-bit)")
    assert (config.version, config.uuid[:2], config.instanceUuid[:2]) == ("vmx-19", "42", "50")
    assert (vm.runtime.powerState, vm.guest.guestState) == ("poweredOn", "running")
    assert vm.guest.toolsRunningStatus == "guestToolsRunning"
    assert vm.guest.ipAddress == "192.0.2.5"
    nics = [d for d in config.hardware.device if isinstance(d, vim.vm.device.VirtualEthernetCard)]
    assert [type(n).__name__ for n in nics] == ["vim.vm.device.VirtualVmxnet3", "vim.vm.device.VirtualE1000e"]
    assert [n.macAddress for n in nics] == ["00:50:56:01:02:03", "00:50:56:01:02:04"]
    assert sorted(n.name for n in vm.network) == ["DC0_DVPG0", "VM Network"]
    first, second = disks_of(config)
    assert (first.capacityInBytes, second.capacityInBytes) == (8 * MIB + 512, MIB)
    assert first.backing.fileName == "[LocalDS_0] web01/disk1.vmdk"
    assert (first.deviceInfo.label, first.backing.thinProvisioned) == ("Hard disk 1", True)
    assert (vm.datastore[0].name, vm.datastore[0].summary.type) == ("LocalDS_0", "VMFS")
    units = [d.unitNumber for d in disks_of(labvcsim.vm("many").config)]
    assert units == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert len(labvcsim.flat("web01")) == 8 * MIB + 512
    assert 'RW 16385 VMFS "disk1-flat.vmdk"' in (labvcsim.store / "web01" / "disk1.vmdk").read_text()


def test_same_name_twice(labvcsim: LabVcsim) -> None:
    answer = labvcsim.http.get("/lab/vms/twin")
    assert answer.status_code == 409
    assert "several" in answer.json()["error"]
    everything = labvcsim.http.get("/lab/vms").json()["vms"]
    twins = [vm for vm in everything if vm["name"] == "twin"]
    assert sorted(vm["dir"] for vm in twins) == ["twin", "twin_1"]
    labvcsim.write(twins[0]["id"], 0, b"first")
    assert labvcsim.read(twins[1]["id"])[:5] == bytes(5)


def test_tracking_begins_at_the_next_stun(labvcsim: LabVcsim) -> None:
    vm = labvcsim.vm("cycle")
    old = snap(vm)
    with pytest.raises(vim.fault.InvalidState, match="Change tracking cannot be switched on"):
        cbt_on(vm)
    unsnap(old)
    cbt_on(vm)
    assert vm.config.changeTrackingEnabled
    assert change_id(vm.config) is None
    first = snap(vm)
    key = disks_of(first.config)[0].key
    assert change_id(first.config) is None
    with pytest.raises(vim.fault.FileFault, match="Error caused by file /vmfs/"):
        vm.QueryChangedDiskAreas(first, key, 0, "*")
    unsnap(first)
    second = snap(vm)
    uuid, number = (change_id(second.config) or "").split("/")
    assert uuid.startswith("52 ")
    assert [len(half.split()) for half in uuid.split("-")] == [8, 8]
    third = snap(vm)
    assert change_id(third.config) == f"{uuid}/{int(number) + 1}"
    assert change_id(second.config) == f"{uuid}/{number}"
    WaitForTask(vm.RemoveAllSnapshots_Task())
    assert vm.snapshot is None


def test_tracking_of_a_machine_that_is_off_begins_at_once(labvcsim: LabVcsim) -> None:
    vm = labvcsim.vm("off")
    cbt_on(vm)
    snapshot = snap(vm)
    assert change_id(snapshot.config) is not None
    assert areas(vm, snapshot, "*") == []
    unsnap(snapshot)
    answer = labvcsim.http.put("/lab/vms/off/disks/0", params={"offset": 0}, content=b"x")
    assert answer.status_code == 409
    assert "not powered on" in answer.json()["error"]


def test_base_is_frozen_while_a_snapshot_is_open(labvcsim: LabVcsim) -> None:
    vm = labvcsim.vm("frozen")
    labvcsim.write("frozen", 100, b"before")
    snapshot = snap(vm)
    picture = labvcsim.flat("frozen")
    labvcsim.write("frozen", 100, b"after!")
    labvcsim.write("frozen", 3 * MIB - 3, b"across the blocks")
    labvcsim.discard("frozen", 0, 50)
    assert labvcsim.flat("frozen") == picture
    assert picture[100:106] == b"before"
    now = bytearray(picture)
    now[100:106] = b"after!"
    now[3 * MIB - 3 : 3 * MIB + 14] = b"across the blocks"
    assert labvcsim.read("frozen") == now
    live = disks_of(vm.config)[0].backing
    assert live.fileName == "[LocalDS_0] frozen/disk1-000001.vmdk"
    assert live.parent.fileName == "[LocalDS_0] frozen/disk1.vmdk"
    assert disks_of(snapshot.config)[0].backing.fileName == "[LocalDS_0] frozen/disk1.vmdk"
    unsnap(snapshot)
    assert labvcsim.flat("frozen") == now
    assert disks_of(vm.config)[0].backing.fileName == "[LocalDS_0] frozen/disk1.vmdk"
    assert disks_of(vm.config)[0].backing.parent is None
    assert sorted(p.name for p in (labvcsim.store / "frozen").glob("*.vmdk")) == ["disk1-flat.vmdk", "disk1.vmdk"]


def test_areas_come_in_pages_and_are_exact(labvcsim: LabVcsim) -> None:
    vm = labvcsim.vm("pages")
    capacity = 512 * MIB
    labvcsim.write("pages", 5 * MIB + 7, b"x" * (2 * MIB))
    labvcsim.write("pages", capacity - 1, b"e")
    first = snap(vm)
    allocated = areas(vm, first, "*")
    expected = runs({*range((5 * MIB) // BLOCK, (7 * MIB + 7) // BLOCK + 1), capacity // BLOCK - 1}, capacity)
    assert allocated == expected
    assert areas(vm, first, change_id(first.config) or "") == []
    scattered = set(range(1, 2 * 2100, 2))
    for block in scattered:
        labvcsim.write("pages", block * BLOCK + 17, b"changed")
    more = {6000, 6001, 6002}
    labvcsim.write("pages", 6000 * BLOCK + 60000, bytes(2 * BLOCK))
    second = snap(vm)
    labvcsim.write("pages", 7000 * BLOCK, b"too late for this snapshot")
    since = change_id(first.config) or ""
    found = areas(vm, second, since)
    assert found == runs(scattered | more, capacity)
    assert len(found) > 2000
    key = disks_of(second.config)[0].key
    page = vm.QueryChangedDiskAreas(second, key, 0, since)
    assert len(page.changedArea) == 2000
    assert page.length == found[2000][0]
    middle = vm.QueryChangedDiskAreas(second, key, BLOCK + 5, since)
    assert (middle.changedArea[0].start, middle.changedArea[0].length) == (BLOCK + 5, BLOCK - 5)
    for offset in (capacity, capacity + BLOCK, -1):
        with pytest.raises(vmodl.fault.InvalidArgument, match="A specified parameter was not correct: startOffset"):
            vm.QueryChangedDiskAreas(second, key, offset, since)
    WaitForTask(vm.RemoveAllSnapshots_Task())


def test_what_cannot_be_answered_is_refused(labvcsim: LabVcsim) -> None:
    vm = labvcsim.vm("epochs")
    snapshot = snap(vm)
    key = disks_of(snapshot.config)[0].key
    known = change_id(snapshot.config) or ""
    uuid, number = known.split("/")
    with pytest.raises(vim.fault.FileFault):
        vm.QueryChangedDiskAreas(snapshot, key, 0, f"{uuid}/{int(number) + 1}")
    with pytest.raises(vim.fault.FileFault):
        vm.QueryChangedDiskAreas(snapshot, key, 0, "52" + " 00" * 7 + "-00" + " 00" * 7 + "/1")
    with pytest.raises(vmodl.fault.InvalidArgument, match="changeId"):
        vm.QueryChangedDiskAreas(snapshot, key, 0, "nonsense")
    with pytest.raises(vmodl.fault.InvalidArgument, match="deviceKey"):
        vm.QueryChangedDiskAreas(snapshot, 4000, 0, "*")
    with pytest.raises(vmodl.fault.InvalidArgument, match="snapshot"):
        vm.QueryChangedDiskAreas(None, key, 0, "*")
    unsnap(snapshot)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        unsnap(snapshot)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        vm.QueryChangedDiskAreas(snapshot, key, 0, "*")
    labvcsim.http.post("/lab/vms/epochs/epoch").raise_for_status()
    snapshot = snap(vm)
    assert not (change_id(snapshot.config) or "").startswith(uuid)
    with pytest.raises(vim.fault.FileFault):
        vm.QueryChangedDiskAreas(snapshot, key, 0, known)
    assert areas(vm, snapshot, "*") == []
    unsnap(snapshot)


def test_another_tools_snapshot_in_between(labvcsim: LabVcsim) -> None:
    vm = labvcsim.vm("chain")
    first = snap(vm)
    since = change_id(first.config) or ""
    unsnap(first)
    labvcsim.write("chain", 0, b"one")
    theirs = snap(vm, "backup")
    labvcsim.write("chain", MIB, b"two")
    ours = snap(vm)
    labvcsim.write("chain", 2 * MIB, b"three")
    assert areas(vm, theirs, since) == runs({0}, 4 * MIB)
    assert areas(vm, ours, since) == runs({0, 16}, 4 * MIB)
    backing = disks_of(ours.config)[0].backing
    assert backing.fileName == "[LocalDS_0] chain/disk1-000001.vmdk"
    assert backing.parent.fileName == "[LocalDS_0] chain/disk1.vmdk"
    unsnap(theirs)
    assert disks_of(ours.config)[0].backing.fileName == "[LocalDS_0] chain/disk1.vmdk"
    assert disks_of(vm.config)[0].backing.parent.fileName == "[LocalDS_0] chain/disk1.vmdk"
    flat = labvcsim.flat("chain")
    assert (flat[:3], flat[MIB : MIB + 3], flat[2 * MIB : 2 * MIB + 5]) == (b"one", b"two", bytes(5))
    assert areas(vm, ours, since) == runs({0, 16}, 4 * MIB)
    later = snap(vm)
    assert areas(vm, later, change_id(ours.config) or "") == runs({32}, 4 * MIB)
    assert vm.snapshot.currentSnapshot == later
    unsnap(ours, children=True)
    assert vm.snapshot is None
    assert labvcsim.flat("chain") == labvcsim.read("chain")


def test_revert_drops_what_came_later(labvcsim: LabVcsim) -> None:
    vm = labvcsim.vm("tree")
    labvcsim.write("tree", 0, b"root")
    one = snap(vm, "one")
    labvcsim.write("tree", 0, b"left")
    two = snap(vm, "two")
    labvcsim.write("tree", 0, b"lost")
    WaitForTask(one.RevertToSnapshot_Task())
    assert vm.runtime.powerState == "poweredOff"
    assert labvcsim.read("tree")[:4] == b"root"
    before = change_id(two.config) or ""
    assert epoch(labvcsim, "tree") != before.split("/")[0]
    WaitForTask(vm.PowerOnVM_Task())
    labvcsim.write("tree", 0, b"new!")
    three = snap(vm, "three")
    with pytest.raises(vim.fault.FileFault):
        areas(vm, three, before)
    unsnap(one)  # two branches stand on its layer: nothing can be merged yet
    assert labvcsim.read("tree")[:4] == b"new!"
    WaitForTask(two.RevertToSnapshot_Task())
    assert labvcsim.read("tree")[:4] == b"left"
    WaitForTask(vm.RemoveAllSnapshots_Task())
    assert labvcsim.flat("tree")[:4] == b"left"
    assert len(labvcsim.state("tree")["disks"][0]["layers"]) == 1


def test_the_current_snapshot_can_be_a_root_that_is_removed(labvcsim: LabVcsim) -> None:
    vm = labvcsim.vm("chain")
    root, child = snap(vm, "root"), snap(vm, "child")
    WaitForTask(root.RevertToSnapshot_Task())
    unsnap(root)
    assert vm.snapshot.currentSnapshot is None
    assert [tree.snapshot for tree in vm.snapshot.rootSnapshotList] == [child]
    unsnap(child)
    assert sorted(p.suffix for p in (labvcsim.store / "chain").glob("*.vmsn")) == []


def test_two_sessions_can_wait_at_once(labvcsim: LabVcsim) -> None:
    """With vcsim alone one of them waits forever: all sessions' collectors share a reference."""
    failed: list[BaseException] = []

    def work(name: str) -> None:
        try:
            instance = labvcsim.login()
            vm = instance.RetrieveContent().searchIndex.FindByInventoryPath(f"DC0/vm/{name}")
            for _ in range(5):
                unsnap(snap(vm))
            Disconnect(instance)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in ("many", "frozen", "cycle")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert failed == []


class Guest(threading.Thread):
    """Writes at random to two disks until told to stop, and remembers what it wrote."""

    def __init__(self, lab: LabVcsim, name: str, sizes: list[int]) -> None:
        super().__init__()
        self.lab, self.machine = lab, name
        self.random = random.Random(7)
        self.shadows = [bytearray(size) for size in sizes]
        self.done = threading.Event()
        self.writes = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self.lab.http.base_url, verify=self.lab.tls, timeout=30) as http:
                while not self.done.is_set():
                    self.writes += 1
                    self.scribble(http)
                    # The counter goes to disk 0 first: a snapshot may show disk 1 one behind, never ahead.
                    for disk in (0, 1):
                        self.put(http, disk, 512, self.writes.to_bytes(8, "big"))
        except Exception as error:
            self.error = error

    def scribble(self, http: httpx.Client) -> None:
        shadow = self.shadows[0]
        length = self.random.choice([1, 511, 4096, BLOCK, 200_000])
        offset = self.random.randrange(1024, len(shadow) - length)
        if self.random.random() < 0.2:
            where = {"offset": offset, "length": length}
            http.delete(f"/lab/vms/{self.machine}/disks/0", params=where).raise_for_status()
            shadow[offset : offset + length] = bytes(length)
        else:
            self.put(http, 0, offset, self.random.randbytes(length))

    def put(self, http: httpx.Client, disk: int, offset: int, data: bytes) -> None:
        path = f"/lab/vms/{self.machine}/disks/{disk}"
        http.put(path, params={"offset": offset}, content=data).raise_for_status()
        self.shadows[disk][offset : offset + len(data)] = data


def test_replica_by_changed_areas_equals_the_source_under_load(labvcsim: LabVcsim) -> None:
    vm = labvcsim.vm("busy")
    sizes = [8 * MIB + 1536, 2 * MIB]
    guest = Guest(labvcsim, "busy", sizes)
    replica = bytearray(sizes[0])
    since = "*"
    guest.start()
    try:
        for turn in range(8):
            ours = snap(vm)
            theirs = snap(vm, "backup") if turn % 2 else None
            flat, other = labvcsim.flat("busy"), labvcsim.flat("busy", 2)
            counters = [int.from_bytes(data[512:520], "big") for data in (flat, other)]
            assert counters[0] - counters[1] in (0, 1), "the disks were not cut at the same time"
            for start, length in areas(vm, ours, since):
                replica[start : start + length] = flat[start : start + length]
            assert replica == flat
            assert hashlib.sha256(labvcsim.flat("busy")).digest() == hashlib.sha256(flat).digest()
            since = change_id(ours.config) or ""
            for snapshot in (theirs, ours) if turn % 4 == 1 else (ours, theirs):
                if snapshot:
                    unsnap(snapshot)
    finally:
        guest.done.set()
        guest.join(30)
    assert guest.error is None
    assert guest.writes > 20
    assert labvcsim.read("busy") == guest.shadows[0] == labvcsim.flat("busy")
    assert labvcsim.read("busy", 1) == guest.shadows[1] == labvcsim.flat("busy", 2)


def test_a_disk_that_is_moved_has_another_key_and_the_same_uuid(labvcsim: LabVcsim) -> None:
    vm = labvcsim.vm("grows")
    disk = disks_of(vm.config)[0]
    uuid, was = disk.backing.uuid, disk.key
    disk.unitNumber = 5
    WaitForTask(
        vm.ReconfigVM_Task(
            vim.vm.ConfigSpec(deviceChange=[vim.vm.device.VirtualDeviceSpec(operation="edit", device=disk)])
        )
    )
    [moved] = disks_of(vm.config)
    assert (moved.key, moved.backing.uuid, was) == (2005, uuid, 2000)
    moved.unitNumber = 0
    WaitForTask(
        vm.ReconfigVM_Task(
            vim.vm.ConfigSpec(deviceChange=[vim.vm.device.VirtualDeviceSpec(operation="edit", device=moved)])
        )
    )
    assert disks_of(vm.config)[0].key == 2000


def test_resize_starts_an_epoch(labvcsim: LabVcsim) -> None:
    vm = labvcsim.vm("grows")
    disk = disks_of(vm.config)[0]
    before = epoch(labvcsim, "grows")
    disk.capacityInBytes, disk.capacityInKB = 6 * MIB, 6 * 1024
    spec = vim.vm.ConfigSpec(deviceChange=[vim.vm.device.VirtualDeviceSpec(operation="edit", device=disk)])
    snapshot = snap(vm)
    with pytest.raises(vim.fault.InvalidDeviceOperation):
        WaitForTask(vm.ReconfigVM_Task(spec))
    unsnap(snapshot)
    WaitForTask(vm.ReconfigVM_Task(spec))
    assert disks_of(vm.config)[0].capacityInBytes == 6 * MIB == len(labvcsim.flat("grows"))
    assert epoch(labvcsim, "grows") != before
    answer = labvcsim.http.put("/lab/vms/grows/disks/0", params={"offset": 6 * MIB - 1}, content=b"xy")
    assert answer.status_code == 416


def test_datastore_serves_ranges_and_asks_who(labvcsim: LabVcsim) -> None:
    labvcsim.write("web01", 1000, b"0123456789")
    path = "/folder/web01/disk1-flat.vmdk"
    where = {"dcPath": "DC0", "dsName": "LocalDS_0"}
    http = labvcsim.http
    refused = http.get(path, params=where)
    assert (refused.status_code, refused.headers["www-authenticate"][:5]) == (401, "Basic")
    assert http.get(path, params=where, auth=(USER, "wrong")).status_code == 401
    assert http.get(path, params=where, headers={"Cookie": "vmware_soap_session=made-up"}).status_code == 401
    ranged = http.get(path, params=where, auth=(USER, PASSWORD), headers={"Range": "bytes=1002-1005"})
    assert (ranged.status_code, ranged.content) == (206, b"2345")
    assert ranged.headers["content-range"] == f"bytes 1002-1005/{8 * MIB + 512}"
    # A password begins a session each time, one that nobody ends; its cookie is as good as any.
    labvcsim.http.delete("/lab/calls").raise_for_status()
    begun = []
    for _ in range(3):
        http.cookies.clear()
        begun.append(http.get(path, params=where, auth=(USER, PASSWORD)).headers["set-cookie"])
    http.cookies.clear()
    assert labvcsim.http.get("/lab/calls").json()["calls"]["Login"] == len(set(begun)) == 3
    assert http.head(path, params=where, headers={"Cookie": begun[0].split(";")[0]}).status_code == 200
    instance = labvcsim.login()
    cookie = {"Cookie": instance._stub.cookie.split(";")[0]}
    head = http.head(path, params=where, headers=cookie)
    assert (head.status_code, head.headers["content-length"]) == (200, str(8 * MIB + 512))
    assert head.headers["accept-ranges"] == "bytes"
    Disconnect(instance)
    assert http.head(path, params=where, headers=cookie).status_code == 401
    for wrong in ("/folder/web01/missing.vmdk", "/folder/%2e%2e/%2e%2e/inventory.json"):
        assert http.get(wrong, params=where, auth=(USER, PASSWORD)).status_code in (403, 404)
    assert http.get(path, params={**where, "dsName": "other"}, auth=(USER, PASSWORD)).status_code == 404


def test_shutdown_needs_the_tools(labvcsim: LabVcsim) -> None:
    with pytest.raises(vim.fault.ToolsUnavailable):
        labvcsim.vm("deaf").ShutdownGuest()
    vm = labvcsim.vm("obeys")
    vm.ShutdownGuest()
    for _ in range(200):
        if vm.runtime.powerState == "poweredOff":
            break
        threading.Event().wait(0.01)
    assert vm.runtime.powerState == "poweredOff"
    assert vm.guest.toolsRunningStatus == "guestToolsNotRunning"
    assert labvcsim.state("obeys")["power"] == "off"


def test_faults_calls_and_dropped_connections(labvcsim: LabVcsim) -> None:
    vm, http = labvcsim.vm("faulty"), labvcsim.http
    http.delete("/lab/calls").raise_for_status()
    rule = {"method": "CreateSnapshot_Task", "object": "faulty", "fault": "TaskInProgress", "max": 1}
    http.post("/lab/faults", json=rule).raise_for_status()
    unsnap(snap(labvcsim.vm("frozen")))
    with pytest.raises(vim.fault.TaskInProgress):
        snap(vm)
    http.post("/lab/faults", json={**rule, "fault": "NoPermission"}).raise_for_status()
    with pytest.raises(vim.fault.NoPermission) as refused:
        snap(vm)
    assert refused.value.object == vm
    http.post("/lab/faults", json={**rule, "fault": "FileFault", "task": True}).raise_for_status()
    with pytest.raises(vim.fault.FileFault):
        snap(vm)
    snapshot = snap(vm)
    removal = {"method": "RemoveSnapshot_Task", "object": "faulty", "fault": "InvalidState"}
    http.post("/lab/faults", json=removal).raise_for_status()
    with pytest.raises(vim.fault.InvalidState):
        unsnap(snapshot)
    http.delete("/lab/faults").raise_for_status()
    unsnap(snapshot)
    assert http.post("/lab/faults", json={**rule, "fault": "Nonsense"}).status_code == 400
    calls = http.get("/lab/calls").json()["calls"]
    assert (calls["CreateSnapshot_Task"], calls["RemoveSnapshot_Task"]) == (5, 3)
    with httpx.Client(base_url=http.base_url, verify=labvcsim.tls) as other:
        url = "/folder/web01/disk1-flat.vmdk?dcPath=DC0&dsName=LocalDS_0"
        with other.stream("GET", url, auth=(USER, PASSWORD)) as stream:
            assert stream.status_code == 200
            assert http.post("/lab/drop").json()["dropped"] >= 1
            with pytest.raises(httpx.TransportError):
                for _ in stream.iter_raw(BLOCK):
                    pass
    # pyvmomi notices only when it writes, once for each connection of its pool, and then connects again.
    with pytest.raises(OSError, match=r"."):
        assert vm.name
    assert name_after_reconnect(vm) == "faulty"


def name_after_reconnect(vm: Any) -> Any:
    for _ in range(10):
        with contextlib.suppress(OSError):
            return vm.name
    return None
