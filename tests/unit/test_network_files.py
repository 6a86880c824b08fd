"""Mapping files: three forms that say the same, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from migratekit_core.common.errors import UsageError
from migratekit_core.services.networks import files
from migratekit_core.services.networks.model import Entry

ENTRIES = (
    Entry("VM Network", "guest-prod", origin="file"),
    Entry('/DC0/network/left/"app"', "app-left", origin="file"),
    Entry("backup, ünder", None, origin="file"),
    Entry("Network adapter 2", "guest-dmz", "/DC0/vm/prod/web01", "file"),
    Entry("Network adapter 3", None, "/DC0/vm/prod/web01", "file"),
)


@pytest.mark.parametrize("form", ["toml", "yaml", "csv"])
def test_what_is_written_is_read_again(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"map.{form}"
    file.write_text(files.write(ENTRIES, form))
    assert files.read(file) == ENTRIES
    # Again from what was read: the form is stable.
    assert files.write(files.read(file), form) == file.read_text()


def test_a_spreadsheets_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_text("\ufeffsource,target\r\nVM Network, guest-prod\r\nbackup,-\r\n")
    assert files.read(file) == (Entry("VM Network", "guest-prod", origin="file"), Entry("backup", None, origin="file"))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("map.toml", "[map]\n", "schema: Field required"),
        ("map.toml", 'schema = "migratekit.network-map/1"\n[map]\na = true\n', "map.a"),
        ("map.toml", 'schema = "migratekit.network-map/1"\nnetworks = 1\n', "networks: Extra inputs"),
        ("map.toml", 'schema = "migratekit.network-map/1"\n[map]\na = "  "\n', "the target of 'a' is empty"),
        ("map.toml", "not toml", "Expected '='"),
        ("map.yaml", "schema: migratekit.network-map/2\n", "schema: Input should be"),
        ("map.yaml", "- a\n", "valid dictionary"),
        ("map.yaml", "a: [", "flow node"),
        ("map.csv", "from,to\n", "no column 'source'"),
        ("map.csv", "source,target\na,\n", "line 2 has no target"),
        ("map.csv", "source,target\na,b\na,c\n", "'a' stands there twice"),
        ("map.txt", "", "ends in neither toml, yaml nor csv"),
        ("none.toml", None, "No such file"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        files.read(tmp_path / name)
    assert why in caught.value.why
