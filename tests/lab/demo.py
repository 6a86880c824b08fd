"""The main job from end to end through the real command line, in the lab, every result checked from outside."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from migratekit_core.common.units import human_bytes
from tests.lab import guest
from tests.lab.checks import CheckError, Checks
from tests.lab.compare import differs, tail_is_zero
from tests.lab.conditions import CONDITIONS, Condition, restarted, restarts
from tests.lab.lab import COMMAND, COMMAND_SECONDS, LAB, Lab, environment, running
from tests.lab.parts.process import LabError

VM = "web01"
SYSTEM, DATA = 0, 1
REPORT = LAB / "report.json"


def main(condition: str = "") -> int:
    """Run the demo, also under one of the conditions (tests.lab.conditions); return 0 where every check passed."""
    began = time.monotonic()
    checks = Checks()
    result, line = "FAIL", ""
    try:
        _title("starting the lab: vCenter, CloudStack, MariaDB, HAProxy on both ends, volume daemon, nbdkit")
        with running(LAB / "run", preferred_ports=not condition) as lab:
            checks.identify(ports=lab.ports)
            if condition:
                _under(lab, checks, CONDITIONS[condition])
            else:
                _main_job(lab, checks)
        result, line = "PASS", f"{checks.count} checks"
    except CheckError as error:
        line = str(error)
    except (LabError, subprocess.TimeoutExpired) as error:
        line = f"lab: expected a working lab, saw: {error}"
    except Exception as error:
        traceback.print_exc()
        line = f"the demo itself: expected no error of its own, saw {type(error).__name__}: {error}"
    except KeyboardInterrupt:
        line = "interrupted"
        raise
    finally:
        seconds = time.monotonic() - began
        checks.write(REPORT, result, line, seconds)
    print(f"demo: PASS {line} in {seconds:.1f} s" if result == "PASS" else f"demo: FAIL {line}", flush=True)
    return 0 if result == "PASS" else 1


def _main_job(lab: Lab, checks: Checks) -> None:
    rng = random.Random(20)
    _discover(lab, checks)
    _first_sync(lab, checks, rng)
    _incremental(lab, checks, rng)
    _rehearse(lab, checks)
    _cut_over(lab, checks, rng)
    _nothing_left(lab, checks)


def _under(lab: Lab, checks: Checks, condition: Condition) -> None:
    """Run the main job in a cloud that is harder than the lab's own, or have it refused with the right reason."""
    global _during
    _title(f"the cloud: {condition.about}")
    condition.prepare(lab)
    if condition.refused:
        _refused(lab, checks, condition)
        return
    _during = condition.during
    try:
        _main_job(lab, checks)
    finally:
        _during = _nothing
    if condition.during is restarted:
        checks.true("the server was restarted in the middle of commands", len(restarts) >= 4, f"{len(restarts)} times")


def _refused(lab: Lab, checks: Checks, condition: Condition) -> None:
    before = lab.cloud.state()["volumes"]
    for arguments in (("replicate", VM, "--dry-run"), ("replicate", VM)):
        done = lab.migratekit(*arguments)
        for line in done.stderr.splitlines():
            print(f"    {line}")
        checks.equal(f"{shlex.join(arguments)} is refused", 4, done.returncode)
    checks.equal("the reason is the right one", condition.refused, lab.oma_problem())
    checks.equal("no volume was made", before, lab.cloud.state()["volumes"])
    checks.equal("no snapshot is left at the source", [], lab.vcenter.vm(VM)["snapshots"])


def _nothing(lab: Lab) -> AbstractContextManager[object]:
    return nullcontext()


_during = _nothing
"""What happens while a command runs."""


def _discover(lab: Lab, checks: Checks) -> None:
    _title("1. discover: what there is in vCenter")
    _run(lab, "discover")
    found = _json(lab, "discover")["vms"]
    vm = next(vm for vm in found if vm["name"] == VM)
    sizes = [disk["capacity_bytes"] for disk in vm["disks"]]
    checks.equal("discover shows both disks with their exact sizes", [guest.SYSTEM_SIZE, guest.DATA_SIZE], sizes)
    checks.equal("discover shows the network by its name", ["VM Network"], [nic["network"] for nic in vm["nics"]])
    facts = [vm["power"], vm["firmware"], vm["guest_id"], vm["cbt_enabled"]]
    checks.equal(
        "discover shows power, firmware, guest and CBT", ["poweredOn", "bios", "debian12_64Guest", False], facts
    )
    checks.identify(vm_uuid=vm["uuid"], vm_moref=vm["moref"])


def _first_sync(lab: Lab, checks: Checks, rng: random.Random) -> None:
    _title("2. replicate: the first, full sync through the tunnel, while the guest writes")
    allocated = sum(lab.vcenter.flat_file(VM, disk).stat().st_blocks * 512 for disk in (SYSTEM, DATA))
    with _writing_guest(lab, rng) as writes:
        _run(lab, "replicate", VM)
    print(f"  (the guest wrote {writes[0]} times meanwhile)")
    checks.true("the guest wrote during the first sync", writes[0] > 0, f"{writes[0]} writes")
    disks = _last_sync(lab, checks, "full_sync")
    checks.equal("the first sync is full for both disks", [True, True], [disk["full"] for disk in disks])
    moved = sum(disk["moved"] for disk in disks)
    limit = int(allocated * 1.02)
    checks.true(
        "a thin disk's unallocated areas are not moved", 0 < moved <= limit, f"{moved} of at most {limit} bytes"
    )
    machine = lab.vcenter.vm(VM)
    checks.equal(
        "change tracking is switched on and effective", [True, True], [d["tracking"] for d in machine["disks"]]
    )
    checks.equal("no snapshot is left at the source", [], machine["snapshots"])
    volumes = _replica(lab)
    checks.identify(volume_ids=[volume["id"] for volume in volumes])
    checks.equal("every disk has a volume on the OMA", 2, sum(v["linux_state"] == "attached" for v in volumes))
    checks.equal("no export is left", [None, None], [volume["export_name"] for volume in volumes])


def _incremental(lab: Lab, checks: Checks, rng: random.Random) -> None:
    _title("3. the guest writes a file and some blocks; replicate again copies only what changed")
    content = rng.randbytes(3 * guest.MIB + 123)
    written = guest.add_file(lab.vcenter, VM, SYSTEM, "/srv/new.bin", content, lab.run)
    written += guest.scatter(lab.vcenter, VM, DATA, guest.DATA_SIZE, 40, rng)
    print(f"  (the guest wrote {human_bytes(written)})")
    _run(lab, "replicate", VM)
    disks = _last_sync(lab, checks, "incremental_sync")
    checks.equal("the second sync is incremental", [False, False], [disk["full"] for disk in disks])
    moved = sum(disk["moved"] for disk in disks)
    whole = guest.SYSTEM_SIZE + guest.DATA_SIZE
    checks.true(
        "an incremental sync moves a small part", written // 2 < moved < whole // 8, f"{moved} of {whole} bytes"
    )
    _compare(lab, checks, "after the incremental sync")


def _rehearse(lab: Lab, checks: Checks) -> None:
    _title("4. test-failover: a copy of the machine in the isolated test network, then cleanup")
    before = {volume["id"] for volume in lab.cloud.state()["volumes"]}
    _run(lab, "test-failover", VM)
    machine = next(vm for vm in lab.cloud.api_machines() if vm["name"].startswith(f"{VM}-test-"))
    checks.identify(rehearsal_vm_id=machine["id"])
    checks.equal("the rehearsal runs", "Running", machine["state"])
    networks = [nic["networkname"] for nic in machine["nic"]]
    checks.equal("the rehearsal is in the test network only", ["migration-test"], networks)
    checks.equal("the source still runs", "on", lab.vcenter.vm(VM)["power"])
    checks.equal("the replica stays where it is", 2, sum(v["linux_state"] == "attached" for v in _replica(lab)))
    _run(lab, "cleanup", VM)
    state = lab.cloud.state()
    # Where the account may not expunge, CloudStack keeps the machine, destroyed, with its template's root disk.
    kept = {vm["id"] for vm in state["virtualmachines"] if vm["state"] == "Destroyed"}
    left_over = {volume["id"] for volume in state["volumes"] if volume.get("virtualmachineid") not in kept}
    checks.equal("cleanup takes the volumes away", before, left_over)
    checks.equal("cleanup takes the snapshots away", [], state["snapshots"])
    left = [vm["name"] for vm in state["virtualmachines"] if "-test-" in vm["name"] and vm["id"] not in kept]
    checks.equal("cleanup takes the machine away", [], left)


def _cut_over(lab: Lab, checks: Checks, rng: random.Random) -> None:
    _title("5. the guest writes once more; failover: shutdown, final sync, deploy, start")
    guest.add_file(lab.vcenter, VM, SYSTEM, "/srv/last.bin", rng.randbytes(700_001), lab.run)
    guest.scatter(lab.vcenter, VM, DATA, guest.DATA_SIZE, 10, rng)
    _run(lab, "failover", VM, "--yes")
    _last_sync(lab, checks, "final_sync")
    checks.equal("the source is off", "off", lab.vcenter.vm(VM)["power"])
    machine = next((vm for vm in lab.cloud.api_machines() if vm["name"] == VM), None)
    checks.true("the machine exists in CloudStack", machine is not None, "no machine of that name")
    assert machine is not None, "checked above"
    checks.identify(destination_vm_id=machine["id"])
    checks.equal("it runs", "Running", machine["state"])
    nics = [(nic["networkname"], nic["macaddress"]) for nic in machine["nic"]]
    checks.equal("it is in the mapped network, with its MAC", [("guest-prod", "00:50:56:00:00:01")], nics)
    failover = _newest(lab, "failover")
    job = _json(lab, "jobs", "show", failover["id"])
    steps = {step["name"]: _seconds(step) for step in job["steps"]}
    checks.figure("failover_seconds_by_step", steps)
    print("  downtime by step: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in steps.items()))
    _title("6. the new machine's volumes, byte for byte, against the source's disks")
    _compare(lab, checks, "after the failover")
    root = lab.cloud.volume(_volume_ids(checks)[SYSTEM])
    checked = subprocess.run(["e2fsck", "-fn", root["file"]], capture_output=True, text=True, timeout=60, check=False)
    checks.equal("the ext4 file system on the new root disk is clean", 0, checked.returncode)
    attached = [(lab.cloud.volume(volume)["virtualmachineid"]) for volume in _volume_ids(checks)]
    checks.equal("both volumes belong to the new machine", [machine["id"]] * 2, attached)


def _nothing_left(lab: Lab, checks: Checks) -> None:
    _title("7. what is left behind")
    _run(lab, "jobs", "list")
    state = lab.cloud.state()
    checks.equal("no snapshot is left at the source", [], lab.vcenter.vm(VM)["snapshots"])
    checks.equal("no snapshot is left in CloudStack", [], state["snapshots"])
    exports = [volume["export_name"] for volume in _json(lab, "volumes", "list")["volumes"] if volume["export_name"]]
    checks.equal("no export is left", [], exports)
    oma = next(vm["id"] for vm in state["virtualmachines"] if vm["name"] == "oma01")
    on_oma = [v["id"] for v in state["volumes"] if v.get("virtualmachineid") == oma and v["type"] != "ROOT"]
    checks.equal("no volume is attached to the OMA", [], on_oma)
    orphans = [volume["id"] for volume in state["volumes"] if not volume.get("virtualmachineid")]
    checks.equal("no volume is without a machine", [], orphans)
    jobs = _json(lab, "jobs", "list", "--nested", "--limit", "1000")["jobs"]
    checks.equal("no job is open in the joblog", [], [job["id"] for job in jobs if job["status"] != "completed"])
    told = _secrets_told(lab)
    checks.equal("no secret is in any log", [], told)


def _secrets_told(lab: Lab) -> list[str]:
    logs = {path.name: path.read_text(errors="replace") for path in lab.run.glob("*.log")}
    return [f"{name} in {log}" for log, text in logs.items() for name, secret in lab.secrets.items() if secret in text]


def _compare(lab: Lab, checks: Checks, when: str) -> None:
    for disk, volume_id in enumerate(_volume_ids(checks)):
        source = lab.vcenter.flat_file(VM, disk)
        target = lab.cloud.volume(volume_id)
        first = differs(source, target["file"])
        where = "identical" if first is None else f"the first difference is at byte {first}"
        checks.equal(f"disk {disk + 1} is identical {when}", "identical", where)
        beyond = tail_is_zero(target["file"], source.stat().st_size)
        checks.true(f"volume {disk + 1} reads as zeros beyond the disk {when}", beyond, "other bytes there")


def _volume_ids(checks: Checks) -> list[str]:
    ids: list[str] = checks.identifiers["volume_ids"]
    return ids


def _replica(lab: Lab) -> list[dict[str, Any]]:
    """Return the volumes of the machine, in the order of its disks."""
    found = _json(lab, "volumes", "list")["volumes"]
    ours = [volume for volume in found if volume["tags"].get("migratekit-vm") == VM]
    return sorted(ours, key=lambda volume: int(volume["tags"].get("migratekit-disk", 0)))


@contextmanager
def _writing_guest(lab: Lab, rng: random.Random) -> Iterator[list[int]]:
    """Have the guest write to its data disk all the time until the block ends; count the writes."""
    count = [0]
    stop = threading.Event()

    def write() -> None:
        # Less and less often: where a sync takes long, what is written meanwhile stays a small part of the disk.
        while not stop.wait(0.02 * (1 + count[0] / 50)):
            guest.scatter(lab.vcenter, VM, DATA, guest.DATA_SIZE, 1, rng)
            count[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join()


def _last_sync(lab: Lab, checks: Checks, figure: str) -> list[dict[str, Any]]:
    """Return what the joblog says of each disk of the newest sync, and keep it as a figure."""
    job = _newest(lab, "replication", nested=True)
    shown = _json(lab, "jobs", "show", job["id"])
    disks = [event["fields"] for event in shown["events"] if event["kind"] == "disk-copied"]
    plans = {
        event["fields"]["disk"]: event["fields"]["bytes"]
        for event in shown["events"]
        if event["kind"] == "disk-planned"
    }
    for disk in disks:
        disk["changed"] = plans[disk["disk"]]
    checks.figure(figure, {"job": job["id"], "seconds": _seconds(shown["job"]), "disks": disks})
    return sorted(disks, key=lambda disk: str(disk["disk"]))


def _newest(lab: Lab, kind: str, nested: bool = False) -> dict[str, Any]:
    options = ["--nested", "--limit", "1000"] if nested else []
    jobs = _json(lab, "jobs", "list", "--vm", VM, *options)["jobs"]
    found: dict[str, Any] = next(job for job in jobs if job["kind"] == kind)
    return found


def _seconds(row: dict[str, Any]) -> float:
    from datetime import datetime

    ended, began = datetime.fromisoformat(row["completed_at"]), datetime.fromisoformat(row["started_at"])
    return round((ended - began).total_seconds(), 3)


def _json(lab: Lab, *arguments: str) -> dict[str, Any]:
    """Run a command for its figures, silently."""
    done = lab.migratekit(*arguments, "--output", "json")
    if done.returncode != 0:
        raise CheckError(f"{shlex.join(arguments)}: expected exit code 0, saw {done.returncode}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _run(lab: Lab, *arguments: str) -> None:
    """Run a command as an operator does, and show what the operator sees: on a terminal the command's own output."""
    print(f"  $ migratekit {shlex.join(arguments)}", flush=True)
    command = [str(COMMAND), "--config", str(lab.config), *arguments]
    if sys.stdout.isatty():
        with _during(lab):
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, env=environment(), timeout=COMMAND_SECONDS, check=False
            )
        code, last = done.returncode, "see above"
    else:
        with _during(lab):
            piped = lab.migratekit(*arguments, capture_output=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        lines = piped.stdout.splitlines()
        for line in lines:
            print(f"    {line}", flush=True)
        code, last = piped.returncode, lines[-1].strip() if lines else ""
    if code != 0:
        raise CheckError(f"{shlex.join(arguments)}: expected exit code 0, saw {code} ({last})")


def _title(text: str) -> None:
    print(f"\n== {text}", flush=True)
