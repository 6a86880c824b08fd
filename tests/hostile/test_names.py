"""Every command that shows names, over names that steer terminals, are markup, formulas, or templates."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
import yaml
from sqlmodel import select

from migratekit_cli.ui import plain, stream
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.common.visible import no_formula, one_line, visible
from migratekit_core.config.schema import Database
from migratekit_core.db.engine import Databases, open_databases, session
from migratekit_core.db.migrate import upgrade_both
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.db.wavestates import REPLICATE
from migratekit_core.joblog import Tracker
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.networks import files
from migratekit_core.services.networks.model import Entry
from migratekit_core.services.waves import claims, store
from migratekit_core.services.waves.model import Machine, Wave
from tests.hostile.names import COPY, NAMES, WORST, harmful
from tests.unit.inside import run
from tests.unit.inventory import disk, machine, nic, write
from tests.unit.terminal import on_terminal

SHOWN = [visible(name) for name in NAMES if "\n" not in name]


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Databases]]:
    """A folder with jobs, a wave and syncs of hostile names."""
    folder = tmp_path_factory.mktemp("hostile")
    opened = open_databases(Database(directory=folder))
    upgrade_both(opened)
    tracker = Tracker(opened.oma)
    for name in NAMES:
        with (
            contextlib.suppress(OperationFailedError),
            tracker.job("replication", owner=name) as job,
            job.step(f"copy {name}"[:60]) as step,
        ):
            step.log(EventKind.DISK_PLANNED, disk=name, full=True, reason=name, bytes=1, areas=1)
            raise OperationFailedError(f"{name} failed", f"because of {name}", name, code=ErrorCode.UNKNOWN)
    machines = tuple(
        Machine(name=name, uuid=f"u-{number}", host=name, group=name, datastores=(name,), disks=1)
        for number, name in enumerate(NAMES)
    )
    store.create(opened.oma, Wave(name="shop-1", description=NAMES[3], machines=machines))
    store.begin(opened.oma, "shop-1", REPLICATE)
    for number in range(len(NAMES)):
        held = claims.claim(opened.oma, "shop-1", f"u-{number}", REPLICATE, "host0:410")
        assert held is not None
        if number % 2:
            claims.fail(opened.oma, held, OperationFailedError(NAMES[number], COPY, COPY, code=ErrorCode.UNKNOWN))
        else:
            claims.heartbeat(opened.oma, held, done=1, total=2, rate=1.0, job_id="j")
    yield folder, opened
    opened.dispose()


@pytest.fixture
def found(databases: tuple[Path, Databases], monkeypatch: pytest.MonkeyPatch) -> Databases:
    """Have commands find the database."""
    monkeypatch.setenv("MIGRATEKIT_DATABASE__DIRECTORY", str(databases[0]))
    return databases[1]


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    def one(number: int, name: str) -> object:
        disks = (disk(label=name, path=f"[{name}] {name}/d.vmdk", datastore=name, mode="independent_persistent"),)
        return machine(
            name, uuid=f"u-{number}", path=f"/DC0/vm/{name}", folder=f"/DC0/vm/{name}", guest_hostname=name,
            disks=disks, nics=(replace(nic(mac=f"00:50:56:00:00:{number:02}"), network=name, label=name),),
        )  # fmt: skip

    return write(tmp_path / "inventory.json", *(one(number, name) for number, name in enumerate(NAMES)))


def job_id(databases: Databases, name: str) -> str:
    with session(databases.oma) as db:
        return db.exec(select(JoblogJob.id).where(JoblogJob.owner == name)).one()


LISTS = (
    ["jobs", "list"], ["jobs", "tail", "--lines", "200"], ["wave", "list"], ["wave", "show", "shop-1"],
    ["wave", "status", "shop-1"],
)  # fmt: skip


@pytest.mark.parametrize(("command", "form"), [*((each, "table") for each in LISTS), (LISTS[0], "yaml")])
def test_jobs_and_waves(found: Databases, command: list[str], form: str) -> None:
    done = run(*command, "-o", form)
    assert done.returncode == 0, done.stderr
    assert harmful(done.stdout) == []
    assert harmful(done.stderr) == []


def test_names_in_brackets_are_whole(found: Databases) -> None:
    listed = run("jobs", "list").stdout
    assert [name for name in SHOWN if one_line(name) not in listed] == []


@pytest.mark.parametrize("name", WORST, ids=range(len(WORST)))
def test_one_job(found: Databases, name: str) -> None:
    for command in (["jobs", "show"], ["jobs", "tail"], ["report"]):
        done = run(*command, job_id(found, name))
        assert done.returncode == 0, done.stderr
        assert harmful(done.stdout + done.stderr) == []


@pytest.mark.parametrize("name", WORST, ids=range(len(WORST)))
def test_errors(found: Databases, name: str) -> None:
    for command in (["jobs", "show", name], ["wave", "show", name], ["report", name], ["assess", "--offline", name]):
        done = run(*command)
        assert harmful(done.stdout + done.stderr) == []


EVERYTHING = """\
import sys
from migratekit_cli.main import app
for line in {commands!r}:
    try:
        app(line, standalone_mode=False)
    except SystemExit:
        pass
    except Exception as error:
        if type(error).__name__ != "Exit":
            print("FAILED", line, type(error).__name__, ascii(str(error)))
print("the end of it")
"""


def test_on_a_terminal(databases: tuple[Path, Databases], inventory: Path, tmp_path: Path) -> None:
    """All at once, in one process: each draws for itself."""
    folder, opened = databases
    commands = [
        *LISTS,
        *(["jobs", "show", job_id(opened, name)] for name in WORST),
        ["jobs", "watch", "--once"],
        ["report", job_id(opened, NAMES[3])],
        ["assess", "--all", "--offline", str(inventory)],
        ["wave", "plan", str(inventory)],
    ]
    script = tmp_path / "all.py"
    script.write_text(EVERYTHING.format(commands=commands))
    environ = {**os.environ, "MIGRATEKIT_DATABASE__DIRECTORY": str(folder)}
    with on_terminal(sys.executable, script, environ=environ) as seen:
        seen.until("the end of it", 120)
    assert harmful(seen.text, terminal=True) == []
    assert "FAILED" not in seen.text
    assert "web[prod]-01" in seen.text
    assert "web[/]01" in seen.text


def test_an_assessment_as_csv_of_machines_has_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    listing = stream.CsvStream(("name", "note"), lambda name: (name, -1))
    for name in (*NAMES, "+1", "-1", "@sum(1)", "\t=1"):
        listing.add(name)
    text = capsys.readouterr().out
    rows = list(csv.reader(io.StringIO(text)))[1:]
    assert [cell for cell, _ in rows if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []
    assert {number for _, number in rows} == {"-1"}, "a number is none"
    assert harmful(text.replace("\r\n", "\n")) == []
    assert no_formula("=1+1") == "'=1+1"


@pytest.mark.parametrize("kind", ["toml", "yaml", "csv"])
def test_a_mapping_that_is_exported_can_be_read_back(kind: str, tmp_path: Path) -> None:
    names = [name for name in NAMES if name == one_line(name) or "\x1b" in name or "\u202e" in name]
    entries = [Entry(name, "guest-prod", origin="file") for name in names]
    text = files.write(entries, kind)
    if kind != "csv":
        assert harmful(text) == []
    assert not re.search(r"^[=+@]", text, re.MULTILINE)
    path = tmp_path / f"map.{kind}"
    path.write_text(text)
    assert [entry.source for entry in files.read(path)] == names


def test_an_assessment_as_markdown_has_no_markup_of_others(inventory: Path) -> None:
    done = run("assess", "--all", "--offline", str(inventory), "-o", "markdown")
    assert done.returncode in (0, 3), done.stderr
    assert harmful(done.stdout) == []
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}, "each row has its four cells"
    assert re.findall(r"<script|(?<!\\)\]\(|@all|https://evil| #1", done.stdout) == []


def test_an_assessment_as_sarif_has_no_links_and_leads_nowhere(inventory: Path) -> None:
    done = run("assess", "--all", "--offline", str(inventory), "-o", "sarif")
    results = json.loads(done.stdout)["runs"][0]["results"]
    texts = [each["message"]["text"] for each in results]
    assert any("javascript" in text for text in texts)
    assert [text for text in texts if re.search(r"(?<!\\)\[", text) or re.search(r"(?<!\{)\{\d", text)] == []
    places = [each["locations"][0] for each in results]
    uris = [place["physicalLocation"]["artifactLocation"]["uri"] for place in places]
    assert [uri for uri in uris if ".." in uri.split("/") or not uri.startswith("vsphere/")] == []
    assert [text for text in texts if harmful(text)] == []


def test_an_assessment_as_junit_is_xml(inventory: Path) -> None:
    done = run("assess", "--all", "--offline", str(inventory), "-o", "junit")
    assert harmful(done.stdout) == []
    assert len(fromstring(done.stdout)) >= len(NAMES)


def test_an_assessment_as_yaml_is_what_it_is_as_json(inventory: Path) -> None:
    done = run("assess", "--all", "--offline", str(inventory), "-o", "yaml")
    assert harmful(done.stdout) == []
    assert {each["vm"] for each in yaml.safe_load(done.stdout)["machines"]} == set(NAMES)


def test_pages_hold_no_script_and_no_template(found: Databases, inventory: Path, tmp_path: Path) -> None:
    pages = {
        "assess": ("assess", "--all", "--offline", str(inventory), "--report"),
        "wave": ("wave", "report", "shop-1", "--html"),
        "job": ("report", job_id(found, NAMES[10]), "--html"),
    }
    for name, command in pages.items():
        page = tmp_path / f"{name}.html"
        done = run(*command, str(page))
        assert page.exists(), (name, done.stderr)
        text = page.read_text()
        assert harmful(text) == []
        assert "<script" not in text
        assert "&lt;script&gt;" in text
        assert "49{0}" not in text


def test_what_is_shown_of_a_name() -> None:
    assert visible(COPY) == r"\x1b]52;c;ZXZpbA==\x07"
    assert visible("a\u202eb\x9bc\ud800d\n") == "a\\u202eb\\x9bc\\ud800d\n"
    assert visible("größe 日本 🚀 [x]") == "größe 日本 🚀 [x]"
    assert one_line(" a\tb\n\nc\x1b ") == r"a b c\x1b"


RAW = {
    "migratekit_cli/commands/assess.py": "JUnit, SARIF, Markdown",
    "migratekit_cli/commands/jobs/tail.py": "colours around a line that is one_line's",
    "migratekit_cli/commands/networks.py": "a mapping file",
    "migratekit_cli/errors.py": "visible's own",
    "migratekit_cli/ui/ask.py": "visible's own",
    "migratekit_cli/ui/plain.py": "the way itself",
    "migratekit_cli/ui/render.py": "JSON, YAML, and cells that are visible's own",
    "migratekit_cli/ui/stream.py": "JSON, YAML, CSV, and cells that are one_line's",
}
"""Modules that write to stdout or stderr by themselves, and what."""


def test_nobody_else_writes_by_himself() -> None:
    source = Path(plain.__file__).parents[2]
    written = re.compile(r"sys\.std(out|err)\.write\(|(?<![.\w])Console\(|(?<![.\w])print\(")
    found = {
        path.relative_to(source).as_posix()
        for path in (source / "migratekit_cli").rglob("*.py")
        if written.search(path.read_text())
    }
    assert found == set(RAW)
