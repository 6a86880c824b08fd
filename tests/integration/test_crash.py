"""Things that die in the middle of a copy: afterwards the next run makes the replica identical and leaves nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from migratekit_core.common.codes import ErrorCode
from tests.integration.gate import gate
from tests.integration.machines import machine, overwrite, random_disk
from tests.integration.support import (
    GRANULE,
    MIB,
    children,
    eventually,
    finished,
    identical,
    no_children,
    nothing_left,
    refused,
    report,
    sql,
    started,
    volume_ids,
)
from tests.lab.guest import Images
from tests.lab.lab import Lab, running
from tests.lab.parts import oma

VM = "crash01"
SIZE = 64 * MIB + 5 * 512
RNG = random.Random(20)


def inventory(images: Images) -> dict[str, object]:
    return {"vms": [machine(VM, random_disk(images, VM, SIZE))]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose parts are killed."""
    with running(tmp_path_factory.mktemp("crash") / "run", preferred_ports=False, inventory=inventory) as started_lab:
        yield started_lab


@pytest.fixture
def synced(lab: Lab) -> Lab:
    """The lab, with a replica that is up to date and 40 MiB that changed since."""
    report(lab, "replicate", VM)
    overwrite(lab.vcenter, VM, 0, 3 * MIB, 40 * MIB, RNG.randrange(1 << 30))
    return lab


def whole(lab: Lab, volumes: list[str] | None = None) -> None:
    """Check that the next run mends everything, in the volumes that there were."""
    report(lab, "replicate", VM)
    identical(lab, VM)
    nothing_left(lab, VM)
    no_children(lab)
    if volumes is not None:
        assert volume_ids(lab, VM) == volumes


def in_the_copy(lab: Lab) -> None:
    """Check that a test hit what it means to hit: the step `copy`, with an engine at work and a snapshot open."""
    assert sql(lab, "SELECT id FROM joblog_steps WHERE name = 'copy' AND status = 'running'")
    assert len(children(lab, "engine")) == 1
    assert len(lab.vcenter.vm(VM)["snapshots"]) == 1


@pytest.mark.parametrize("position", [RNG.randrange(2, 60) * MIB for _ in range(3)])
def test_kill_during_a_full_sync(lab: Lab, position: int) -> None:
    lab.vcenter.new_epoch(VM)
    with gate(lab.vcenter.port, position) as slow, started(lab, "replicate", VM, **slow.settings) as command:
        slow.wait(command)
        in_the_copy(lab)
        volumes = volume_ids(lab, VM)
        command.kill()
        command.wait()
        # The guest goes on meanwhile, before and behind where the copy was.
        for _ in range(8):
            lab.vcenter.write(VM, 0, RNG.randrange(SIZE - GRANULE) // 512 * 512, RNG.randbytes(GRANULE))
        slow.open()
        whole(lab, volumes)


@pytest.mark.parametrize("position", [RNG.randrange(2, 36) * MIB for _ in range(2)])
def test_kill_during_an_incremental_sync(synced: Lab, position: int) -> None:
    lab, volumes = synced, volume_ids(synced, VM)
    with gate(lab.vcenter.port, position) as slow, started(lab, "replicate", VM, **slow.settings) as command:
        slow.wait(command)
        in_the_copy(lab)
        command.kill()
        command.wait()
        for _ in range(8):
            lab.vcenter.write(VM, 0, RNG.randrange(SIZE - GRANULE) // 512 * 512, RNG.randbytes(GRANULE))
        slow.open()
        whole(lab, volumes)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_cleans_up_first(synced: Lab, number: signal.Signals) -> None:
    lab, volumes = synced, volume_ids(synced, VM)
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as command:
        slow.wait(command)
        in_the_copy(lab)
        command.send_signal(number)
        eventually("the engine has ended", lambda: not children(lab, "engine"), 2)
        # What is left is taking back export and snapshot; vCenter's API goes through the gate, too.
        slow.open()
        done = finished(command)
    said = refused(lab, done, 130, ErrorCode.CANCELLED)
    assert "interrupted" in said
    (kept,) = sql(lab, "SELECT position FROM replication_checkpoints WHERE volume_id = %s", volumes[0])
    assert kept["position"] >= 4 * MIB, "the disk's changes begin at 3 MiB"
    no_children(lab)
    nothing_left(lab, VM)
    (job,) = sql(lab, "SELECT status FROM joblog_jobs WHERE pid = %s AND kind = 'replication'", command.pid)
    assert job["status"] == "interrupted"
    whole(lab, volumes)


def test_kill_of_the_engine(synced: Lab) -> None:
    lab, volumes = synced, volume_ids(synced, VM)
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as command:
        slow.wait(command)
        (engine,) = children(lab, "engine")
        os.kill(engine, signal.SIGKILL)
        slow.open()
        said = refused(lab, finished(command), 1, ErrorCode.PROCESS_DIED)
    assert f"the copy engine of {VM} Hard disk 1 died" in said
    nothing_left(lab, VM)
    whole(lab, volumes)


def test_a_run_whose_source_reader_died_ends_and_says_so(synced: Lab) -> None:
    lab, volumes = synced, volume_ids(synced, VM)
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as command:
        slow.wait(command)
        (reader,) = children(lab, "nbdkit")
        os.kill(reader, signal.SIGKILL)
        slow.open()
        said = refused(lab, finished(command), 6, ErrorCode.NBD_UNREACHABLE)
    assert "source of" in said
    nothing_left(lab, VM)
    whole(lab, volumes)


def exporter(lab: Lab) -> int:
    """Return the process id of the exporter, 0 while there is none."""
    pid = int((lab.run / "daemon" / "nbdkit.pid").read_text().split()[0])
    return pid if b"nbdkit" in command_line(pid) else 0


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_kill_of_the_exporter_only_delays_the_copy(synced: Lab) -> None:
    lab, volumes = synced, volume_ids(synced, VM)
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as command:
        slow.wait(command)
        killed = exporter(lab)
        os.kill(killed, signal.SIGKILL)
        slow.open()
        done = finished(command)
    assert done.returncode == 0, done.stderr
    assert exporter(lab) not in (0, killed)
    identical(lab, VM)
    whole(lab, volumes)


def test_the_tunnel_is_gone_for_two_seconds(synced: Lab) -> None:
    lab, volumes = synced, volume_ids(synced, VM)
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as command:
        slow.wait(command)
        lab.parts["tunnel"].kill()
        slow.open()
        time.sleep(2)
        services = {"volumes": lab.ports["daemon"], "db": lab.ports["db"], "nbd": lab.ports["nbd"]}
        lab.parts["tunnel"] = oma.start_tunnel(lab.run, lab.ports["tunnel"], lab.run / "pki", services)
        # The database is behind the tunnel, too: the copy and every note of it wait for it.
        assert finished(command).returncode == 0
    whole(lab, volumes)


def test_neither_kill_nor_stop_nor_upgrade_of_the_volume_daemon_disturbs_a_copy(synced: Lab) -> None:
    lab, volumes = synced, volume_ids(synced, VM)
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as command:
        slow.wait(command)
        serving = exporter(lab)
        lab.parts["daemon"].kill()
        lab.restart_daemon()
        lab.parts["daemon"].stop()
        assert exporter(lab) == serving, "it outlives an orderly stop"
        # What an upgrade does.
        assert lab.migratekit("db", "upgrade").returncode == 0
        lab.restart_daemon()
        assert exporter(lab) == serving
        assert command.poll() is None
        slow.open()
        done = finished(command)
    assert done.returncode == 0, done.stderr
    identical(lab, VM)
    whole(lab, volumes)


def test_a_daemon_that_comes_back_late_is_waited_for(synced: Lab) -> None:
    lab, volumes = synced, volume_ids(synced, VM)
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as command:
        slow.wait(command)
        lab.parts["daemon"].kill()
        slow.open()
        # The copy ends without the daemon; taking the export back is what waits for it.
        eventually("the copy has ended", lambda: not children(lab, "engine"), 60)
        assert command.poll() is None
        restarting = threading.Thread(target=lab.restart_daemon)
        restarting.start()
        done = finished(command)
        restarting.join()
    assert done.returncode == 0, done.stderr
    whole(lab, volumes)


def test_no_process_of_any_test_is_left(lab: Lab) -> None:
    no_children(lab)
    sockets = subprocess.run(["pgrep", "-fa", str(lab.run)], capture_output=True, text=True, timeout=10, check=False)
    assert "migratekit-https" not in sockets.stdout
