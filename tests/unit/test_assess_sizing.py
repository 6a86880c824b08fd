"""How much there is to move and how long it takes; and the report that shows it."""

from __future__ import annotations

import json
import re
import stat
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sqlmodel import Session

from migratekit_cli.reports.assessment import people
from migratekit_core.common.errors import UsageError
from migratekit_core.config.schema import Database
from migratekit_core.db.engine import Databases, open_databases, session
from migratekit_core.db.models.oma import ReplicationJob
from migratekit_core.db.sources import note_sync
from migratekit_core.services.assessment.history import changed_rates
from migratekit_core.services.assessment.sizing import (
    CUTOVER_SECONDS,
    EFFICIENCY,
    LAST_INTERVAL_SECONDS,
    allocated,
    parse_bandwidth,
    size,
)
from tests.unit.inside import run
from tests.unit.inventory import GIB, disk, machine, nic, write
from tests.unit.test_assess_cli import BAD, GOOD, WARNED
from tests.unit.test_cli import run as run_process

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "bytes_per_second"),
    [
        ("1Gbit/s", 125e6),
        ("200 Mbit", 25e6),
        ("100MB/s", 100e6),
        ("80MiB/s", 80 * MIB),
        ("1.5gbps", 187.5e6),
        ("100Mb/s", 12.5e6),
        ("64kbit/s", 8e3),
    ],
)
def test_bandwidths_are_understood(text: str, bytes_per_second: float) -> None:
    assert parse_bandwidth(text) == bytes_per_second


@pytest.mark.parametrize("text", ["", "fast", "0Mbit/s", "-1Gbit/s", "10", "1 Gbit/h", "1e9bit/s"])
def test_what_is_no_bandwidth_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_bandwidth(text)


def test_allocated_leaves_the_swap_file_out_and_never_exceeds_the_capacity() -> None:
    assert allocated(machine(committed_bytes=6 * GIB, memory_mib=2048)) == 4 * GIB
    assert allocated(machine(committed_bytes=6 * GIB, power="poweredOff")) == 6 * GIB
    assert allocated(machine(committed_bytes=50 * GIB)) == 10 * GIB
    assert allocated(machine(committed_bytes=0)) == 10 * GIB
    assert allocated(machine(committed_bytes=3 * GIB, disks=(disk(provisioning="eager"),))) == 10 * GIB


def test_times_follow_from_data_bandwidth_and_what_changes() -> None:
    one, two = machine(), machine("other", folder="/DC0/vm/lab", moref="vm-2")
    rate = 10e6
    found = size([one, two], bandwidth=100e6, written={one.moref: rate})
    useful = 100e6 * EFFICIENCY
    assert found.allocated_bytes == 8 * GIB
    assert found.seconds == pytest.approx(8 * GIB / (useful - rate))
    assert found.machines[0].downtime_seconds == pytest.approx(CUTOVER_SECONDS + rate * LAST_INTERVAL_SECONDS / useful)
    assert found.machines[1].downtime_seconds is None
    assert [(wave.name, wave.machines) for wave in found.waves] == [("/DC0/vm/lab", 1), ("/DC0/vm/prod", 1)]


def test_what_changes_faster_than_it_is_copied_is_never_in_step() -> None:
    one = machine()
    assert size([one], bandwidth=10e6, written={one.moref: 9e6}).seconds is None
    assert size([one], bandwidth=None).seconds is None


def test_what_changed_between_syncs_counts_more_than_what_was_written() -> None:
    one, two, three = machine(), machine("two"), machine("three")
    found = size([one, two, three], None, {one.moref: 5.0, two.moref: 7.0}, {one.moref: 2.0})
    assert [(each.changed_per_second, each.rate_from) for each in found.machines] == [
        (2.0, "syncs"),
        (7.0, "statistics"),
        (None, None),
    ]
    assert (found.changed_per_second, found.measured) == (9.0, 2)


def sync(vm_uuid: str, kind: str, hours: float, changed: int, status: str = "completed") -> ReplicationJob:
    started = datetime(2026, 11, 1) + timedelta(hours=hours)
    return ReplicationJob(
        id=f"{vm_uuid}-{hours}",
        source_vm_id=vm_uuid,
        source_vm_name="x",
        source_vm_path="/x",
        vcenter_host="vc",
        datacenter="DC0",
        replication_type=kind,
        status=status,
        total_bytes=changed,
        started_at=started,
        created_at=started,
    )


def keep(db: Session, job: ReplicationJob) -> None:
    db.add(job)
    db.flush()
    note_sync(db, job)


def test_rates_of_change_come_from_what_syncs_found(databases: Databases) -> None:
    busy, new, idle = machine("busy"), machine("new"), machine("idle")
    with session(databases.oma) as db:
        keep(db, sync(busy.uuid, "full", -24 * 60, 0))
        keep(db, sync(busy.uuid, "incremental", -24 * 59, 10**15))
        keep(db, sync(busy.uuid, "full", 0, 50 * GIB))
        keep(db, sync(busy.uuid, "incremental", 1, 3600 * 1000))
        keep(db, sync(busy.uuid, "incremental", 2, 10**12, status="failed"))
        keep(db, sync(busy.uuid, "incremental", 3, 7200 * 4000))
        keep(db, sync(new.uuid, "full", 0, GIB))
        keep(db, sync(idle.uuid, "full", 0, GIB))
        keep(db, sync(idle.uuid, "incremental", 10, 0))
    assert changed_rates(databases.oma, [busy, new, idle]) == {busy.moref: 3000.0, idle.moref: 0.0}


def test_the_command_reads_them_from_the_database(directory: Path, tmp_path: Path) -> None:
    opened = open_databases(Database(directory=directory))
    with session(opened.oma) as db:
        keep(db, sync(GOOD.uuid, "full", 0, GIB))
        keep(db, sync(GOOD.uuid, "incremental", 1, 3600 * 500))
    opened.dispose()
    config = tmp_path / "config.toml"
    config.write_text(f'[database]\ndirectory = "{directory}"\n')
    inventory = str(write(tmp_path / "inventory.json", GOOD))
    # In a process of its own: what opens the database also takes the signals.
    done = run_process("--config", str(config), "assess", "good01", "--offline", inventory, "--history", "-o", "json")
    (found,) = json.loads(done.stdout)["sizing"]["machines"]
    assert (found["changed_per_second"], found["rate_from"]) == (500.0, "syncs")


def test_waves_are_folders_clusters_or_tags() -> None:
    first = machine(cluster="gold", tags=("wave:one", "owner:shop"))
    second = machine("good02", folder="/DC0/vm/test", cluster="gold", tags=("wave:one", "wave:two"))
    third = machine("good03", tags=())
    waves = {by: size([first, second, third], waves=by).waves for by in ("folder", "cluster", "tag:wave")}
    assert {by: [(wave.name, wave.machines) for wave in found] for by, found in waves.items()} == {
        "folder": [("/DC0/vm/prod", 2), ("/DC0/vm/test", 1)],
        "cluster": [("gold", 2), ("no cluster", 1)],
        "tag:wave": [("no tag wave", 1), ("one", 2)],
    }
    assert waves["cluster"][0].allocated_bytes == 2 * waves["cluster"][1].allocated_bytes


def test_waves_on_the_command_line(tmp_path: Path) -> None:
    tagged = machine("good02", tags=("wave:one",), disks=(disk(path="[ds1] g2/1.vmdk"),), nics=(nic(2),))
    inventory = str(write(tmp_path / "inventory.json", tagged))
    done = run("assess", "--all", "--offline", inventory, "--waves", "tag:wave", "--bandwidth", "100Mbit/s")
    assert done.returncode == 0
    assert "wave one: 1 machine, 4.0 GiB of 10.0 GiB, first sync 7 min 9 s\n" in done.stderr
    # Tags that were not read are no missing tags.
    inventory = str(write(tmp_path / "inventory.json", tagged, GOOD))
    untagged = run("assess", "--all", "--offline", inventory, "--waves", "tag:wave")
    assert untagged.returncode == 2
    assert "discover --tags" in untagged.stderr
    for wrong in ("disk", "tag:"):
        assert run("assess", "--all", "--offline", inventory, "--waves", wrong).returncode == 2


@pytest.mark.parametrize(("bandwidth", "text"), [(125e6, "1 Gbit/s"), (25e6, "200 Mbit/s"), (80 * MIB, "671.1 Mbit/s")])
def test_links_are_called_by_their_bits(bandwidth: float, text: str) -> None:
    assert people.link(bandwidth) == text


def test_target_sizes_are_whole_gib() -> None:
    assert size([machine(disks=(disk(capacity_bytes=GIB + 512),))]).target_bytes == 2 * GIB


VOID = ("meta", "rect", "wbr")
"""Elements that are not closed."""


class Page(HTMLParser):
    """What a browser would fetch or run, and whether tags are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.charts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.charts += tag == "svg"
        self.loads += [name for name, _ in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]
        if tag in ("script", "link", "iframe", "img", "object", "embed"):
            self.loads.append(tag)
        if tag not in VOID:
            self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.tags.pop() == tag


def test_the_report_is_one_file_that_loads_nothing_and_names_are_no_markup(tmp_path: Path) -> None:
    evil = machine("<script>x</script>&\"'", disks=(disk(path="[ds1] e/1.vmdk"),), nics=(nic(9),), vtpm=True)
    inventory = write(tmp_path / "inventory.json", GOOD, WARNED, BAD, evil)
    path = tmp_path / "report.html"
    done = run("assess", "--all", "--offline", str(inventory), "--report", str(path), "--bandwidth", "1Gbit/s")
    assert done.returncode == 3
    text = path.read_text()
    page = Page(text)
    assert page.loads == []
    assert page.tags == []
    assert page.charts == 4
    assert "<script" not in text
    assert "url(" not in text
    assert "&lt;script&gt;x&lt;/<wbr>script&gt;" in text
    assert "default-src 'none'" in text
    for finding in ("MK-DISK-002", "MK-DEV-009", "independent_persistent"):
        assert finding in text
    # The bar of the blocked machine is a third of the longest one's: 1 of 4 beside 2 with warnings.
    widths = {kind: float(width) for width, kind in re.findall(r'width="([\d.]+)" height="14" class="(\w+)"', text)[:6]}
    assert widths["warning"] == 400
    assert widths["blocker"] == widths["ok"] == 200
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_report_that_cannot_be_written_is_exit_2(tmp_path: Path) -> None:
    inventory = str(write(tmp_path / "inventory.json", GOOD))
    done = run("assess", "--all", "--offline", inventory, "--report", str(tmp_path / "no" / "report.html"))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 3
