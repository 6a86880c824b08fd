"""Guest conversion never costs the replica: whatever becomes of it, what was synced comes back, and goes on from there.

The tool is a stand-in here, a real program that writes to the disks it is given; the real one needs a kernel of its own
and minutes without KVM, and is run by the nox session `conversion`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migratekit_core.common.codes import ErrorCode
from tests.integration.stand_in import Tool, converted
from tests.integration.support import (
    GRANULE,
    MARK,
    MIB,
    eventually,
    finished,
    identical,
    nothing_left,
    refused,
    report,
    run,
    same_bytes,
    sql,
    started,
    volume_ids,
)
from tests.lab.lab import Lab

VM, WINDOWS = "convert01", "windows01"


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool.make(tmp_path)


@pytest.fixture
def synced(lab: Lab) -> Iterator[dict[str, Any]]:
    """A replica, and something that the guest has written since."""
    report(lab, "replicate", VM)
    lab.vcenter.write(VM, 0, 5 * MIB, b"written after the sync".ljust(4096, b"."))
    yield {"volumes": volume_ids(lab, VM), "boots": lab.vcenter.vm(VM)["power"]}
    run(lab, "rollback", VM, "--yes")
    run(lab, "cleanup", VM)


def incremental(lab: Lab) -> None:
    """Check that the next sync takes no more than what the guest wrote since, and that the volumes are its disks."""
    lab.vcenter.write(VM, 0, 7 * MIB, b"written after the way back".ljust(4096, b"."))
    done = report(lab, "replicate", VM)
    assert [disk["full"] for disk in done["disks"]] == [False, False], [disk["reason"] for disk in done["disks"]]
    assert sum(disk["moved"] for disk in done["disks"]) <= 4 * GRANULE
    identical(lab, VM)
    nothing_left(lab, VM)


def test_a_conversion_that_fails_half_way_costs_nothing(lab: Lab, tool: Tool, synced: dict[str, Any]) -> None:
    said = refused(
        lab, run(lab, "failover", VM, "--yes", "--convert", **tool.setting("fail")), 1, ErrorCode.CONVERSION_FAILED
    )
    assert "the guest of convert01 was not converted" in said
    assert "virt-v2v-in-place: it ended with 1: " in said
    assert "inspection could not detect the source guest" in said
    assert "runs again" in said
    assert lab.vcenter.vm(VM)["power"] == "on"
    assert lab.cloud.machine(VM) is None
    # What had been written to is gone; other volumes, of the snapshots, are the replica now.
    assert not {*volume_ids(lab, VM)} & {*synced["volumes"]}
    assert not {volume["id"] for volume in lab.cloud.state()["volumes"]} & {*synced["volumes"]}
    identical(lab, VM)
    incremental(lab)
    told = sql(lab, "SELECT message FROM joblog_events WHERE kind = 'tool-output'")
    assert any("Setting up the source" in line["message"] for line in told), "what the tool says is in the joblog"


def test_a_failover_that_was_killed_while_it_converted(lab: Lab, tool: Tool, synced: dict[str, Any]) -> None:
    with started(lab, "failover", VM, "--yes", "--convert", **tool.setting("hang")) as process:
        eventually("the tool has written", tool.flag.exists, 120)
        process.send_signal(signal.SIGKILL)
        finished(process)
    # Nothing of it goes on writing, and the source stays off until somebody says what is to be.
    eventually("no disk is mounted any more", lambda: not mounts(lab), 20)
    assert lab.vcenter.vm(VM)["power"] == "off"
    said = refused(lab, run(lab, "replicate", VM), 4, ErrorCode.IN_FAILOVER)
    assert "is being failed over" in said
    report(lab, "rollback", VM, "--yes")
    assert lab.vcenter.vm(VM)["power"] == "on"
    identical(lab, VM)
    incremental(lab)


def test_a_failover_that_is_cancelled_while_it_converts(lab: Lab, tool: Tool, synced: dict[str, Any]) -> None:
    with started(lab, "failover", VM, "--yes", "--convert", **tool.setting("hang")) as process:
        eventually("the tool has written", tool.flag.exists, 120)
        report(lab, "failover", VM, "--cancel")
        said = refused(lab, finished(process), 130, ErrorCode.CANCELLED)
    assert "the failover of convert01 was cancelled" in said
    assert "asked by " in said
    assert "runs again" in said
    assert mounts(lab) == []
    identical(lab, VM)
    incremental(lab)


def test_a_converted_machine_runs_and_can_be_taken_back(lab: Lab, tool: Tool, synced: dict[str, Any]) -> None:
    done = report(lab, "failover", VM, "--yes", "--convert", **tool.setting("work"))
    assert done["volume_ids"] == synced["volumes"]
    for volume_id in synced["volumes"]:
        assert converted(Path(lab.cloud.volume(volume_id)["file"]))
    assert len(lab.cloud.state()["snapshots"]) == 2
    jobs = report(lab, "jobs", "list", "--vm", VM)["jobs"]
    shown = report(lab, "jobs", "show", next(job["id"] for job in jobs if job["kind"] == "failover"))
    steps = [step["name"] for step in shown["steps"]]
    assert steps.index("hand-over") < steps.index("protect-replica") < steps.index("convert-guest")
    assert steps.index("convert-guest") < steps.index("move-volumes")
    report(lab, "rollback", VM, "--yes")
    assert lab.vcenter.vm(VM)["power"] == "on"
    identical(lab, VM)
    incremental(lab)


def test_a_rehearsal_converts_its_own_copies(lab: Lab, tool: Tool, synced: dict[str, Any]) -> None:
    before = [digest(lab, volume_id) for volume_id in synced["volumes"]]
    refused(lab, run(lab, "test-failover", VM, "--convert", **tool.setting("fail")), 1, ErrorCode.CONVERSION_FAILED)
    state = lab.cloud.state()
    assert state["snapshots"] == []
    done = report(lab, "test-failover", VM, "--convert", **tool.setting("work"))
    assert converted(Path(lab.cloud.volume(done["volume_ids"][0])["file"]))
    assert [digest(lab, volume_id) for volume_id in synced["volumes"]] == before
    report(lab, "cleanup", VM)
    incremental(lab)


def test_windows_is_converted_by_itself_and_what_that_lacks_is_told_before_anything_is_done(
    lab: Lab, tool: Tool
) -> None:
    report(lab, "replicate", WINDOWS)
    said = refused(
        lab, run(lab, "failover", WINDOWS, "--yes", **tool.setting("work")), 4, ErrorCode.CONVERSION_IMPOSSIBLE
    )
    assert "windows01 has to be converted, and this host cannot do it" in said
    assert "the virtio-win drivers (set failover.virtio_win to" in said
    assert lab.vcenter.vm(WINDOWS)["power"] == "on"
    done = report(lab, "test-failover", WINDOWS, "--no-convert")
    same_bytes(Path(lab.cloud.volume(done["volume_ids"][0])["file"]), lab.vcenter.read(WINDOWS, 0))
    report(lab, "cleanup", WINDOWS)
    iso = tool.folder / "virtio-win.iso"
    iso.write_bytes(b"")
    found = {**tool.setting("work"), "MIGRATEKIT_FAILOVER__VIRTIO_WIN": str(iso)}
    done = report(lab, "failover", WINDOWS, "--yes", **found)
    assert converted(Path(lab.cloud.volume(done["volume_ids"][0])["file"]))
    # The way back is kept until somebody says that it is not wanted any more.
    assert len(lab.cloud.state()["snapshots"]) == 1
    report(lab, "cleanup", WINDOWS)
    assert lab.cloud.state()["snapshots"] == []
    assert [vm["state"] for vm in lab.cloud.api_machines() if vm["name"] == WINDOWS] == ["Running"]
    # Going back works without it, too, but then nothing is known of what the volume holds.
    assert report(lab, "rollback", WINDOWS, "--yes")["content"] == "unknown"
    assert report(lab, "replicate", WINDOWS)["kind"] == "full"
    identical(lab, WINDOWS)


def digest(lab: Lab, volume_id: str) -> int:
    return hash(Path(lab.cloud.volume(volume_id)["file"]).read_bytes())


def mounts(lab: Lab) -> list[str]:
    """Return the processes that serve a volume of this lab as a file."""
    mine = f"{MARK}={lab.run}".encode()
    return [
        process.name
        for process in Path("/proc").iterdir()
        if process.name.isdigit()
        and b"nbdfuse" in content(process / "cmdline")
        and mine in content(process / "environ")
    ]


def content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
