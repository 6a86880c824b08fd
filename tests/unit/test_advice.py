"""Commands that texts show work as they are printed: with the vCenter and the OMA that they are about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migratekit_core.common.advice import COMMANDS, ELSEWHERE, with_options
from migratekit_core.services.waves.model import Machine
from tests.commands import tree
from tests.unit.command import run

OPTIONS = ["--vcenter", "dc2", "--oma", "east"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("run: migratekit failover web01; or back with: migratekit rollback web01",
         "run: migratekit --vcenter dc2 --oma east failover web01; or back with: "
         "migratekit --vcenter dc2 --oma east rollback web01"),
        ("look: migratekit jobs list)", "look: migratekit --vcenter dc2 --oma east jobs list)"),
        ("on the OMA: migratekit tunnel server check", "on the OMA: migratekit tunnel server check"),
        ("migratekit failed unexpectedly", "migratekit failed unexpectedly"),
        ("pip install 'migratekit[fleet]'", "pip install 'migratekit[fleet]'"),
        ("/run/migratekit jobsite", "/run/migratekit jobsite"),
    ],
)  # fmt: skip
def test_commands_in_a_text_get_the_options(text: str, wanted: str) -> None:
    assert with_options(text, OPTIONS) == wanted
    assert with_options(text, []) == text


def test_the_names_are_those_of_commands() -> None:
    there = {" ".join(command.path) for command in tree().walk()}
    assert there >= {*COMMANDS, *ELSEWHERE}


def test_a_machine_of_a_wave_has_the_options_of_its_profiles() -> None:
    assert Machine(name="web01", uuid="u", vcenter="dc2", oma="east").options == OPTIONS
    assert Machine(name="web01", uuid="u").options == []


def test_an_error_advises_for_the_oma_that_was_named(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[omas.east.database]\nkind = "sqlite"\ndirectory = {json.dumps(str(tmp_path / "east"))}\n')
    done = run("--config", str(config), "--oma", "east", "jobs", "list")
    assert done.returncode == 7
    assert "make them with: migratekit --oma east db upgrade" in done.stderr
