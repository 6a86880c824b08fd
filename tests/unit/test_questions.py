"""Every question of the command line is to be read on the screen while it waits; those that need no lab."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, select

from migratekit_core.adapters.tunnel import SERVICES, pki
from migratekit_core.adapters.tunnel.install import CONFIG_FILE, UNIT_FILE
from migratekit_core.db.engine import Databases, write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.fleet import FleetRun
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.db.models.waves import WaveMachine, WaveRow
from migratekit_core.db.wavestates import REHEARSED
from migratekit_core.joblog import Tracker
from migratekit_core.services.fleet import phases
from migratekit_core.services.networks import store as networks
from migratekit_core.services.networks.model import Entry
from migratekit_core.services.waves import look, store
from migratekit_core.services.waves.model import Machine, Wave
from tests.questions import HIDDEN, LAB, TEXT, UNIT, Asked, Site, check, sites
from tests.unit.command import run

CONFIG_INIT = "migratekit_cli.commands.config.init"
CUTOVER = "migratekit_cli.commands.wave.cutover"


@dataclass(frozen=True)
class Place:
    """What a command works on: a folder of its own, and both databases in a folder below it."""

    folder: Path
    databases: Databases
    environ: dict[str, str]

    def files(self) -> dict[str, bytes]:
        """Return every file that is no database."""
        state = self.folder / "state"
        return {
            str(path): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and state not in path.parents
        }


@pytest.fixture
def place(directory: Path, databases: Databases) -> Place:
    return Place(directory.parent, databases, {"MIGRATEKIT_DATABASE__DIRECTORY": str(directory)})


def rotate_ca(place: Place) -> Asked:
    folder = place.folder / "pki"
    pki.init(folder)
    arguments = ("tunnel", "pki", "rotate", "ca", "--folder", folder)
    return Asked(arguments, "Put a new CA beside the old? [y/N]:", place.files)


def finish_ca(place: Place) -> Asked:
    folder = place.folder / "pki"
    pki.init(folder)
    pki.rotate_ca(folder)
    arguments = ("tunnel", "pki", "rotate", "ca", "--finish", "--folder", folder)
    return Asked(arguments, "Drop the old CA? Hosts with its certificates are refused. [y/N]:", place.files)


def revoke(place: Place) -> Asked:
    folder = place.folder / "pki"
    pki.init(folder)
    line = "Revoke every certificate of vma? It cannot be taken back. [y/N]:"
    return Asked(("tunnel", "pki", "revoke", "vma", "--folder", folder), line, place.files)


def install(place: Place) -> Asked:
    folder = place.folder / "pki"
    pki.init(folder)
    pki.issue(folder, "oma01", server=True, names=list(SERVICES))
    files = ("--cert", folder / "oma01.pem", "--ca", folder / "ca.pem", "--crl", folder / "crl.pem")
    arguments = ("tunnel", "server", "install", *files, "--listen", "127.0.0.1:8443", "--user", getpass.getuser())
    line = "Have HAProxy listen on 127.0.0.1:8443, and start it anew? [y/N]:"
    return Asked(arguments, line, lambda: (place.files(), CONFIG_FILE.exists(), UNIT_FILE.exists()))


def token(place: Place) -> Asked:
    (place.folder / "token").write_text("planted-t0ken\n")
    (place.folder / "token").chmod(0o600)
    (place.folder / "config.toml").write_text(f"[daemon]\ntoken_file = '{place.folder}/token'\n")
    arguments = ("--config", place.folder / "config.toml", "volumes", "daemon", "token", "rotate")
    line = "Replace the volume daemon's token? Every client needs the new one. [y/N]:"
    return Asked(arguments, line, place.files)


def jobs(place: Place) -> list[str]:
    with Session(place.databases.oma) as db:
        return sorted(db.exec(select(JoblogJob.id)))


def prune(place: Place) -> Asked:
    tracker = Tracker(place.databases.oma)
    for owner in ("erp01", "erp02"):
        with tracker.job("verify", owner=owner):
            pass

    def age(db: Session) -> None:
        for row in db.exec(select(JoblogJob)):
            row.started_at = row.completed_at = utcnow() - timedelta(days=100)

    write(place.databases.oma, age)
    line = "Delete 2 jobs that ended more than 90d ago? [y/N]:"
    return Asked(("jobs", "prune", "--older-than", "90d"), line, lambda: jobs(place), environ=place.environ)


def unset(place: Place) -> Asked:
    networks.store(place.databases.oma, [Entry("VM Network", "guest-prod"), Entry("Guest-DMZ", None)])

    def mapped() -> object:
        return networks.stored(place.databases.oma)

    arguments = ("networks", "--unset", "VM Network", "--unset", "Guest-DMZ")
    return Asked(arguments, "Remove these lines? [y/N]:", mapped, environ=place.environ)


def wave(place: Place) -> Wave:
    """Store a wave of two machines that are rehearsed."""
    made = Wave(name="shop-1", machines=(Machine(name="erp01", uuid="u-1"), Machine(name="erp02", uuid="u-2")))
    store.create(place.databases.oma, made)

    def rehearsed(db: Session) -> None:
        for row in db.exec(select(WaveMachine)):
            row.state = REHEARSED

    write(place.databases.oma, rehearsed)
    return made


def asked_for(place: Place) -> object:
    """Return what somebody has asked of the wave, and what became of its machines."""
    seen = look.snapshot(place.databases.oma, "shop-1")
    with Session(place.databases.oma) as db:
        runs = [(row.kind, row.phase, row.gate_open) for row in db.exec(select(FleetRun))]
    return runs, seen.wave.cancel_asked, [(each.name, each.state, each.attempts) for each in seen.machines]


def cancel(place: Place) -> Asked:
    wave(place)
    return Asked(
        ("wave", "cancel", "shop-1"), "Cancel wave shop-1? [y/N]:", lambda: asked_for(place), environ=place.environ
    )


def cutover(place: Place) -> Asked:
    wave(place)
    line = "Shut down and cut over 2 machines of wave shop-1? [y/N]:"
    arguments = ("wave", "cutover", "shop-1", "--no-rehearse")
    return Asked(arguments, line, lambda: asked_for(place), environ=place.environ)


def gate(place: Place) -> Asked:
    """A wave that was rehearsed and waits for a yes: its driver runs in the command that asks."""
    wave(place)

    def stop_at_gate(db: Session) -> None:
        row = db.exec(select(WaveRow)).one()
        db.add(FleetRun(wave_id=row.id, kind=phases.CUT, phase=phases.GATE, asked_by="somebody"))

    write(place.databases.oma, stop_at_gate)
    line = "Shut down and cut over 2 machines of wave shop-1? [y/N]:"
    unchanged = "Nothing was shut down; wave shop-1 waits for a yes."
    return Asked(
        ("wave", "cutover", "shop-1"), line, lambda: asked_for(place), unchanged=unchanged, environ=place.environ
    )


FLAGS = (
    *("--role", "oma", "--api-url", "https://c/client/api", "--service-offering", "s", "--disk-offering", "d"),
    *("--oma-vm", "oma01", "--database", "sqlite"),
)


def first_answer(place: Place) -> Asked:
    arguments = ("config", "init", place.folder / "etc" / "c.toml", *FLAGS)
    return Asked(arguments, "ossea.zone: zone:", place.files, TEXT)


def secret(place: Place) -> Asked:
    arguments = ("config", "init", place.folder / "etc" / "c.toml", *FLAGS)
    before = (("ossea.zone: zone:", "zone-1\r"),)
    return Asked(arguments, "ossea.api_key (not shown):", place.files, HIDDEN, before)


CASES: dict[str, tuple[Site, Callable[[Place], Asked]]] = {
    "rotate the CA": (("tunnel pki rotate", "migratekit_cli.commands.tunnel.pki.rotate.command"), rotate_ca),
    "end its rotation": (("tunnel pki rotate", "migratekit_cli.commands.tunnel.pki.rotate.command"), finish_ca),
    "revoke": (("tunnel pki revoke", "migratekit_cli.commands.tunnel.pki.revoke.command"), revoke),
    "install": (("tunnel server install", "migratekit_cli.commands.tunnel.server.install.command"), install),
    "token": (("volumes daemon token rotate", "migratekit_cli.commands.volumes.daemon.token.rotate.command"), token),
    "prune": (("jobs prune", "migratekit_cli.commands.jobs.prune.command"), prune),
    "unset": (("networks", "migratekit_cli.commands.networks._forget"), unset),
    "cancel": (("wave cancel", "migratekit_cli.commands.wave.cancel.command"), cancel),
    "cut over": (("wave cutover", f"{CUTOVER}.command"), cutover),
    "gate": (("wave cutover", f"{CUTOVER}._gate"), gate),
    "settings": (("config init", f"{CONFIG_INIT}._answers"), first_answer),
    "secrets": (("config init", f"{CONFIG_INIT}._secrets"), secret),
}


@pytest.mark.parametrize("case", CASES)
def test_a_question_is_on_the_screen_while_it_waits_and_a_no_changes_nothing(place: Place, case: str) -> None:
    _, prepare = CASES[case]
    check(prepare(place))


def test_every_command_that_asks_is_looked_at() -> None:
    """One that is missing here, or in tests/integration/test_questions.py, is added there with its screen."""
    assert sites() == UNIT | LAB
    assert {site for site, _ in CASES.values()} == UNIT


@pytest.mark.parametrize("case", [case for case, (site, _) in CASES.items() if site[0] != "config init"])
def test_without_a_terminal_it_is_exit_2_and_yes_is_what_it_needs(place: Place, case: str) -> None:
    asked = CASES[case][1](place)
    before = asked.state()
    done = run(*map(str, asked.arguments), **asked.environ)
    if case == "gate":
        # It is no precondition: the rehearsals are what was asked for.
        assert (done.returncode, asked.state()) == (0, before)
        return
    assert (done.returncode, done.stdout, asked.state()) == (2, "", before), done.stderr
    assert "pass --yes" in done.stderr
