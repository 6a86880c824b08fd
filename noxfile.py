"""Sessions of the build, in the environment of `make setup`: libnbd's binding cannot be installed by pip."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "contracts", "schema", "docs", "simulator", "tests"]
nox.options.error_on_missing_interpreters = True

# Hundreds of processes read the same modules: each is compiled once, whatever the caller's environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

BIN = Path(__file__).parent / ".venv" / "bin"
WORKERS = os.environ.get("TEST_WORKERS", "3")
"""More than the two cores of CI: most tests wait for something."""
LAB_BIN = Path(__file__).parent / ".lab" / "bin"


def _tool(name: str) -> str:
    return str(BIN / name)


@nox.session
def lint(session: nox.Session) -> None:
    """Format and lint."""
    session.run(_tool("ruff"), "format", "--check", ".")
    session.run(_tool("ruff"), "check", ".")


@contextmanager
def _beside(session: nox.Session, *command: str) -> Iterator[None]:
    """Run a command while the block runs, which uses one processor; what it said is told where it fails."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            yield
        finally:
            failed = process.wait()
        said.seek(0)
        if failed:
            session.error(f"{' '.join(command)}\n{said.read()}")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly; meanwhile the tests are compiled, which each worker would else do for itself."""
    with _beside(session, _tool("python"), "-m", "pytest", "--collect-only", "-q"):
        session.run(_tool("mypy"))


@nox.session
def contracts(session: nox.Session) -> None:
    """Check who imports whom."""
    session.run(_tool("lint-imports"))


@nox.session
def schema(session: nox.Session) -> None:
    """Check that sql/*.sql are what the migrations render."""
    session.run(_tool("python"), "-m", "tests.schema", "--check")


@nox.session
def docs(session: nox.Session) -> None:
    """Check the reference of commands and build the documentation into site/, strictly: a dead link is an error."""
    session.run(_tool("python"), "-m", "tests.reference", "--check")
    session.run(_tool("python"), "-m", "tests.troubleshooting", "--check")
    # Not quietly: mkdocs counts only the warnings that it shows.
    command = ("-m", "mkdocs", "build", "--strict", "--config-file", "tests/docs/mkdocs.yml")
    session.run(_tool("python"), *command, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})


@nox.session
def simulator(session: nox.Session) -> None:
    """Test the vCenter simulator's own parts."""
    session.chdir("tests/lab/vcsim")
    # The toolchain that the set-up built the simulator with.
    for command in ("vet", "test"):
        session.run(
            str(LAB_BIN / "go"), command, "./...", external=True, env={**os.environ, "GOFLAGS": "-buildvcs=false"}
        )


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole suite, unit and integration; a worker has a lab of its own, and files are not torn apart."""
    # In the order of tests/conftest.py, longest files first: xdist would begin with those of most tests.
    spread = () if session.posargs else ("-n", WORKERS, "--dist", "loadfile", "--no-loadscope-reorder")
    session.run(_tool("python"), "-m", "pytest", *spread, *session.posargs)


@nox.session
def history(session: nox.Session) -> None:
    """Measure commands after 10,000 and 300,000 syncs, and prune them; writes .bench/history.json; an hour, 15 GiB."""
    session.run(_tool("python"), "-m", "tests.history", "--prune", *session.posargs)


@nox.session
def matrix(session: nox.Session) -> None:
    """Kill every part of a copy at random moments (FAULTS_COUNT, 50, for each); half an hour."""
    session.run(_tool("python"), "-m", "tests.faults")


@nox.session
def saga_matrix(session: nox.Session) -> None:
    """Kill failover, rehearsal, rollback and cleanup at every place; writes .bench/saga-matrix.json; hours."""
    session.run(
        _tool("python"),
        *("-m", "pytest", "-s", "tests/integration/test_saga_matrix.py", *session.posargs),
        env={**os.environ, "SAGA_MATRIX": "full"},
    )


@nox.session
def vsphere_matrix(session: nox.Session) -> None:
    """Break every call to vCenter, in five ways; writes .bench/vsphere-matrix.json, and goes on where it was; hours."""
    session.run(_tool("python"), "-m", "tests.integration.vsphere_matrix", *(session.posargs or ["--lanes", "2"]))


@nox.session
def fleet_matrix(session: nox.Session) -> None:
    """Kill workers, scheduler and client of a fleet at random; writes .bench/fleet.json; a quarter of an hour."""
    session.run(_tool("python"), "-m", "tests.fleet", *session.posargs)


@nox.session
def wan(session: nox.Session) -> None:
    """Measure each kind of tunnel on a link of 100 Mbit/s, of 1 Gbit/s and without limit; writes .bench/wan.json."""
    session.run(_tool("python"), "-m", "tests.wire")


@nox.session
def daemon_matrix(session: nox.Session) -> None:
    """Break every operation of the volume daemon at every step, in every way; writes .bench/daemon-matrix.json."""
    session.run(
        _tool("python"),
        *("-m", "pytest", "-s", "tests/integration/test_daemon_matrix.py", *session.posargs),
        env={**os.environ, "DAEMON_MATRIX": "full"},
    )


@nox.session
def hard_clouds(session: nox.Session) -> None:
    """Run the demo in clouds that refuse, limit and restart (tests/lab/conditions.py); ten minutes."""
    wanted = session.posargs or [
        "expunge-refused",
        "page-20",
        "throttled",
        "restarts",
        "vcenter-sessions",
        "vcenter-both",
        "vm-snapshot",
    ]
    session.run(_tool("python"), "-m", "tests.lab", "demo", *wanted)


@nox.session
def conversion(session: nox.Session) -> None:
    """Convert a guest without virtio drivers by the real virt-v2v-in-place, and boot it; minutes without KVM."""
    session.run(_tool("python"), "-m", "tests.lab", "convert")


@nox.session
def oma_guest(session: nox.Session) -> None:
    """Plug replicas into a Debian that plays the OMA (qemu, without KVM), and boot it again; half an hour, 5 GiB."""
    if session.run("sh", "-c", "command -v mmdebstrap", external=True, silent=True, success_codes=[0, 1, 127]) == "":
        session.run("apt-get", "install", "-y", "-q", "--no-install-recommends", "mmdebstrap", external=True)
    scenes = session.posargs or ["tests/oma_guest/scene_filters.py"]
    session.run(_tool("python"), "-m", "pytest", "-s", "-n", "0", "--timeout", "7200", *scenes)


@nox.session
def package(session: nox.Session) -> None:
    """Build the Debian package, install it on a bare Debian made with debootstrap, and use it there. Needs root."""
    session.run(_tool("python"), "-m", "tests.package", "root", "dist")


@nox.session
def release(session: nox.Session) -> None:
    """Check everything, and build what is released into dist/: sdist, wheel, Debian package, documentation."""
    version = (Path(__file__).parent / "VERSION.txt").read_text().strip()
    if f"## {version}" not in (Path(__file__).parent / "docs" / "changelog.md").read_text():
        session.error(f"docs/changelog.md has no entry for {version}")
    session.run("rm", "-rf", "dist", external=True)
    for name in (*nox.options.sessions, "package"):
        session.notify(name)
    session.run(_tool("python"), "-m", "tests.package", "wheel", "dist")
    session.run(_tool("python"), "-m", "tests.package", "deb", "dist")
    session.run("sh", "-c", "cd dist && sha256sum *.whl *.tar.gz *.deb > SHA256SUMS", external=True)
