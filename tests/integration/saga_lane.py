"""One machine of the crash matrix (saga_matrix.py): what is killed, what is run then, and how the world must look.

Where the places are, the commands tell themselves (common/failpoints.py): between any two steps, and around each
call to vSphere, CloudStack and the volume daemon. A first run of each scenario collects them. One cell then kills the
command at one place with SIGKILL, runs what an operator would run next, and looks at the world from outside.
"""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.saga_watch import Watch, forget
from tests.integration.stand_in import Tool, converted
from tests.integration.support import (
    GIB,
    Done,
    eventually,
    identical,
    nothing_left,
    report,
    run,
    sql,
    started,
    volume_ids,
)
from tests.lab.lab import Lab

FAILOVER, CONVERT = ("failover", "--yes"), ("failover", "--yes", "--convert")
VERIFIES = ("verify/", "failover/verify")
"""How the places begin that a failover passes with --verify only, which takes its time."""
CANCELLED_AT = "failover/no-return/running"
"""Where a failover is cancelled, so that it takes everything back: by then there is something of each kind."""
WORKS, FAILS = "work", "fail"
"""What the stand-in for virt-v2v-in-place does; by FAILS half-way."""


@dataclass(frozen=True)
class Scenario:
    """A command that is killed, the state that it begins in, and what may be run afterwards."""

    begins: str
    """`replicated`, `detached` (its volumes have given way to others), `failed-over`, `converted` (failed over with its
    guest converted), `standing` (an earlier failover has left its machine), `rehearsed` or `lost`."""
    command: tuple[str, ...]
    then: tuple[str, ...]
    """Commands, each of which has to lead to a clean state."""
    only: tuple[str, ...] = ("",)
    """How its places begin, where others have the rest."""
    cancelled: bool = False
    """Whether it is asked to stop first (at `at`): the places are those of taking everything back."""
    at: str = CANCELLED_AT
    """Where that is."""
    tool: str = ""
    """WORKS or FAILS where the guest is converted."""

    @property
    def over(self) -> tuple[str, ...]:
        """Return how an operator fails over, or goes on with it."""
        return CONVERT if self.tool else FAILOVER

    @property
    def exit_code(self) -> int:
        """Return what the command ends with if nobody kills it."""
        return 130 if self.cancelled or "--hold" in self.command else 1 if self.tool == FAILS else 0

    @property
    def ends(self) -> str:
        """Return the state that it leaves then."""
        if self.exit_code:
            return "unknown"
        if self.command[0] == "cleanup" and self.begins == "converted":
            return "failed-over"
        over = "converted" if self.tool else "failed-over"
        return {"failover": over, "test-failover": "rehearsed"}.get(self.command[0], "unknown")


_PUT_BACK = ("rollback/put-back-replica", "rollback/attach-volumes", "rollback/hand-back")
SCENARIOS = {
    "live": Scenario("replicated", (*FAILOVER, "--verify"), ("failover", "rollback", "cleanup")),
    "cancelled": Scenario("replicated", FAILOVER, ("failover", "rollback"), only=("rollback/",), cancelled=True),
    "tried": Scenario(
        "replicated",
        FAILOVER,
        ("failover", "rollback"),
        only=("rollback/delete-trial",),
        cancelled=True,
        at="failover/try-swap/daemon-post-volumes/answered",
    ),
    "left": Scenario("standing", FAILOVER, ("failover",), only=("failover/take-over-machine",)),
    "held": Scenario(
        "replicated",
        (*FAILOVER, "--hold"),
        ("failover", "rollback"),
        only=("failover/keep-in-step", "failover/predict-downtime"),
    ),
    "detached": Scenario("detached", FAILOVER, ("failover", "rollback"), only=("failover/attach-volumes",)),
    "convert": Scenario(
        "replicated",
        CONVERT,
        ("failover", "rollback"),
        only=tuple(
            f"failover/{step}" for step in ("decide-conversion", "inspect-guest", "protect-replica", "convert-guest")
        ),
        tool=WORKS,
    ),
    "convert-fails": Scenario("replicated", CONVERT, ("failover", "rollback"), only=_PUT_BACK, tool=FAILS),
    "convert-back": Scenario("converted", ("rollback", "--yes"), ("rollback", "failover"), only=_PUT_BACK, tool=WORKS),
    "convert-kept": Scenario(
        "converted", ("cleanup",), ("cleanup",), only=("cleanup/delete-conversion-snapshots",), tool=WORKS
    ),
    "convert-test": Scenario(
        "replicated",
        ("test-failover", "--convert"),
        ("test-failover", "cleanup"),
        only=tuple(
            f"test-failover/{step}"
            for step in ("decide-conversion", "inspect-guest", "detach-replica", "convert-guest", "detach-volumes")
        ),
        tool=WORKS,
    ),
    "rollback": Scenario("failed-over", ("rollback", "--yes"), ("rollback", "failover", "cleanup")),
    "test": Scenario("replicated", ("test-failover",), ("test-failover", "cleanup")),
    "cleanup": Scenario("rehearsed", ("cleanup",), ("cleanup", "test-failover")),
    "orphans": Scenario("lost", ("cleanup", "--orphans", "--yes"), ("orphans", "cleanup")),
}


@dataclass(frozen=True)
class Cell:
    """What came of one kill."""

    scenario: str
    place: str
    then: str
    outcome: str
    seconds: float

    @property
    def key(self) -> tuple[str, str, str]:
        """Return which kill it was."""
        return self.scenario, self.place, self.then


@dataclass
class Lane:
    """One machine, on which one cell goes on at a time."""

    lab: Lab
    vm: str
    tool: Tool | None = None
    """What its commands convert guests with."""
    state: str = "new"

    @property
    def folder(self) -> Path:
        """Return where its commands say which places they pass, and read at which to wait."""
        return self.lab.run / "points" / self.vm

    def environment(self, does: str = WORKS) -> dict[str, str]:
        """Return the environment of its commands, with what converts guests."""
        return self.tool.setting(does) if self.tool is not None else {}

    def stop_at(self, *places: str) -> None:
        """Have commands wait at these places; forget which were passed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "reached").unlink(missing_ok=True)
        beside = self.folder / "stop.new"
        beside.write_text("\n".join(places))
        beside.rename(self.folder / "stop")

    def reached(self) -> list[str]:
        """Return the places that were passed, in their order."""
        path = self.folder / "reached"
        return path.read_text().splitlines() if path.exists() else []

    def started(self, *arguments: str, **environment: str) -> Any:
        """Start a command, and kill it at the end of the block."""
        return started(self.lab, *arguments, **{**self.environment(), **environment})

    def run(self, *arguments: str, **environment: str) -> Done:
        """Run a command."""
        return run(self.lab, *arguments, **{**self.environment(), **environment})

    def report(self, *arguments: str) -> dict[str, Any]:
        """Run a command that has to work, and return its JSON."""
        return report(self.lab, *arguments, **self.environment())

    def arguments(self, command: tuple[str, ...]) -> list[str]:
        """Return a command's arguments, about this machine."""
        return [*command] if "--orphans" in command else [command[0], self.vm, *command[1:]]

    def prepare(self, state: str) -> None:
        """Bring the machine to where a scenario begins."""
        if state == self.state and state != "lost":
            return
        if self.state not in ("new", "replicated", "detached"):
            if self.state in ("failed-over", "converted"):
                self.report("rollback", self.vm, "--yes")
            else:
                self.report("cleanup", self.vm)
        if self.state != "replicated":
            self.report("replicate", self.vm)
            identical(self.lab, self.vm)
        self.state = "replicated"
        if state in ("failed-over", "converted"):
            self.report(*self.arguments(CONVERT if state == "converted" else FAILOVER))
            self.write_there()
        elif state in ("rehearsed", "lost"):
            made = self.report("test-failover", self.vm)
            if state == "lost":
                forget(self.lab, made["failover_id"])
        elif state == "standing":
            self._leave_standing()
        elif state == "detached":
            for volume_id in volume_ids(self.lab, self.vm):
                self.report("volumes", "detach", volume_id, "--yes")
        self.state = state

    def _leave_standing(self) -> None:
        """Have a failover be cancelled where the account may not expunge: its machine stays, stopped."""
        self.lab.cloud.settings(allow_user_expunge=False)
        self.stop_at(CANCELLED_AT)
        with self.started(*self.arguments(FAILOVER), MIGRATEKIT_POINTS=str(self.folder)) as command:
            self.wait(command, CANCELLED_AT)
            command.send_signal(signal.SIGINT)
            command.communicate(timeout=150)
        self.lab.cloud.default_settings()
        assert [vm["state"] for vm in self.machines()] == ["Stopped"]

    def write_there(self) -> None:
        """Have the machine in CloudStack write: within the disk, and where the volume is longer than the disk."""
        for volume_id in volume_ids(self.lab, self.vm):
            with Path(self.lab.cloud.volume(volume_id)["file"]).open("r+b") as file:
                for offset in (300 * 1024, GIB - 4096):
                    file.seek(offset)
                    file.write(random.randbytes(4096))

    def passed(self, scenario: Scenario) -> list[str]:
        """Run a scenario's command to its end, and return the places that it passes, each once."""
        self.prepare(scenario.begins)
        self.stop_at(scenario.at if scenario.cancelled else "")
        arguments = self.arguments(scenario.command)
        with self._watched(scenario, arguments) as command:
            if scenario.cancelled:
                self.wait(command, scenario.at)
                command.send_signal(signal.SIGINT)
            if "--hold" in scenario.command:
                eventually("it waits", lambda: "failover/predict-downtime/completed" in self.reached())
                command.send_signal(signal.SIGTERM)
            _, err = command.communicate(timeout=150)
        assert command.returncode == scenario.exit_code, f"exit {command.returncode}: {err}"
        self.state = scenario.ends
        found = [place for place in dict.fromkeys(self.reached()) if not place.endswith("/failed")]
        return [place for place in found if place.startswith(scenario.only)]

    def _watched(self, scenario: Scenario, arguments: list[str]) -> Any:
        environment = self.environment(scenario.tool or WORKS)
        if scenario.tool:
            # Elsewhere nobody looks into the guest, for that takes its time.
            environment["MIGRATEKIT_FAILOVER__INSPECT_GUEST"] = "true"
        return self.started(*arguments, **environment, MIGRATEKIT_POINTS=str(self.folder))

    def wait(self, command: Any, place: str) -> None:
        """Wait until a command stands at a place."""
        deadline = time.monotonic() + 90
        while place not in self.reached():
            if command.poll() is not None or time.monotonic() > deadline:
                command.kill()
                raise AssertionError(f"{self.vm} did not get to {place}: {command.communicate(timeout=180)[1]}")
            time.sleep(0.02)

    def kill_at(self, scenario: Scenario, place: str) -> None:
        """Start a scenario's command, and kill it where it stands at a place."""
        self.stop_at(place, *([scenario.at] if scenario.cancelled else []))
        passed = (word for word in scenario.command if word != "--verify" or place.startswith(VERIFIES))
        with self._watched(scenario, self.arguments(tuple(passed))) as command:
            if scenario.cancelled:
                self.wait(command, scenario.at)
                command.send_signal(signal.SIGINT)
            self.wait(command, place)
            command.kill()
            command.wait()
        self.state = "unknown"

    def cell(self, name: str, place: str, then: str) -> Cell:
        """Kill a command at a place, run what an operator would, and check what came of it."""
        began, scenario = time.monotonic(), SCENARIOS[name]
        with Watch(self.lab, (self.vm,)).on() as watch:
            self.prepare(scenario.begins)
            self.kill_at(scenario, place)
            outcome = getattr(self, f"after_{then.replace('-', '_')}")(scenario)
        assert watch.looks, "nobody looked"
        if self.state == "replicated":
            assert sql(self.lab, "SELECT * FROM cloudstack_job_tracking WHERE status = 'running'") == []
            nothing_left(self.lab, self.vm)
        return Cell(name, place, then, outcome, round(time.monotonic() - began, 1))

    def after_failover(self, scenario: Scenario) -> str:
        """Run the failover (again): the machine runs in CloudStack, once, with the source's bytes."""
        # Where the kill came too late to matter, it is failed over already.
        done = self.run(*self.arguments(scenario.over))
        said = ""
        if done.returncode == 4 and "is not synced" in done.stderr:
            # The rollback was as good as done, and what the machine in CloudStack wrote is not to be kept.
            self.runs_at_the_source()
            self.report("replicate", self.vm)
            done, said = self.run(*self.arguments(scenario.over)), "told to replicate first; "
        assert done.returncode == 0 or "is failed over" in done.stderr, done.stderr
        self.runs_in_the_cloud(same=done.returncode == 0 and not scenario.tool)
        if scenario.tool:
            self.is_converted()
        self.write_there()
        self.state = "converted" if scenario.tool else "failed-over"
        return f"{said}runs in CloudStack"

    def after_rollback(self, scenario: Scenario) -> str:
        """Take it back: the source runs, nothing is left, and the next sync makes the replica identical."""
        done = self.run("rollback", self.vm, "--yes")
        assert done.returncode == 0 or "was never failed over" in done.stderr, done.stderr
        self.runs_at_the_source()
        synced = self.report("replicate", self.vm)
        identical(self.lab, self.vm)
        self.state = "replicated"
        return f"source runs, replica {synced['kind']}"

    def after_cleanup(self, scenario: Scenario) -> str:
        """Clean up: no rehearsal is left. A live failover is none, so it is told what to run."""
        done = self.report("cleanup", self.vm)
        rehearsals = [vm for vm in self.machines() if "-test-" in vm["name"]]
        assert rehearsals == [], rehearsals
        if scenario.begins in ("rehearsed", "lost") or scenario.command[0] == "test-failover":
            assert self.lab.vcenter.vm(self.vm)["power"] == "on"
            self.state = "replicated"
            return "no rehearsal left"
        if scenario.command[0] == "cleanup":
            assert self.lab.cloud.state()["snapshots"] == [], "a machine that is to stay needs no way back"
        source, there = self.lab.vcenter.vm(self.vm)["power"] == "on", self.running()
        assert source != there or done["unfinished_failover"], "both are off, and nothing says what to run"
        return f"{'source runs' if source else 'runs in CloudStack' if there else 'both off, and told'}, then " + (
            self.after_rollback(scenario)
        )

    def after_test_failover(self, scenario: Scenario) -> str:
        """Rehearse (again): one rehearsal runs. One that was whole, and is half taken away, has to be cleaned up."""
        done = self.run("test-failover", self.vm, *(["--convert"] if scenario.tool else []))
        if done.returncode == 4 and "cleanup" in done.stderr:
            return "told to clean up; " + self.after_cleanup(scenario)
        assert done.returncode == 0, done.stderr
        rehearsals = [vm for vm in self.machines() if "-test-" in vm["name"]]
        assert [vm["state"] for vm in rehearsals] == ["Running"]
        self.report("cleanup", self.vm)
        self.state = "replicated"
        return "one rehearsal runs"

    def after_orphans(self, scenario: Scenario) -> str:
        """Remove the orphans again: none is left."""
        self.report("cleanup", "--orphans", "--yes")
        assert self.report("cleanup", "--orphans")["orphans"] == []
        self.state = "replicated"
        return "no orphan left"

    def machines(self) -> list[dict[str, Any]]:
        """Return what CloudStack has of this machine."""
        found = self.lab.cloud.state()["virtualmachines"]
        return [vm for vm in found if vm["name"] == self.vm or vm["name"].startswith(f"{self.vm}-test-")]

    def running(self) -> bool:
        """Return whether its new machine runs."""
        return any(vm["name"] == self.vm and vm["state"] == "Running" for vm in self.machines())

    def runs_in_the_cloud(self, same: bool) -> None:
        """Check that it runs in CloudStack, once, on the replica's volumes in their order, and not at the source."""
        (machine,) = self.machines()
        assert (machine["name"], machine["state"]) == (self.vm, "Running")
        assert self.lab.vcenter.vm(self.vm)["power"] == "off"
        volumes = [self.lab.cloud.volume(volume_id) for volume_id in volume_ids(self.lab, self.vm)]
        assert [volume["virtualmachineid"] for volume in volumes] == [machine["id"]] * 2
        assert [volume["deviceid"] for volume in volumes] == [0, 1]
        if same:
            identical(self.lab, self.vm)

    def is_converted(self) -> None:
        """Check that the guest was converted, on all of its volumes, and that the way back is kept."""
        for volume_id in volume_ids(self.lab, self.vm):
            assert converted(Path(self.lab.cloud.volume(volume_id)["file"]))
        assert len(self.lab.cloud.state()["snapshots"]) == len(volume_ids(self.lab, self.vm))

    def runs_at_the_source(self) -> None:
        """Check that it runs at the source, and that its volumes are there."""
        assert self.lab.vcenter.vm(self.vm)["power"] == "on"
        assert [vm for vm in self.machines() if vm["name"] == self.vm] == []
        for volume_id in volume_ids(self.lab, self.vm):
            assert self.lab.cloud.volume(volume_id)["state"] == "Ready"
