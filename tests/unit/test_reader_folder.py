"""Folders for readers' sockets: short enough, private, and gone even where their process was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from migratekit_core.adapters.readers.folder import LAST_RESORT, LONGEST_NAME, LONGEST_PATH, private_folder

HOLD = """
import sys, time
from migratekit_core.adapters.readers.folder import private_folder
with private_folder("https") as folder:
    print(folder, flush=True)
    time.sleep(60)
"""
OLD = time.time() - 3600


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def test_it_is_private_and_goes(runtime: Path) -> None:
    with private_folder("https") as folder:
        assert folder.parent == runtime
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "disk.log").write_text("said")
    assert list(runtime.iterdir()) == []


def test_a_runtime_directory_too_deep_for_a_socket_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with private_folder("vddk") as folder:
        assert folder.parent == Path(LAST_RESORT)
        assert len(str(folder)) + LONGEST_NAME <= LONGEST_PATH
    assert not folder.exists()


def test_what_a_killed_run_left_goes_at_the_next_one_and_what_is_in_use_stays(runtime: Path) -> None:
    holders = [subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = []
    for holder in holders:
        assert holder.stdout is not None
        folders.append(Path(holder.stdout.readline().strip()))
        os.utime(folders[-1], (OLD, OLD))
    killed, alive = holders
    killed.kill()
    killed.wait()
    (runtime / "somebody-else").mkdir()
    young = runtime / "migratekit-https-young"
    young.mkdir()
    with private_folder("https") as ours:
        assert sorted(runtime.iterdir()) == sorted([folders[1], ours, young, runtime / "somebody-else"])
    alive.send_signal(signal.SIGKILL)
    alive.wait()
