"""The daemon's systemd unit: what systemd itself says about it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from migratekit_cli.main import app

MOST_EXPOSURE = 2.0
"""systemd's own score, from 0 to 10; services that harden nothing have 9.6."""


@pytest.fixture(params=["volumed", "exporter"])
def unit(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    more = ["--exporter"] if request.param == "exporter" else []
    printed = CliRunner().invoke(app, ["--config", "/etc/migratekit/oma.toml", "volumes", "daemon", "unit", *more])
    assert printed.exit_code == 0
    path = tmp_path / f"migratekit-{request.param}.service"
    path.write_text(printed.output)
    return path


def analyze(*arguments: str) -> str:
    program = shutil.which("systemd-analyze")
    assert program is not None, "run tests/lab/setup.sh"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_it_starts_this_installation_with_the_configuration_given(unit: Path) -> None:
    text = unit.read_text()
    (command,) = re.findall(r"^ExecStart=(\S+) --config (\S+) volumes daemon (?:run|exporter)$", text, re.MULTILINE)
    assert Path(command[0]).exists()
    assert command[1] == "/etc/migratekit/oma.toml"
    assert "@" not in "".join(line for line in text.splitlines() if not line.startswith(("#", "SystemCallFilter")))


def test_systemd_finds_no_fault(unit: Path) -> None:
    told = analyze("verify", "--man=no", str(unit))
    assert unit.name not in told, told


def test_its_exposure_is_low(unit: Path) -> None:
    told = analyze("security", "--offline=true", "--no-pager", str(unit))
    (score,) = re.findall(r"Overall exposure level for .*: ([\d.]+)", told)
    assert float(score) <= MOST_EXPOSURE, told
