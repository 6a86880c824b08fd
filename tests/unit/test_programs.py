"""Programs are found wherever Debian keeps them, and a missing one is named with its package."""

from __future__ import annotations

from pathlib import Path

import pytest

from migratekit_core.common import programs
from migratekit_core.common.errors import PreconditionError


@pytest.mark.parametrize("path", ["/nonexistent", ""])
def test_a_program_in_sbin_is_found_by_those_who_have_no_sbin(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", path)
    assert Path(programs.find("haproxy", "haproxy")).parent.name == "sbin"


def test_ones_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "haproxy"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.find("haproxy", "haproxy") == str(own)


def test_a_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(PreconditionError) as caught:
        programs.find("no-such-program-at-all", "its-package")
    assert "no-such-program-at-all" in caught.value.what
    assert "apt-get install its-package" in str(caught.value.todo)
