"""Every question of the command line is to be read on the screen while it waits; those that need the lab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.support import report, run, setting, sql, volume_ids
from tests.lab.lab import Lab
from tests.questions import LAB, TEXT, Asked, Site, check, waiting

VM = "asked01"
FAILOVER = f"Shut {VM} down and cut it over? [y/N]:"
FIRST, SECOND = (
    f"[{number}/2] /DC0/network/DC0_DVPG{number - 1} (distributed), used by unmapped01\n  goes to:" for number in (1, 2)
)
BEFORE = {"attach": ["detach"], "detach": ["attach"], "export": ["attach"], "unexport": ["attach", "export"]}
"""What makes a volume ready for a change."""


def asked(lab: Lab, line: str, *arguments: str, **more: Any) -> Asked:
    """Return a question of a command with the lab's configuration."""
    return Asked(("--config", lab.config, *arguments), line, lambda: state(lab), environ=setting(lab), **more)


def state(lab: Lab) -> object:
    """Return what the commands here change: the machine on both sides, volumes, exports, networks, and every job."""
    cloud = lab.cloud.state()
    volumes = [(each["id"], each["virtualmachineid"], each["state"]) for each in cloud["volumes"]]
    exports = sql(lab, "SELECT export_name, status FROM nbd_exports", database="migratekit_volumes")
    mapped = sql(lab, "SELECT source, target FROM network_mappings ORDER BY source")
    jobs = sql(lab, "SELECT id, status FROM joblog_jobs ORDER BY id")
    machines = [(each["name"], each["state"]) for each in cloud["virtualmachines"]]
    return lab.vcenter.vm(VM)["power"], machines, volumes, exports, mapped, jobs


def failover(lab: Lab) -> Asked:
    return asked(lab, FAILOVER, "failover", VM)


def rollback(lab: Lab) -> Asked:
    """Have the machine cut over, by somebody who says yes."""
    with waiting(failover(lab)) as seen:
        seen.type("y\r")
        assert seen.end(150) == 0, seen.text
    return asked(lab, f"Take the failover of {VM} back? [y/N]:", "rollback", VM)


def goes_to(lab: Lab) -> Asked:
    return asked(lab, FIRST, "networks", "--wizard", "unmapped01", kind=TEXT)


def store(lab: Lab) -> Asked:
    before = ((FIRST, "guest-prod\r"), (SECOND, "-\r"))
    return asked(lab, "Store this? [y/N]:", "networks", "--wizard", "unmapped01", before=before)


def volume(lab: Lab, verb: str) -> Asked:
    """Have the machine's volume in the state that a change needs."""
    (name,) = volume_ids(lab, VM)
    for step in BEFORE[verb]:
        report(lab, "volumes", step, name, "--yes")
    return asked(lab, f"{verb.capitalize()} this volume? [y/N]:", "volumes", verb, name)


def change(verb: str) -> tuple[Site, Callable[[Lab], Asked]]:
    return (f"volumes {verb}", "migratekit_cli.commands.volumes.change.carry_out"), lambda lab: volume(lab, verb)


def delete(lab: Lab) -> Asked:
    (name,) = volume_ids(lab, VM)
    report(lab, "volumes", "detach", name, "--yes")
    return asked(lab, "Delete this volume for good? [y/N]:", "volumes", "delete", name, "--yes-delete")


CASES: dict[str, tuple[Site, Callable[[Lab], Asked]]] = {
    "failover": (("failover", "migratekit_cli.commands.failover.command"), failover),
    "goes to": (("networks", "migratekit_cli.ui.wizard._answer"), goes_to),
    "store": (("networks", "migratekit_cli.commands.networks._save"), store),
    **{verb: change(verb) for verb in BEFORE},
    "delete": (("volumes delete", "migratekit_cli.commands.volumes.delete.command"), delete),
    "rollback": (("rollback", "migratekit_cli.commands.rollback.command"), rollback),
}


@pytest.fixture(scope="module")
def replicated(shared_lab: Lab) -> Lab:
    """The lab with a replica of the machine."""
    report(shared_lab, "replicate", VM)
    return shared_lab


@pytest.fixture
def restored(replicated: Lab, lab: Lab) -> Iterator[Lab]:
    """The same, with everything as it was behind the test."""
    yield lab
    for step in ("unexport", "attach"):
        report(lab, "volumes", step, volume_ids(lab, VM)[0], "--yes")


@pytest.mark.parametrize("case", CASES)
def test_a_question_is_on_the_screen_while_it_waits_and_a_no_changes_nothing(restored: Lab, case: str) -> None:
    _, prepare = CASES[case]
    try:
        found = prepare(restored)
        check(found)
        before = state(restored)
        done = run(restored, *map(str, found.arguments[2:]))
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "why: there is no terminal to ask on" in done.stderr
        assert state(restored) == before
    finally:
        if case == "rollback":
            report(restored, "rollback", VM, "--yes")


def test_every_command_that_asks_in_the_lab_is_looked_at() -> None:
    assert {site for site, _ in CASES.values()} == LAB
