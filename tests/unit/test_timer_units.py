"""The systemd units of cron's work are what systemd takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

UNITS = Path(__file__).resolve().parents[2] / "packaging" / "systemd"
COMMAND = Path(sys.executable).parent / "migratekit"


def test_systemd_takes_them(tmp_path: Path) -> None:
    assert len({path.stem for path in UNITS.glob("*.timer")} & {path.stem for path in UNITS.glob("*.service")}) == 2
    for path in UNITS.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("/usr/bin/migratekit", str(COMMAND)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(str(path) for path in tmp_path.iterdir())],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert done.returncode == 0, done.stderr
    assert ours == []


def test_the_commands_of_the_units_exist() -> None:
    for path in UNITS.glob("migratekit-*.service"):
        [line] = [line for line in path.read_text().splitlines() if line.startswith("ExecStart=")]
        words = [word for word in line.split()[1:] if not word.startswith("-")]
        done = subprocess.run([str(COMMAND), *words, "--help"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, line
        assert all(option in done.stdout for option in line.split() if option.startswith("--")), line
