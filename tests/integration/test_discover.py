"""discover against the simulator: a vCenter with machines enough for three small pages, and a single ESXi host."""

from __future__ import annotations

import csv
import gc
import io
import json
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyVim.task import WaitForTask
from pyVmomi import vim

from migratekit_core.adapters.vsphere import client, inventory, tags
from migratekit_core.adapters.vsphere.inventory import collector
from migratekit_core.adapters.vsphere.patience import Patience
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, PreconditionError, UnreachableError
from tests.coded import raises
from tests.integration.facts import as_pyvmomi_says, as_we_say
from tests.integration.source import PASSWORD, Cutter, Source, start
from tests.integration.support import COMMAND
from tests.lab.parts import vcenter

PAGE = 30
FLEET = 2 * PAGE + 5
MIB = 1 << 20


def spec(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "disks": [{"size_bytes": MIB, "provisioning": "thin"}], **more}


MACHINES = [
    spec(
        "web01", folder="prod/web", power="on", tools="running", cbt=True, firmware="efi", guest_id="debian12_64Guest",
        nics=[{"network": "VM Network", "ip": "192.0.2.5"}, {"network": "DC0_DVPG0", "type": "e1000e"}],
    ),
    spec("web02", folder="prod/web", guest_id="rhel9_64Guest"),
    spec("db01", folder="prod", power="on", guest_id="windows2019srv_64Guest"),
    spec("short-lived", folder="prod"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "PAGE", PAGE)
    monkeypatch.setattr(collector, "Patience", partial(Patience, first=0.05, longest=1.0))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    yield from start(tmp_path_factory.mktemp("vcenter"), {"fleet": FLEET, "vms": MACHINES, "opaque_networks": 1})


@pytest.fixture
def source(shared: Source) -> Iterator[Source]:
    yield shared
    shared.lab.clear_faults()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    machines = [spec("alone01", power="on", tools="running", nics=[{"ip": "192.0.2.9"}]), spec("alone02")]
    yield from start(tmp_path_factory.mktemp("esxi"), {"kind": "host", "vms": machines})


def everything(found: list[inventory.VirtualMachine]) -> None:
    """Every machine is there, each once."""
    morefs = [vm.moref for vm in found]
    assert len(morefs) == len(set(morefs))
    fleet = {vm.name for vm in found if vm.name.startswith("fleet-")}
    assert fleet == {f"fleet-{n:05d}" for n in range(FLEET)}


@pytest.mark.parametrize("kind", ["shared", "host"])
def test_it_says_what_pyvmomi_says(kind: str, request: pytest.FixtureRequest) -> None:
    source: Source = request.getfixturevalue(kind)
    with source.pyvmomi() as service, client.connect(source.settings()) as ours:
        content = service.RetrieveContent()
        view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
        objects = {vm._moId: vm for vm in view.view}
        named = [vm for vm in objects.values() if not vm.name.startswith("fleet-")][:6]
        task = named[0].CreateSnapshot_Task(name="before", description="", memory=False, quiesce=False)
        WaitForTask(task)
        found = {vm.moref: vm for vm in inventory.list_vms(ours)}
        assert set(found) == set(objects)
        fleet = [vm for vm in objects.values() if vm not in named][:4]
        for vm in named + fleet:
            expected = as_pyvmomi_says(vm)
            assert as_we_say(found[vm._moId], expected) == expected
        assert found[named[0]._moId].snapshots[0].current
        assert found[named[0]._moId].disks[0].has_parent
        (disk,) = inventory.read_disks(vim.vm.Snapshot(task.info.result._moId, ours._stub))
        assert disk.path == found[named[0]._moId].disks[0].parent_path
        WaitForTask(named[0].RemoveAllSnapshots_Task())


def test_one_view_in_pages_and_no_call_for_a_machine(source: Source) -> None:
    source.lab.http.delete("/lab/calls").raise_for_status()
    assert len(source.names()) == FLEET + len(MACHINES)
    calls = source.calls()
    assert calls["ContinueRetrievePropertiesEx"] == 3  # one for the folders and the rest around the machines
    assert sum(calls.values()) <= 15, calls


def test_the_first_machines_are_given_while_others_are_not_read(source: Source) -> None:
    with client.connect(source.settings()) as service:
        source.lab.http.delete("/lab/calls").raise_for_status()
        machines = inventory.list_vms(service)
        next(iter(machines))
        # One is for the surroundings, one for the page that comes while this one is read; the last is not asked for.
        assert source.calls()["ContinueRetrievePropertiesEx"] <= 2
        machines.close()  # type: ignore[attr-defined]
        assert gc.isenabled()


@pytest.mark.parametrize("skip", [0, 1])
def test_a_session_that_ends_between_pages(source: Source, skip: int) -> None:
    source.lab.fault(method="ContinueRetrievePropertiesEx", fault="NotAuthenticated", max=1, skip=skip)
    with client.connect(source.settings()) as service:
        everything(list(inventory.list_vms(service)))
    assert source.calls()["ContinueRetrievePropertiesEx"] > 2


def test_a_session_that_an_administrator_ends(source: Source) -> None:
    """Not a fault on command: the session is gone for good, view and pages with it."""
    with client.connect(source.settings()) as service, source.pyvmomi() as other:
        machines = iter(inventory.list_vms(service))
        found = [next(machines)]
        sessions = other.RetrieveContent().sessionManager
        mine = sessions.currentSession.key
        sessions.TerminateSession([s.key for s in sessions.sessionList if s.key != mine])
        found += machines
        everything(found)


def test_a_session_that_ends_again_and_again_is_an_error(source: Source) -> None:
    source.lab.fault(method="ContinueRetrievePropertiesEx", fault="NotAuthenticated")
    with raises(AuthError, ErrorCode.VCENTER_SESSION_ENDED), client.connect(source.settings()) as service:
        list(inventory.list_vms(service))


def test_what_is_cut_short_is_no_json(source: Source) -> None:
    source.lab.fault(method="ContinueRetrievePropertiesEx", fault="NoPermission", skip=1)
    done = source.run_inside("-o", "json")
    assert done.exit_code == 5
    assert len(done.stderr.splitlines()) == 3
    assert done.stdout.count('\n{"moref"') == PAGE
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.stdout)


@pytest.mark.parametrize("after", [16_000, 300_000, 900_000])
def test_a_connection_that_breaks_once(source: Source, after: int) -> None:
    """In the surroundings, in the first page, in the second."""
    cutter = Cutter(source.lab.port, after)
    try:
        with client.connect(source.settings(cutter.port)) as service:
            everything(list(inventory.list_vms(service)))
        assert cutter.cuts == 1
    finally:
        cutter.close()


def test_a_busy_vcenter_may_take_longer_for_a_page_than_for_other_calls(source: Source) -> None:
    source.lab.http.delete("/lab/calls").raise_for_status()
    pausing = Cutter(source.lab.port, 300_000, pause=3)
    try:
        with client.connect(source.settings(pausing.port).model_copy(update={"timeout": 1.5})) as service:
            everything(list(inventory.list_vms(service)))
        assert source.calls()["RetrievePropertiesEx"] == 2  # nothing was asked for again
    finally:
        pausing.close()


def test_a_vcenter_that_goes_away_is_an_error(tmp_path: Path) -> None:
    for source in start(tmp_path, {"fleet": FLEET, "vms": []}):
        with pytest.raises(UnreachableError), client.connect(source.settings()) as service:
            machines = iter(inventory.list_vms(service))
            next(machines)
            source.lab.part.kill()
            list(machines)


def test_machines_come_and_go_between_pages(source: Source) -> None:
    with client.connect(source.settings()) as service, source.pyvmomi() as other:
        content = other.RetrieveContent()
        gone = content.searchIndex.FindByInventoryPath("DC0/vm/prod/short-lived")
        source.lab.fault(method="ContinueRetrievePropertiesEx", fault="NotAuthenticated", max=1, skip=1)
        machines = iter(inventory.list_vms(service))
        found = [next(machines)]
        WaitForTask(gone.Destroy_Task())
        made = vim.vm.ConfigSpec(
            name="fresh",
            guestId="otherGuest64",
            files=vim.vm.FileInfo(vmPathName="[LocalDS_0]"),
            numCPUs=1,
            memoryMB=64,
        )
        folder = content.searchIndex.FindByInventoryPath("DC0/vm/prod")
        pool = content.searchIndex.FindByInventoryPath("DC0/host/DC0_C0/Resources")
        WaitForTask(folder.CreateVM_Task(made, pool))
        found += machines
    everything(found)
    assert "fresh" in {vm.name for vm in found}


def test_a_vsphere_that_is_too_old_for_a_property(source: Source) -> None:
    rule = {"method": "RetrievePropertiesEx", "fault": "InvalidProperty", "message": "config.latencySensitivity"}
    with client.connect(source.settings()) as service:
        assert inventory.find_vm(service, "web01").latency_sensitivity == "normal"
        # The first answer may be that of the surroundings, which do not know the property at all: hence two.
        source.lab.fault(**rule, max=2)
        everything(list(inventory.list_vms(service)))
        source.lab.fault(**rule, max=1, skip=2)
        assert inventory.find_vm(service, "web01").path == "/DC0/vm/prod/web/web01"


def test_one_machine_is_found_without_reading_all(source: Source) -> None:
    with client.connect(source.settings()) as service:
        whole = next(vm for vm in inventory.list_vms(service) if vm.name == "web01")
        for name in (whole.moref, whole.uuid, whole.path, whole.name):
            assert inventory.find_vm(service, name) == whole
        with raises(PreconditionError, ErrorCode.VM_NOT_FOUND):
            inventory.find_vm(service, "web")


def test_what_the_cluster_says_of_a_machine(source: Source) -> None:
    cluster = vim.cluster
    with client.connect(source.settings()) as service, source.pyvmomi() as other:
        index = other.RetrieveContent().searchIndex
        web = [index.FindByInventoryPath(f"DC0/vm/prod/web/{name}") for name in ("web01", "web02")]
        automation = cluster.DrsVmConfigSpec(
            operation="add", info=cluster.DrsVmConfigInfo(key=web[0], enabled=True, behavior="manual")
        )
        excluded = cluster.DrsVmConfigSpec(operation="add", info=cluster.DrsVmConfigInfo(key=web[1], enabled=False))
        restart = cluster.DasVmConfigSpec(
            operation="add",
            info=cluster.DasVmConfigInfo(key=web[0], dasSettings=cluster.DasVmSettings(restartPriority="high")),
        )
        rule = cluster.RuleSpec(
            operation="add", info=cluster.AntiAffinityRuleSpec(name="web apart", enabled=True, vm=web)
        )
        # What is switched off, or says the same as the cluster, is no trait of the machine.
        idle = cluster.RuleSpec(
            operation="add", info=cluster.AntiAffinityRuleSpec(name="switched off", enabled=False, vm=web)
        )
        same = cluster.DasVmConfigSpec(
            operation="add",
            info=cluster.DasVmConfigInfo(
                key=web[1], dasSettings=cluster.DasVmSettings(restartPriority="clusterRestartPriority")
            ),
        )
        spec = cluster.ConfigSpecEx(
            drsVmConfigSpec=[automation, excluded], dasVmConfigSpec=[restart, same], rulesSpec=[rule, idle]
        )
        WaitForTask(index.FindByInventoryPath("DC0/host/DC0_C0").ReconfigureComputeResource_Task(spec, True))
        first, second, none = (inventory.find_vm(service, name) for name in ("web01", "web02", "db01"))
    assert (first.drs_override, first.ha_override, first.drs_rules) == ("manual", "high", ("web apart",))
    assert (second.drs_override, second.ha_override, second.drs_rules) == ("disabled", "", ("web apart",))
    assert (none.drs_override, none.ha_override, none.drs_rules) == ("", "", ())


def test_a_machine_in_a_vapp(source: Source) -> None:
    with client.connect(source.settings()) as service, source.pyvmomi() as other:
        index = other.RetrieveContent().searchIndex
        pool = index.FindByInventoryPath("DC0/host/DC0_C0/Resources")
        share = vim.SharesInfo(level="normal", shares=0)
        part = vim.ResourceAllocationInfo(reservation=0, limit=-1, expandableReservation=True, shares=share)
        resources = vim.ResourceConfigSpec(cpuAllocation=part, memoryAllocation=part)
        folder = index.FindByInventoryPath("DC0/vm/prod")
        vapp = pool.CreateVApp("shop", resources, vim.vApp.VAppConfigSpec(), folder)
        made = vim.vm.ConfigSpec(
            name="till01", guestId="otherGuest64", files=vim.vm.FileInfo(vmPathName="[LocalDS_0]"), memoryMB=64
        )
        WaitForTask(vapp.CreateChildVM_Task(made))
        vm = inventory.find_vm(service, "till01")
        assert (vm.vapp, vm.resource_pool) == ("shop", "Resources/shop")
        assert vm.datacenter == "DC0"
        assert vm.path.startswith("/DC0/vm/")
        assert vm.path.endswith("/till01")


def test_filters(source: Source) -> None:
    web = {"web01", "web02"}
    assert source.names("--name", "WEB*") == web
    assert source.names("--name", "web01", "--name", "db*") == {"web01", "db01"}
    assert source.names("--name", "web*", "--power", "on") == {"web01"}
    assert source.names("--folder", "/DC0/vm/prod/web") == web
    assert source.names("--folder", "prod") >= {*web, "db01"}
    assert source.names("--folder", "/DC0/vm/prod", "--guest", "*windows*") == {"db01"}
    assert source.names("--cluster", "DC0_C0", "--name", "db01") == {"db01"}
    assert source.names("--cluster", "other") == set()
    assert source.run_inside("--power", "asleep").exit_code == 2


def test_tags(source: Source) -> None:
    http = source.lab.http
    session = http.post("/rest/com/vmware/cis/session", auth=(vcenter.USER, PASSWORD)).raise_for_status()
    headers = {"vmware-api-session-id": session.json()["value"]}

    def make(kind: str, body: dict[str, Any]) -> str:
        path = f"/rest/com/vmware/cis/tagging/{kind}"
        made: str = http.post(path, json={"create_spec": body}, headers=headers).raise_for_status().json()["value"]
        return made

    assert source.names("--tag", "anything") == set()
    category = make("category", {"name": "wave", "description": "", "cardinality": "MULTIPLE", "associable_types": []})
    first, second = (make("tag", {"name": n, "description": "", "category_id": category}) for n in ("one", "two"))
    with client.connect(source.settings()) as service:
        morefs = {name: inventory.find_vm(service, name).moref for name in ("web01", "db01")}
    for tag, name in ((first, "web01"), (second, "web01"), (second, "db01")):
        carrier = {"object_id": {"id": morefs[name], "type": "VirtualMachine"}}
        path = f"/rest/com/vmware/cis/tagging/tag-association/id:{tag}?~action=attach"
        http.post(path, json=carrier, headers=headers).raise_for_status()
    assert source.names("--tag", "one") == {"web01"}
    assert source.names("--tag", "wave:two") == {"web01", "db01"}
    assert source.names("--tag", "wave:t*", "--name", "db*") == {"db01"}
    done = source.run_inside("-o", "json", "--tags", "--name", "web*")
    assert {vm["name"]: vm["tags"] for vm in json.loads(done.stdout)["vms"]} == {
        "web01": ["wave:one", "wave:two"],
        "web02": [],
    }
    refused = source.settings().model_copy(update={"user": "nobody"})
    with pytest.raises(AuthError):
        tags.read_tags(refused)


def test_forms_say_the_same(source: Source) -> None:
    chosen = ("--name", "web*")
    data = json.loads(source.run_inside("-o", "json", *chosen).stdout)
    assert data["schema"] == "migratekit.discover/1"
    assert yaml.safe_load(source.run_inside("-o", "yaml", *chosen).stdout) == data
    rows = list(csv.DictReader(io.StringIO(source.run_inside("-o", "csv", *chosen).stdout)))
    assert {row["moref"]: row["path"] for row in rows} == {vm["moref"]: vm["path"] for vm in data["vms"]}
    assert {row["networks"] for row in rows} == {"VM Network;DC0_DVPG0", ""}
    table = source.run_inside(*chosen).stdout.splitlines()
    assert table[0].startswith("name\tpower")
    assert sorted(line.partition("\t")[0] for line in table[1:]) == ["web01", "web02"]
    for form, empty in (("json", {"vms": []}), ("yaml", {"vms": []})):
        text = source.run_inside("-o", form, "--name", "none").stdout
        assert yaml.safe_load(text) == {"schema": "migratekit.discover/1", **empty}


def test_a_reader_that_has_seen_enough(source: Source) -> None:
    command = [str(COMMAND), "--config", str(source.config), "discover", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "migratekit.discover/1" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 130


def test_what_is_read_is_written_at_once_and_ctrl_c_waits_for_nobody(tmp_path: Path) -> None:
    """The second page hangs: the first one is out by then, to the last machine, and an interrupt does not hang."""
    for source in start(tmp_path, {"fleet": 300, "vms": []}):
        source.lab.fault(method="ContinueRetrievePropertiesEx", fault="NotAuthenticated", delay_ms=120_000)
        command = [str(COMMAND), "--config", str(source.config), "discover"]
        for number in (signal.SIGINT, signal.SIGTERM):
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                assert process.stdout.readline().startswith("name\t")
                assert len({process.stdout.readline() for _ in range(250)}) == 250
                process.send_signal(number)
                assert process.wait(timeout=60) == 130
                assert process.stderr.read().startswith("error: interrupted [cancelled]\n")


def test_a_single_host(host: Source) -> None:
    done = host.run("-o", "json")
    assert done.returncode == 0, done.stderr
    found = {vm["name"]: vm for vm in json.loads(done.stdout)["vms"]}
    assert set(found) == {"alone01", "alone02"}
    vm = found["alone01"]
    assert (vm["power"], vm["cluster"], vm["datacenter"]) == ("poweredOn", "", "ha-datacenter")
    assert (vm["path"], vm["host_name"]) == ("/ha-datacenter/vm/alone01", "localhost.localdomain")
    assert vm["nics"][0]["ip_addresses"] == ["192.0.2.9"]
    assert host.names("--folder", "vm", "--name", "*02") == {"alone02"}
    refused = host.run("--tags")
    assert refused.returncode == 4
    assert "a single ESXi host has none" in refused.stderr
    with pytest.raises(PreconditionError):
        tags.read_tags(host.settings())
