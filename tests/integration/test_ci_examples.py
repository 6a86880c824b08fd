"""What docs/ci.md and docs/examples show works as it stands there: the files are valid, their commands are run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml

from tests.integration.estate_fixture import Estate
from tests.lab.lab import COMMAND, ROOT, environment

EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "ci.md").read_text()


@pytest.fixture
def folder(source: Estate, tmp_path: Path) -> Path:
    """A checkout in which migratekit finds its configuration by itself, and an empty baseline."""
    config = tmp_path / ".config" / "migratekit" / "config.toml"
    config.parent.mkdir(parents=True)
    shutil.copy(source.config, config)
    (tmp_path / "accepted.yaml").write_text("schema: migratekit.assess-baseline/1\naccepted: []\n")
    return tmp_path


def shell(folder: Path, script: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a script as CI systems do: bash, which stops at the first error, in the checkout."""
    search = f"{COMMAND.parent}{os.pathsep}{environment()['PATH']}"
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**environment(), "HOME": str(folder), "PATH": search, **extra},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def accept_all(folder: Path) -> None:
    done = shell(folder, "migratekit assess --all --write-baseline accepted.yaml --reason test > /dev/null")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kind", "file"), [("github-workflows", "github-assess.yml"), ("gitlab-ci", "gitlab-assess.yml")]
)
def test_the_pipelines_follow_the_schemas_of_their_systems(kind: str, file: str) -> None:
    check = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", f"vendor.{kind}", EXAMPLES / file]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def steps(file: str) -> list[str]:
    """Return the commands of a pipeline, in their order."""
    pipeline: dict[str, Any] = yaml.safe_load((EXAMPLES / file).read_text())
    if "jobs" in pipeline:
        return [step["run"] for step in pipeline["jobs"]["assess"]["steps"] if "run" in step]
    return list(pipeline["assess"]["script"])


def test_the_github_workflow_runs(folder: Path) -> None:
    summary = folder / "summary.md"
    inventory, summarise, assess = steps("github-assess.yml")
    for script in (inventory, summarise):
        done = shell(folder, script, GITHUB_STEP_SUMMARY=str(summary))
        assert done.returncode == 0, done.stderr
    assert summary.read_text().startswith("# Assessment")
    assert shell(folder, assess).returncode == 3
    assert json.loads((folder / "assess.sarif").read_text())["version"] == "2.1.0"
    assert (folder / "assess.html").read_text().startswith("<!doctype html>")
    accept_all(folder)
    assert shell(folder, assess).returncode == 0


def test_the_gitlab_job_runs(folder: Path) -> None:
    inventory, assess = steps("gitlab-assess.yml")
    assert shell(folder, inventory).returncode == 0
    assert shell(folder, assess).returncode == 3
    assert JUnitXml.fromfile(str(folder / "assess.xml")).failures > 0


def test_the_nightly_script_mails_blockers_and_is_quiet_when_all_is_accepted(folder: Path) -> None:
    kept = folder / "kept"
    script = f"exec {EXAMPLES / 'assess-nightly.sh'}"
    found = shell(folder, script, ASSESS_FOLDER=str(kept))
    assert found.returncode == 3
    assert "MK-DISK-002  /DC0/vm/estate/independent  Hard disk 1" in found.stdout
    assert {path.suffix for path in kept.iterdir()} == {".html", ".json", ".log", ".yaml"}
    accept_all(folder)
    shutil.copy(folder / "accepted.yaml", kept / "accepted.yaml")
    quiet = shell(folder, script, ASSESS_FOLDER=str(kept))
    assert (quiet.returncode, quiet.stdout) == (0, "")


def test_the_nightly_script_says_why_it_could_not_look(folder: Path) -> None:
    (folder / ".config" / "migratekit" / "config.toml").unlink()
    done = shell(folder, f"exec {EXAMPLES / 'assess-nightly.sh'}", ASSESS_FOLDER=str(folder / "kept"))
    assert done.returncode == 2
    assert "error: " in done.stdout


def test_the_commands_of_the_page_run(folder: Path) -> None:
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    done = shell(folder, commands)
    assert done.returncode == 0, done.stderr


def test_the_baseline_of_the_page_is_one(folder: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (folder / "accepted.yaml").write_text(text)
    assert shell(folder, "migratekit assess plain --baseline accepted.yaml").returncode == 0


def test_the_files_that_the_page_names_are_there() -> None:
    named = re.findall(r"\]\((examples/[^)]+)\)", PAGE)
    assert {Path(name).name for name in named} == {path.name for path in EXAMPLES.iterdir() if "assess" in path.name}
    cron = re.search(r"^    (15 4 .*)$", PAGE, re.MULTILINE)
    assert cron is not None
    assert cron[1] in (EXAMPLES / "assess-nightly.sh").read_text()
