"""A migrated machine boots for real: qemu runs the very volumes that were replicated, and the boot check sees it."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cs import CloudStack

from migratekit_core.common.codes import ErrorCode
from tests.integration.saga_watch import Watch
from tests.integration.support import MIB, eventually, identical, refused, report, run, setting, sql, volume_ids
from tests.lab import bootable
from tests.lab.lab import ROOT, Lab
from tests.lab.parts import cloud
from tests.lab.parts.process import end

VM = "boot01"
BOOT_SECONDS = "240"
"""Without KVM, on a machine that others use as well; alone it takes about ten."""
CHECK = f"tcp:{bootable.PORT}/{bootable.GREETING}"


@pytest.fixture
def booting(lab: Lab) -> Iterator[Lab]:
    """The lab, in which VM's machines boot and can be reached."""
    lab.cloud.boot(VM, ports=(bootable.PORT,))
    yield lab
    run(lab, "rollback", VM, "--yes")
    run(lab, "cleanup", VM)
    lab.cloud.boot()


def rehearse(lab: Lab, **settings: str) -> Any:
    named = {f"MIGRATEKIT_FAILOVER__{name}": value for name, value in settings.items()}
    environment = setting(lab, MIGRATEKIT_NETWORKS__TEST="reachable-test", **named)
    return lab.migratekit("test-failover", VM, "--output", "json", env=environment, timeout=float(BOOT_SECONDS) + 60)


def qemus(lab: Lab) -> list[int]:
    """Return the emulators that run volumes of this lab."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes() if process.name.isdigit() else b""
            if command.startswith(b"qemu-system") and str(lab.run).encode() in command:
                found.append(int(process.name))
    return found


@pytest.mark.timeout(700)
def test_a_rehearsal_boots_from_the_migrated_volumes(booting: Lab) -> None:
    lab = booting
    report(lab, "replicate", VM)
    done = rehearse(lab, TEST_BOOT_CHECK=CHECK, BOOT_TIMEOUT=BOOT_SECONDS)
    assert done.returncode == 0, done.stderr
    (row,) = sql(lab, "SELECT destination_vm_id FROM failover_jobs WHERE job_type = 'test' AND status = 'completed'")
    machine = next(vm for vm in lab.cloud.state()["virtualmachines"] if vm["id"] == row["destination_vm_id"])
    # The check saw the guest's own answer, so by now the console has the banner: nothing here has to wait for it.
    said = eventually("the banner is on the console", lambda: banner(lab, machine["name"]), 30)
    assert said["root"] == "/dev/vda1 ext4"
    ours = [volume for volume in lab.cloud.state()["volumes"] if volume["virtualmachineid"] == machine["id"]]
    serials = [volume["id"].replace("-", "")[:20] for volume in sorted(ours, key=lambda one: one["deviceid"])]
    assert [said["vda"], said["vdb"]] == [f"1024 MiB, serial {serial}" for serial in serials]
    assert machine["nics"][0]["macaddress"] in said["network"]
    # It wrote to its own disk, and the replica has nothing of that.
    assert said["boot"] == "number 1 of this disk"
    identical(lab, VM)
    picture = lab.cloud.screen(machine["name"]).read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert lit(picture) > 1000, "a screen with nothing on it"
    events = sql(lab, "SELECT kind FROM joblog_events WHERE kind IN ('machine-runs', 'machine-up')")
    assert {event["kind"] for event in events} == {"machine-runs", "machine-up"}
    assert len(qemus(lab)) == 1
    report(lab, "cleanup", VM)
    assert qemus(lab) == []


@pytest.mark.timeout(700)
def test_a_failover_boots_the_migrated_machine_and_a_rollback_gives_it_back(booting: Lab) -> None:
    lab = booting
    report(lab, "replicate", VM)
    environment = setting(
        lab,
        MIGRATEKIT_NETWORKS__MAP='{ "VM Network" = "reachable-prod" }',
        MIGRATEKIT_FAILOVER__BOOT_CHECK=CHECK,
        MIGRATEKIT_FAILOVER__BOOT_TIMEOUT=BOOT_SECONDS,
    )
    with Watch(lab, (VM,)).on():
        done = lab.migratekit("failover", VM, "--yes", env=environment, timeout=float(BOOT_SECONDS) + 60)
        assert done.returncode == 0, done.stderr
        said = eventually("the banner is on the console", lambda: banner(lab, VM), 30)
        assert said["root"] == "/dev/vda1 ext4"
        # The replica's own volumes, in their order; the guest writes to them from here on.
        serials = [volume_id.replace("-", "")[:20] for volume_id in volume_ids(lab, VM)]
        assert [said["vda"], said["vdb"]] == [f"1024 MiB, serial {serial}" for serial in serials]
        assert said["boot"] == "number 1 of this disk"
        assert (lab.vcenter.vm(VM)["power"], len(qemus(lab))) == ("off", 1)
        back = report(lab, "rollback", VM, "--yes")
    assert (back["source"], back["content"], qemus(lab)) == ("started", "unknown", [])
    assert lab.vcenter.vm(VM)["power"] == "on"
    assert lab.cloud.machine(VM) is None
    # What the guest has written there, its count of boots for one, is gone.
    assert report(lab, "replicate", VM)["kind"] == "full"
    identical(lab, VM)


def test_a_guest_that_does_not_boot_is_told_and_left_to_be_looked_at(booting: Lab) -> None:
    lab = booting
    sector = lab.vcenter.read(VM, 0)[:512]
    lab.vcenter.write(VM, 0, 0, bytes(512))
    try:
        report(lab, "replicate", VM)
        said = refused(lab, rehearse(lab, TEST_BOOT_CHECK=CHECK, BOOT_TIMEOUT="8"), 1, ErrorCode.BOOT_CHECK_FAILED)
        assert "was started but did not come up" in said
        assert f"boot check: {CHECK}" in said
        assert f"migratekit cleanup {VM}" in said
        (machine,) = [vm for vm in lab.cloud.api_machines() if vm["name"].startswith(f"{VM}-test-")]
        assert machine["state"] == "Running"
        assert f"after 8 s: {machine['nic'][0]['ipaddress']} port {bootable.PORT}: accepts and says nothing" in said
        assert len(qemus(lab)) == 1
        assert banner(lab, machine["name"]) == {}
        report(lab, "cleanup", VM)
        assert qemus(lab) == []
        assert not [vm for vm in lab.cloud.api_machines() if vm["name"].startswith(f"{VM}-test-")]
    finally:
        lab.vcenter.write(VM, 0, 0, sector)


def test_a_check_that_nobody_understands_is_refused_before_anything_is_done(lab: Lab) -> None:
    said = refused(lab, rehearse(lab, TEST_BOOT_CHECK="telnet"), 2, ErrorCode.CONFIG_INVALID)
    assert "'telnet' is none of: state, ping, tcp:PORT, tcp:PORT/GREETING" in said


def test_guests_end_with_the_cloud_even_if_that_is_killed(tmp_path: Path) -> None:
    place = cloud.start(tmp_path, ROOT, 0)
    try:
        place.boot("doomed")
        api = CloudStack(endpoint=place.url, key=place.api_key, secret=place.secret_key)
        zone = api.listZones(fetch_list=True)[0]["id"]
        api.deployVirtualMachine(
            name="doomed01",
            zoneid=zone,
            serviceofferingid=api.listServiceOfferings(name="Small Instance", fetch_list=True)[0]["id"],
            templateid=api.listTemplates(templatefilter="executable", name="debian-12", fetch_list=True)[0]["id"],
            networkids=api.listNetworks(fetch_list=True)[0]["id"],
            fetch_result=True,
        )
        guests = children_of(place.part.process.pid)
        assert len(guests) == 1
        os.kill(place.part.process.pid, signal.SIGKILL)
        eventually("qemu is gone, too", lambda: not Path(f"/proc/{guests[0]}/exe").exists(), 20)
    finally:
        end(place.part.process.pid)


def children_of(pid: int) -> list[int]:
    """Return the emulators that a process has started."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and f"PPid:\t{pid}\n" in (process / "status").read_text():
                found.append(int(process.name))
    return found


def banner(lab: Lab, machine: str) -> dict[str, str]:
    """Return what the guest has told on its console, once it has told all."""
    lines = [line.split(maxsplit=1) for line in lab.cloud.console(machine).splitlines() if line.startswith("  ")]
    told = {words[0]: words[1] for words in lines if len(words) == 2 and words[0] != "disk"}
    disks = [words[1].split(", ", 1) for words in lines if words[0] == "disk"]
    return {**told, **dict(disks)} if "boot" in told else {}


def lit(picture: bytes) -> int:
    """Return how many bytes of a PNG's pixels are not zero."""
    position, packed = 8, b""
    while position < len(picture):
        (length,) = struct.unpack(">I", picture[position : position + 4])
        if picture[position + 4 : position + 8] == b"IDAT":
            packed += picture[position + 8 : position + 8 + length]
        position += 12 + length
    return sum(1 for byte in zlib.decompress(packed) if byte)


def test_the_volumes_are_the_replicas(lab: Lab) -> None:
    """What the rehearsals did has cost the replica nothing: the next sync is incremental and small."""
    done = report(lab, "replicate", VM)
    assert [disk["full"] for disk in done["disks"]] == [False, False]
    assert sum(disk["moved"] for disk in done["disks"]) < MIB
    assert len(volume_ids(lab, VM)) == 2
    identical(lab, VM)
