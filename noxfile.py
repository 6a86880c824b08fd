"""Sessions of the build, in the environment of `make setup`: libnbd's binding cannot be installed by pip."""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "contracts", "schema", "simulator", "tests"]
nox.options.error_on_missing_interpreters = True

BIN = Path(__file__).parent / ".venv" / "bin"
LAB_BIN = Path(__file__).parent / ".lab" / "bin"


def _tool(name: str) -> str:
    return str(BIN / name)


@nox.session
def lint(session: nox.Session) -> None:
    """Format and lint."""
    session.run(_tool("ruff"), "format", "--check", ".")
    session.run(_tool("ruff"), "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
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
    """Run the whole suite, unit and integration."""
    session.run(_tool("python"), "-m", "pytest", *session.posargs, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
