"""Private files: never half written, never readable by others, whoever else writes them at the same moment."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from migratekit_core.common.files import write_private


def test_many_threads_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [f"{number}\n" * 2000 for number in range(8)]

    def write(content: str) -> None:
        for _ in range(50):
            write_private(path, content)
            assert path.read_text() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        for done in [pool.submit(write, content) for content in contents]:
            done.result()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
