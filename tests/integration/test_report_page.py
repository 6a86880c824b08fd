"""The report as people see it: in a real browser, on a desktop, a phone and paper."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import browser, sample_joblog
from tests.lab.lab import COMMAND, environment


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the configuration of a joblog with something of everything."""
    folder = tmp_path_factory.mktemp("report")
    sample_joblog.make(folder / "db").dispose()
    file = folder / "config.toml"
    file.write_text(f'[database]\ndirectory = "{folder / "db"}"\n[networks.map]\n"Spare Network" = "guest-spare"\n')
    yield file


def report(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "--config", str(config), "report", *arguments],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_report_is_one_page_that_fits_and_asks_nobody(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    done = report(config, sample_joblog.VM, "--html", str(file))
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shots = Path(os.environ.get("REPORT_PICTURES", tmp_path))
    with browser.chromium() as opened:
        for name, size, media in (
            ("desktop", browser.DESKTOP, ""),
            ("phone", browser.PHONE, ""),
            ("paper", (794, 1123), "print"),
        ):
            seen = browser.look(opened, file, size, shots / f"report-{name}.png", media=media)
            assert seen.errors == [], name
            assert seen.requests == [], name
            assert seen.wide == [], name
            assert seen.width <= size[0], name
            # What the cloud said is text, not a part of the page.
            assert seen.title == f"{sample_joblog.VM}: migration report"
            assert (shots / f"report-{name}.png").stat().st_size > 10_000
    text = file.read_text()
    assert "<script" not in text
    assert "http://" not in text.replace("http://198.51.100.1", "")
    for part in ("Throughput by sync", "Changed bytes by sync", "Steps in time", "guest-prod", "guest-spare",
                 "Verification digests", "de0486df-3b0f-4d4b-9d09-464e938021fd", "downtime"):  # fmt: skip
        assert part in text, part


def test_a_report_as_json_says_the_same(config: Path) -> None:
    data = json.loads(report(config, sample_joblog.VM, "--output", "json").stdout)
    assert data["schema"] == "migratekit.report/1"
    assert (data["vm"], data["vm_uuid"]) == (sample_joblog.VM, sample_joblog.UUID)
    assert len(data["syncs"]) == 12
    assert [sync["kind"] for sync in data["syncs"]] == ["full"] + ["incremental"] * 11
    last = data["syncs"][-1]
    assert last["moved_bytes"] == sum(disk["moved_bytes"] for disk in last["disks"])
    [checked] = data["verifications"]
    assert {disk["result"] for disk in checked["disks"]} == {"identical"}
    assert all(len(disk["source_digest"]) == 64 for disk in checked["disks"])
    [over] = data["failovers"]
    assert over["networks"]["VM Network"] == "guest-prod"
    # From the order to shut down to the end of the boot check: nine steps of one, and the sync of six.
    assert over["downtime_seconds"] == pytest.approx(94 * 13 / 14, abs=0.01)
    made = {(thing["what"], thing["id"]) for thing in data["made"]}
    assert ("machine", "de0486df-3b0f-4d4b-9d09-464e938021fd") in made
    assert len([what for what, _ in made if what == "volume"]) == 2


def test_a_job_is_reported_alone_and_the_unknown_is_refused(config: Path) -> None:
    everything = json.loads(report(config, sample_joblog.VM, "--output", "json").stdout)
    job_id = everything["syncs"][3]["job_id"]
    data = json.loads(report(config, job_id[:8], "--output", "json").stdout)
    assert [job["job"]["id"] for job in data["jobs"]] == [job_id]
    assert [sync["job_id"] for sync in data["syncs"]] == [job_id]
    assert data["failovers"] == []
    unknown = report(config, "nobody")
    assert unknown.returncode == 4
    assert "nothing is known of 'nobody'" in unknown.stderr
