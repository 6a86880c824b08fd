"""What several topics need: a migrated SQLite database, and an environment that no developer's settings reach."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from migratekit_core.common import redact
from migratekit_core.config.schema import Database
from migratekit_core.db.engine import Databases, open_databases
from migratekit_core.db.migrate import upgrade_both


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Take our variables away, and point home and state at empty folders."""
    for name in list(os.environ):
        if name.startswith(("MIGRATEKIT_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(autouse=True)
def own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what a test lets be masked be masked in that test alone."""
    monkeypatch.setattr(redact, "_known", set(redact._known))


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with both databases at the newest revision, to be copied."""
    folder = tmp_path_factory.mktemp("migrated")
    databases = open_databases(Database(directory=folder))
    upgrade_both(databases)
    databases.dispose()
    return folder


@pytest.fixture
def directory(migrated: Path, tmp_path: Path) -> Path:
    """Return a folder with both databases, of this test alone."""
    return Path(shutil.copytree(migrated, tmp_path / "state"))


@pytest.fixture
def databases(directory: Path) -> Iterator[Databases]:
    """Yield both databases, open."""
    opened = open_databases(Database(directory=directory))
    yield opened
    opened.dispose()
