"""What other programs say is known by its own words: each row of each table has samples, which it is chosen for."""

from __future__ import annotations

import pytest

from migratekit_core.adapters.readers import ssh, vddk
from migratekit_core.adapters.tunnel.ssh import login
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.foreign import Row, classify
from migratekit_core.db import engine

TABLES = {"ssh": ssh.SAYS, "vddk": vddk.SAYS, "paramiko": login.SAYS, "databases": engine.SAYS}
SAMPLES = [(name, row, sample) for name, rows in TABLES.items() for row in rows for sample in row.samples]


@pytest.mark.parametrize(("table", "row", "sample"), SAMPLES)
def test_a_row_is_chosen_for_its_samples(table: str, row: Row, sample: str) -> None:
    assert classify(TABLES[table], sample) is row.code
    # Without it nobody would know the text, or somebody else would: the row is not there for nothing.
    assert classify([other for other in TABLES[table] if other is not row], sample) is not row.code


@pytest.mark.parametrize("table", TABLES)
def test_every_row_has_a_sample_and_what_none_knows_is_unknown(table: str) -> None:
    assert all(row.samples for row in TABLES[table])
    assert classify(TABLES[table], "the moon is in the seventh house") is ErrorCode.UNKNOWN
