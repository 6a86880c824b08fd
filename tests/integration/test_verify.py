"""verify and replicate --compare: what differs is found by digests, and only that is copied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from migratekit_core.common.codes import ErrorCode
from tests.integration.gate import gate
from tests.integration.machines import overwrite
from tests.integration.support import (
    GRANULE,
    MIB,
    eventually,
    finished,
    identical,
    no_children,
    nothing_left,
    refused,
    report,
    run,
    sql,
    started,
    volume_ids,
)
from tests.lab.lab import Lab


def damage(lab: Lab, vm: str, disk: int, offset: int) -> None:
    """Turn one byte of a replica's volume over, behind everybody's back."""
    with Path(lab.cloud.volume(volume_ids(lab, vm)[disk])["file"]).open("r+b") as file:
        file.seek(offset)
        (was,) = file.read(1)
        file.seek(offset)
        file.write(bytes([was ^ 0xFF]))


def verified(lab: Lab, vm: str, code: int) -> dict[str, Any]:
    """Verify a machine, check the exit code, and return the document, which comes with both."""
    done = run(lab, "verify", vm, "--output", "json")
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["schema"] == "migratekit.verify/1"
    assert found["identical"] == (code == 0)
    return found


def test_verify_and_repair(lab: Lab) -> None:
    # Nobody ever replicates this one.
    refused(lab, run(lab, "verify", "offline01"), 4, ErrorCode.REPLICA_INCOMPLETE)
    vm = "verify01"
    report(lab, "replicate", vm)

    # All of both is read: that vSphere names no area of the thin one, which is empty, is not believed.
    thick, thin = verified(lab, vm, 0)["disks"]
    assert (thick["compared_bytes"], thick["read_bytes"]) == (9 * MIB + 1536, 9 * MIB + 1536)
    assert (thin["compared_bytes"], thin["read_bytes"]) == (32 * MIB, 32 * MIB)
    assert [disk["result"] for disk in (thick, thin)] == ["identical"] * 2
    nothing_left(lab, vm)

    # What the guest writes is not on the volume yet, which is no difference; damage beside it is.
    overwrite(lab.vcenter, vm, 0, 5 * MIB + 512, 100_352, 1)
    overwrite(lab.vcenter, vm, 1, 8 * MIB, 4096, 2)
    damage(lab, vm, 0, 5 * MIB + 1000)
    thick, thin = verified(lab, vm, 0)["disks"]
    assert (thick["not_yet_replicated_bytes"], thin["not_yet_replicated_bytes"]) == (2 * GRANULE, GRANULE)
    assert thick["compared_bytes"] == 9 * MIB + 1536 - 2 * GRANULE
    damage(lab, vm, 0, 9 * MIB + 1535)
    damage(lab, vm, 1, 20 * MIB)
    found = verified(lab, vm, 1)
    thick, thin = found["disks"]
    assert thick["different"] == [{"offset": 9 * MIB, "length": 1536}]
    assert thin["different"] == [{"offset": 20 * MIB, "length": GRANULE}]
    assert all(disk["changes_known"] for disk in (thick, thin))
    done = run(lab, "verify", vm)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{vm}: DIFFERENT\n")
    assert f"{20 * MIB}+{GRANULE}" in done.stdout
    steps = sql(lab, "SELECT name, status FROM joblog_steps WHERE job_id = %s ORDER BY sequence", found["job_id"])
    assert [(row["name"], row["status"]) for row in steps] == [
        (name, "completed") for name in ("preflight", "create-snapshot", "compare", "remove-snapshot")
    ]

    # A sync brings what changed and does not see the damage; a comparing one mends it, and moves nothing else.
    report(lab, "replicate", vm)
    mended = report(lab, "replicate", vm, "--compare")
    assert mended["kind"] == "incremental"
    assert [disk["compared"] for disk in mended["disks"]] == [True, True]
    assert mended["bytes_changed"] == 1536 + GRANULE
    assert 0 < mended["bytes_moved"] <= 64 * 1024 + 1536
    verified(lab, vm, 0)
    identical(lab, vm)
    nothing_left(lab, vm)
    no_children(lab)


def test_a_plan_of_verify_changes_nothing(lab: Lab) -> None:
    vm = "verify01"
    report(lab, "replicate", vm)
    lab.vcenter.http.delete("/lab/calls")
    plan = report(lab, "verify", vm, "--dry-run")
    assert (plan["schema"], plan["vm"]) == ("migratekit.verify-plan/1", vm)
    assert any(volume_ids(lab, vm)[1] in step for step in plan["steps"])
    assert "CreateSnapshot_Task" not in lab.vcenter.http.get("/lab/calls").json()["calls"]


def test_a_lost_epoch_costs_digests_instead_of_a_full_copy(lab: Lab) -> None:
    vm = "compare01"
    report(lab, "replicate", vm)
    overwrite(lab.vcenter, vm, 0, 3 * MIB + 512, 300_000 // 512 * 512, 3)
    lab.vcenter.discard(vm, 0, 20 * MIB, MIB)
    lab.vcenter.new_epoch(vm)
    # What changed cannot be known, so it counts as different, and verify says so.
    (disk,) = verified(lab, vm, 1)["disks"]
    assert (disk["changes_known"], disk["not_yet_replicated_bytes"]) == (False, 0)
    assert "began anew" in disk["note"]

    done = report(lab, "replicate", vm, "--compare")
    (disk,) = done["disks"]
    assert (done["kind"], disk["full"], disk["compared"]) == ("incremental", False, True)
    assert "another epoch" in disk["reason"]
    assert MIB + 300_000 < done["bytes_changed"] < 2 * MIB
    assert 290_000 < done["bytes_moved"] < 500_000  # of 24 MiB
    identical(lab, vm)
    assert report(lab, "replicate", vm)["kind"] == "incremental"
    nothing_left(lab, vm)


def test_verify_waits_for_nobody_and_nobody_for_a_killed_one(lab: Lab) -> None:
    vm = "compare01"
    report(lab, "replicate", vm)
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "verify", vm, **slow.settings) as held:
        slow.wait(held)
        said = refused(lab, run(lab, "verify", vm), 8, ErrorCode.LOCKED)
        assert f"held by verify {vm}" in said
        held.kill()
        held.wait()
        verified(lab, vm, 0)
    no_children(lab)
    nothing_left(lab, vm)


def test_verify_stops_when_asked_to(lab: Lab) -> None:
    vm = "compare01"
    report(lab, "replicate", vm)
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "verify", vm, **slow.settings) as stopped:
        slow.wait(stopped)
        stopped.terminate()
        done = finished(stopped, 20)
    assert done.returncode == 130, done.stderr
    eventually("nothing runs any more", lambda: not no_children(lab))
    nothing_left(lab, vm)


def test_an_unreadable_source_is_an_error_and_no_difference(lab: Lab) -> None:
    vm = "compare01"
    report(lab, "replicate", vm)
    flat = lab.vcenter.flat_file(vm, 0)
    beside = flat.with_suffix(".away")
    size = flat.stat().st_size
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "verify", vm, **slow.settings) as broken:
        slow.wait(broken)
        # The datastore breaks off in the middle of the file.
        beside.write_bytes(flat.read_bytes())
        try:
            with flat.open("r+b") as file:
                file.truncate(10 * MIB)
            slow.open()
            done = finished(broken)
        finally:
            flat.write_bytes(beside.read_bytes())
            beside.unlink()
    assert flat.stat().st_size == size
    # The file is too short, or the engine has given up before the reader could say so.
    told = [code for code in (ErrorCode.SIZE_MISMATCH, ErrorCode.DISK_READ_FAILED) if f"[{code.value}]" in done.stderr]
    assert told, done.stderr
    assert done.returncode == 1
    nothing_left(lab, vm)
