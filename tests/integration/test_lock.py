"""One run per machine: a second one is told who holds it, and a killed one holds nothing."""

from __future__ import annotations

from tests.integration.gate import gate
from tests.integration.support import (
    MIB,
    finished,
    identical,
    no_children,
    nothing_left,
    refused,
    report,
    run,
    sql,
    started,
)
from tests.lab.lab import Lab

VM = "lock01"


def test_a_second_run_is_told_who_holds_the_machine(lab: Lab) -> None:
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as first:
        slow.wait(first)
        said = refused(lab, run(lab, "replicate", VM), 8)
        slow.open()
        assert finished(first).returncode == 0
    assert "being worked on" in said
    assert f"replicate {VM} (pid {first.pid} on " in said
    identical(lab, VM)
    nothing_left(lab, VM)


def test_a_killed_run_frees_the_machine_at_once(lab: Lab) -> None:
    lab.vcenter.new_epoch(VM)
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as killed:
        slow.wait(killed)
        killed.kill()
        killed.wait()
        done = report(lab, "replicate", VM)
    assert done["kind"] == "full"
    identical(lab, VM)
    nothing_left(lab, VM)
    no_children(lab)
    (job,) = sql(lab, "SELECT status FROM joblog_jobs WHERE pid = %s AND kind = 'replication'", killed.pid)
    assert job["status"] == "interrupted"
