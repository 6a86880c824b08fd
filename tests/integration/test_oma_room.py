"""More disks than CloudStack attaches to the OMA: a replica that nobody works with gives way, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.db.locks import vm_lock
from tests.integration.gate import gate
from tests.integration.machines import machine, random_disk, thin
from tests.integration.support import (
    MIB,
    children,
    eventually,
    finished,
    identical,
    nothing_left,
    refused,
    report,
    run,
    sql,
    started,
    volume_ids,
)
from tests.integration.test_lock import lab_engine
from tests.lab.guest import Images
from tests.lab.lab import Lab, running

LIMIT = 13
DISKS = {"wide01": 6, "wide02": 6, "wide03": 2, "wide04": 14}
"""The last one has more than the OMA takes."""
SOUND = ("wide01", "wide02", "wide03")


def inventory(images: Images) -> dict[str, object]:
    machines = [
        machine(name, random_disk(images, name, MIB), *(thin(MIB) for _ in range(count - 1)))
        for name, count in DISKS.items()
    ]
    return {"vms": machines}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose machines have 14 disks together; the tests follow each other."""
    options = ("--max-data-volumes", str(LIMIT))
    run = tmp_path_factory.mktemp("room") / "run"
    with running(run, preferred_ports=False, inventory=inventory, cloud_options=options) as started_lab:
        yield started_lab


def attached(lab: Lab, vm: str) -> int:
    """Return how many volumes of a machine's replica are attached to the OMA."""
    made = [volume for volume in volume_ids(lab, vm) if volume is not None]
    return sum(lab.cloud.volume(volume)["virtualmachineid"] is not None for volume in made)


def replicate(lab: Lab, vm: str) -> None:
    report(lab, "replicate", vm)
    assert attached(lab, vm) == DISKS[vm]
    assert sum(attached(lab, each) for each in DISKS) <= LIMIT


def test_what_was_used_the_longest_ago_gives_way(lab: Lab) -> None:
    for vm in SOUND:
        replicate(lab, vm)
    assert [attached(lab, vm) for vm in SOUND] == [5, 6, 2]
    # Another sync has its volumes again: the same ones, and only what changed is copied.
    lab.vcenter.write("wide01", 0, 64 * 1024, b"changed" * 100)
    replicate(lab, "wide01")
    assert [attached(lab, vm) for vm in SOUND] == [6, 5, 2]
    assert "wide02: identical" in run(lab, "verify", "wide02").stdout
    assert [attached(lab, vm) for vm in SOUND] == [6, 6, 1]
    for vm in SOUND:
        identical(lab, vm)
    made = "SELECT id FROM joblog_events WHERE kind = 'room-made'"
    assert len(sql(lab, made)) == 3
    nothing_left(lab, *SOUND)


@contextmanager
def worked_with(lab: Lab) -> Iterator[None]:
    """Hold all machines but wide03, as runs of them would."""
    engine = lab_engine(lab)
    query = "SELECT DISTINCT source_vm_id FROM replication_jobs WHERE source_vm_name <> 'wide03'"
    try:
        with ExitStack() as held:
            for row in sql(lab, query):
                held.enter_context(vm_lock(engine, row["source_vm_id"], "a test"))
            yield
    finally:
        engine.dispose()


def test_what_is_worked_with_stays(lab: Lab) -> None:
    with worked_with(lab):
        said = refused(lab, run(lab, "replicate", "wide03"), 8, ErrorCode.OMA_FULL)
    assert "the OMA has no room for one more volume" in said
    assert "none of its 13 can be taken off: 12 of machines that are worked with, 1 of this machine itself" in said
    assert "use a second OMA" in said
    assert [attached(lab, vm) for vm in SOUND] == [6, 6, 1]
    nothing_left(lab, *SOUND)


def test_nothing_is_shut_down_for_a_cut_over_that_finds_no_room(lab: Lab) -> None:
    with worked_with(lab):
        said = refused(lab, run(lab, "failover", "wide03", "--yes"), 8, ErrorCode.OMA_FULL)
    assert "the OMA has no room for one more volume" in said
    assert lab.vcenter.vm("wide03")["power"] == "on"
    steps = {row["name"] for row in sql(lab, "SELECT name FROM joblog_steps")}
    assert "shutdown-source" not in steps
    nothing_left(lab, *SOUND)


def test_a_machine_with_more_disks_than_the_oma_takes_is_told_so(lab: Lab) -> None:
    said = refused(lab, run(lab, "replicate", "wide04"), 4, ErrorCode.VM_FULL)
    assert "will have none by itself" in said
    assert "none of its 13 can be taken off: 13 of this machine itself" in said
    for volume in volume_ids(lab, "wide04"):
        if volume is not None and lab.cloud.volume(volume)["virtualmachineid"]:
            report(lab, "volumes", "detach", volume, "--yes")


def test_what_a_killed_run_has_left_exported_gives_way(lab: Lab) -> None:
    lab.vcenter.new_epoch("wide01")
    with gate(lab.vcenter.port, MIB // 2) as slow, started(lab, "replicate", "wide01", **slow.settings) as killed:
        slow.wait(killed)
        killed.kill()
        killed.wait()
        eventually("its engines are gone", lambda: not children(lab, "engine"))
    assert len(sql(lab, "SELECT id FROM nbd_exports", database="migratekit_volumes")) == 6
    replicate(lab, "wide02")
    replicate(lab, "wide03")
    assert [attached(lab, vm) for vm in SOUND] == [5, 6, 2]
    replicate(lab, "wide01")
    for vm in ("wide01", "wide02", "wide03"):
        identical(lab, vm)


def test_what_was_attached_by_hand_stays(lab: Lab) -> None:
    mine = volume_ids(lab, "wide03")
    for volume in mine:
        report(lab, "volumes", "attach", volume, "--yes")
    for vm in ("wide02", "wide01"):
        replicate(lab, vm)
        assert attached(lab, "wide03") == 2
    for volume in mine:
        report(lab, "volumes", "detach", volume, "--yes")


def test_the_daemon_is_killed_while_it_makes_room(lab: Lab) -> None:
    place = "detach/detached"
    for vm in ("wide01", "wide02"):
        replicate(lab, vm)
    folder = lab.run / "points"
    folder.mkdir(exist_ok=True)
    reached = folder / "reached"
    reached.write_text("")
    (folder / "stop").write_text(place)
    lab.parts["daemon"].stop()
    lab.restart_daemon(MIGRATEKIT_DAEMON_POINTS=str(folder))
    with started(lab, "replicate", "wide03") as process:
        eventually("room is being made", lambda: place in reached.read_text().splitlines())
        lab.parts["daemon"].kill()
        lab.restart_daemon()
        finished(process)
    replicate(lab, "wide03")
    for vm in SOUND:
        identical(lab, vm)
    nothing_left(lab, *SOUND)


def synced_every(lab: Lab, vm: str, minutes: int) -> None:
    """Have a machine's last two syncs have begun so far apart, the last one a minute ago."""
    ids = sql(lab, "SELECT id FROM replication_jobs WHERE source_vm_name = %s AND completed_at IS NOT NULL "
                   "ORDER BY created_at DESC LIMIT 2", vm)  # fmt: skip
    for row, ago in zip(ids, (1, 1 + minutes), strict=True):
        moment = "UPDATE replication_jobs SET started_at = UTC_TIMESTAMP(6) - INTERVAL %s MINUTE WHERE id = %s"
        sql(lab, moment, ago, row["id"])


def test_what_is_due_soonest_keeps_its_place(lab: Lab) -> None:
    for volume in volume_ids(lab, "wide03"):
        report(lab, "volumes", "detach", volume, "--yes")
    for vm in ("wide01", "wide02", "wide01", "wide02"):
        replicate(lab, vm)
    assert [attached(lab, vm) for vm in SOUND] == [6, 6, 0]
    # Used the longest ago, and due in an hour; the other one in a day.
    synced_every(lab, "wide01", 60)
    synced_every(lab, "wide02", 24 * 60)
    replicate(lab, "wide03")
    assert [attached(lab, vm) for vm in SOUND] == [6, 5, 2]
    nothing_left(lab, *SOUND)
