"""The id of an installation: made once, whoever asks first."""

from __future__ import annotations

import re

import pytest

from migratekit_core.db import installation
from migratekit_core.db.engine import Databases, session
from migratekit_core.db.installation import installation_id
from migratekit_core.db.models.installation import Installation


def test_it_stays(databases: Databases) -> None:
    first = installation_id(databases.oma)
    assert re.fullmatch(r"[0-9a-f]{12}", first)
    assert installation_id(databases.oma) == first


def test_the_first_of_two_processes_decides(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    def faster(_: int) -> str:
        with session(databases.oma) as db:
            if db.get(Installation, 1) is None:
                db.add(Installation(id=1, token="0" * 12))
        return "f" * 12

    monkeypatch.setattr(installation.secrets, "token_hex", faster)
    assert installation_id(databases.oma) == "0" * 12
