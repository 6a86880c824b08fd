"""Names that steer terminals or are markup, in what the commands of set-up read: configuration, certificates, tables,
rows of the fleet."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlmodel import select

from migratekit_core.adapters.tunnel import pki
from migratekit_core.config.schema import Database
from migratekit_core.db.engine import open_databases, session
from migratekit_core.db.migrate import upgrade_both
from migratekit_core.db.models.fleet import FleetRun
from migratekit_core.db.models.waves import WaveRow
from migratekit_core.services.waves import store
from migratekit_core.services.waves.model import Machine, Wave
from tests.hostile.names import COPY, NAMES, harmful
from tests.unit.inside import run

ODD = f"a[b]{COPY}\u202efdp.exe\x9b2J {{0}} <b> =1"
"""Much of NAMES at once."""


def shown(*arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    """Return what a command shows, which must do nothing but be read, and be no traceback."""
    done = run(*arguments)
    assert done.returncode in codes, done.stderr
    assert harmful(done.stdout + done.stderr) == []
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration all of whose names are hostile."""
    quoted = [json.dumps(name) for name in NAMES]
    lines = ["[vcenter]", f"host = {json.dumps(ODD)}", 'user = "me"', 'password = { env = "X" }', "[networks.map]"]
    lines += [f"{name} = {name}" for name in quoted]
    path = tmp_path / "config.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("form", ["table", "yaml", "json"])
def test_a_configuration_is_shown(config: Path, form: str) -> None:
    for more in ([], ["--changed"]):
        text = shown("--config", str(config), "config", "show", *more, "-o", form)
        if form != "table":
            assert ODD in values(yaml.safe_load(text))
    shown("--config", str(config), "config", "validate", "-o", form, codes=(0, 2))


def values(data: Any) -> list[Any]:
    """Return all values of a document, in one list."""
    if isinstance(data, dict | list):
        return [value for each in (data.values() if isinstance(data, dict) else data) for value in values(each)]
    return [data]


@pytest.mark.parametrize("line", [f"{json.dumps(ODD)} = 1", f"[{json.dumps(ODD)}]", f"[vcenter]\n{json.dumps(ODD)} = 1",
                                  f"[source]\nreader = {json.dumps(ODD)}", f"[networks]\ntest = [{json.dumps(ODD)}]",
                                  f"[vcenters.{json.dumps(ODD)}]\nhost = 1", "x = \x1b", f"[a]\n# {COPY}\n=", "\x9b2J"],
                         ids=range(9))  # fmt: skip
def test_a_mistake_in_a_configuration_is_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(line + "\n")
    for command in (["config", "validate"], ["config", "show"], ["db", "check"], ["fleet", "status"], ["tunnel", "up"]):
        shown("--config", str(path), *command, codes=(2,))


def test_files_and_profiles_of_such_names_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown("--config", str(tmp_path / ODD), "config", "show", codes=(2, 4))
    for option in ("--vcenter", "--oma", "--profile"):
        for command in (["config", "show"], ["db", "check"]):
            shown(option, ODD, *command, codes=(0, 2, 4, 7))
    monkeypatch.setenv("MIGRATEKIT_NETWORKS__TEST", ODD)
    shown("config", "show")
    monkeypatch.setenv("MIGRATEKIT_SOURCE__READER", ODD)
    shown("config", "validate", codes=(2,))


def test_a_first_configuration_of_such_names(tmp_path: Path) -> None:
    arguments = ["config", "init", str(tmp_path / "c.toml"), "--role", "single", "--vcenter-host", ODD]
    arguments += ["--vcenter-user", ODD, "--oma-vm", ODD, "--zone", ODD]
    arguments += ["--api-url", "https://c.example.com/client/api"]
    shown(*arguments, "--dry-run", codes=(0, 2, 4))
    shown(*arguments, codes=(0, 2, 4))
    shown("--config", str(tmp_path / "c.toml"), "config", "show")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A CA's folder, whose list of certificates somebody else has written into."""
    made = tmp_path / "pki"
    pki.init(made)
    book = made / "issued.json"
    data = json.loads(book.read_text())
    text = book.read_text()
    for entry in data["issued"] if isinstance(data, dict) else data:
        text = text.replace(json.dumps(entry["name"]), json.dumps(ODD))
    book.write_text(text)
    return made


def test_certificates_of_such_names(folder: Path) -> None:
    for form in ("table", "yaml"):
        shown("tunnel", "pki", "show", "--folder", str(folder), "-o", form, codes=(0, 1, 2, 4))
    for name in (ODD, *NAMES):
        for verb in (["issue", name], ["rotate", name, "--yes"], ["rotate", name, "--dry-run"],
                     ["revoke", name, "--yes"]):  # fmt: skip
            shown("tunnel", "pki", *verb, "--folder", str(folder), codes=(0, 1, 2, 4))
    # A name is no path: everything that was made lies in the folder.
    assert sorted(path.name for path in folder.parent.iterdir()) == ["pki"]


def test_the_tunnel_of_such_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = tmp_path / "k[e]y\x1b]52;c;x\x07"
    where.write_text("x")
    path = tmp_path / "config.toml"
    path.write_text(
        "[tunnel]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in (
            ("kind", "tls"), ("host", ODD), ("ca_file", str(where)), ("cert_file", str(where)),
            ("runtime_dir", str(tmp_path / "run")))))  # fmt: skip
    for command in (["status"], ["up"], ["test"], ["down"]):
        shown("--config", str(path), "tunnel", *command, codes=(0, 2, 4, 5, 6))
    server = ["--cert", str(where), "--ca", str(where), "--listen", "127.0.0.1:4433"]
    for command in (["render"], ["install", "--dry-run"]):
        shown("tunnel", "server", *command, *server, codes=(2, 4))
    # A line break in a name is no line of HAProxy's configuration.
    told = run("tunnel", "server", "render", "--cert", "/x\nglobal", "--ca", "/y", "--listen", "127.0.0.1:4433")
    assert (told.returncode, told.stdout) == (2, "")
    key = tmp_path / "key.pub"
    for comment in NAMES:
        key.write_text(f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFvcf {comment}\n")
        shown("tunnel", "server", "authorize", str(key), codes=(0, 2, 4))
    shown("tunnel", "server", "authorize", str(tmp_path / ODD), codes=(2, 4))
    shown("tunnel", "server", "facts")


def test_a_fleet_of_such_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_databases(Database(directory=tmp_path))
    upgrade_both(opened)
    monkeypatch.setenv("MIGRATEKIT_DATABASE__DIRECTORY", str(tmp_path))
    machine = Machine(name=ODD, uuid="u-1", host=ODD, group=ODD, datastores=(ODD,), disks=1)
    store.create(opened.oma, Wave(name="shop-1", description=ODD, machines=(machine,)))
    with session(opened.oma) as db:
        wave = db.exec(select(WaveRow)).one()
        db.add(FleetRun(wave_id=wave.id, kind="run", phase="replicate", note=ODD, asked_by=ODD, driver=ODD))
    opened.dispose()
    for form in ("table", "yaml"):
        shown("fleet", "status", "-o", form)
    monkeypatch.setenv("MIGRATEKIT_FLEET__SCHEDULER", ODD)
    shown("fleet", "status", codes=(0, 2, 4, 6))


def test_tables_and_columns_of_such_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_databases(Database(directory=tmp_path))
    upgrade_both(opened)
    opened.dispose()
    monkeypatch.setenv("MIGRATEKIT_DATABASE__DIRECTORY", str(tmp_path))
    for file in tmp_path.glob("*.sqlite"):
        with sqlite3.connect(file) as db:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            if "vm_disks" in tables:
                db.execute(f'ALTER TABLE vm_disks RENAME COLUMN label TO "{ODD}"')
                db.execute(f'CREATE TABLE "{ODD}" ("{ODD}" "{ODD}")')
            if "nbd_exports" in tables:
                db.execute("DROP TABLE nbd_exports")
                db.execute(f'CREATE TABLE nbd_exports (id "{ODD}" PRIMARY KEY, "{ODD}" "{ODD}")')
    for form in ("table", "yaml"):
        assert "vm_disks" in shown("db", "check", "-o", form, codes=(7,))
    shown("db", "upgrade", "--dry-run", codes=(0, 1, 7))
    shown("db", "upgrade", codes=(0, 1, 7))
    monkeypatch.setenv("MIGRATEKIT_DATABASE__DIRECTORY", str(tmp_path / ODD))
    shown("db", "check", codes=(7,))
