"""What is released: the wheel in an empty environment, the man pages, the completion, the Debian package's insides.

The package is installed and used on a bare Debian by `nox -s package`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.commands import tree
from tests.docs.shell import Shown, problem
from tests.package import completion, deb, manual, wheels
from tests.package.wheels import DEBIAN_VERSION, ROOT, VERSION
from tests.unit.inventory import machine, write


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the sdist, and a wheel that was built of it and not of the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    (sdist,) = wheels.build(folder / "sdist", "sdist")
    (folder / "source").mkdir()
    subprocess.run(["tar", "-xf", str(sdist), "-C", str(folder / "source")], check=True)
    (source,) = (folder / "source").iterdir()
    (wheel,) = wheels.build(folder / "wheel", "wheel", source=source)
    return sdist, wheel


def test_the_wheel_holds_the_program_and_the_migrations_and_no_test(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        names = set(archive.namelist())
    top = {name.partition("/")[0] for name in names}
    assert top == {"migratekit_cli", "migratekit_core", f"migratekit-{VERSION}.dist-info"}
    source = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.*") if path.is_file()}
    source = {name for name in source if "__pycache__" not in name and ".egg-info" not in name}
    assert {"migratekit_cli/reports/templates/base.html", "migratekit_cli/reports/templates/style.css"} <= source
    assert source <= names
    migrations = {f"migratekit_core/{path.relative_to(ROOT)}" for path in (ROOT / "sql").rglob("versions/*.py")}
    assert migrations and migrations <= names
    assert {f"migratekit_core/volumed/migratekit-{name}.service" for name in ("volumed", "exporter")} <= set(names)


@pytest.mark.timeout(900)
def test_the_wheel_runs_in_an_empty_environment(built: tuple[Path, Path], tmp_path: Path) -> None:
    home = tmp_path / "venv"
    subprocess.run([deb.INTERPRETER, "-m", "venv", "--without-pip", str(home)], check=True)
    command = [sys.executable, "-m", "pip", "--python", str(home / "bin/python"), "install", "-q", "--no-compile",
               "--disable-pip-version-check"]  # fmt: skip
    # With the versions that are tested; pip itself finds out what the wheel asks for.
    pinned = tmp_path / "constraints.txt"
    pinned.write_text("".join(f"{name}=={version(name)}\n" for name in sorted(wheels.run_time())))
    subprocess.run([*command, "-c", str(pinned), str(built[1])], check=True, timeout=800)
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    def run(*arguments: str) -> str:
        return subprocess.run(
            [str(home / "bin/migratekit"), *arguments],
            env=environment, check=True, capture_output=True, text=True, cwd=tmp_path,
        ).stdout  # fmt: skip

    assert run("--version") == f"migratekit {VERSION}\n"
    assert not (tmp_path / ".local").exists()
    assert "oma: empty" in run("db", "upgrade")
    assert "completed" not in run("jobs", "list")
    assert "that of this version" in run("doctor", "--topic", "database")
    inventory = write(tmp_path / "inventory.json", machine("good01"))
    run("assess", "--all", "--offline", str(inventory), "--report", "page.html")
    assert "good01" in (tmp_path / "page.html").read_text()


def test_each_command_has_a_man_page_that_groff_likes(tmp_path: Path) -> None:
    pages = manual.write(tmp_path, VERSION, 0)
    assert {page.name for page in pages} == {"migratekit.1", *(f"migratekit-{c.path[0]}.1" for c in tree().children)}
    for page in pages:
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-z", str(page)], capture_output=True, text=True, check=True
        )
        assert done.stderr == "", page.name
    shown = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-cbou", str(tmp_path / "migratekit-jobs.1")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "migratekit jobs list [OPTION]" in shown
    assert "--limit NUMBER" in shown


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    completion.write(tmp_path)
    script = tmp_path / completion.PLACES["bash"]

    def completed(*words: str) -> list[str]:
        quoted = " ".join(f"'{word}'" for word in words)
        text = (f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
                '_migratekit_completion migratekit; printf "%s\\n" "${COMPREPLY[@]}"')  # fmt: skip
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", text], env={**os.environ, "PATH": path}, check=True, capture_output=True, text=True
        )
        return done.stdout.split()

    assert completed("migratekit", "jo") == ["jobs"]
    assert {"list", "show"} <= set(completed("migratekit", "jobs", ""))
    assert "--topic" in completed("migratekit", "doctor", "--to")


def test_the_debian_package_puts_everything_in_its_place(tmp_path: Path) -> None:
    package = deb.build(tmp_path, dependencies=False, compression="none")
    listed = subprocess.run(["dpkg-deb", "-c", str(package)], check=True, capture_output=True, text=True).stdout
    modes = {line.split()[5]: line.split()[0] for line in listed.splitlines()}
    assert modes["./etc/migratekit/"] == "drwx------"
    assert modes["./etc/migratekit/config.toml"] == "-rw-------"
    assert modes["./usr/bin/migratekit"].startswith("l")
    others = {
        "./lib/systemd/system/migratekit-volumed.service",
        "./lib/systemd/system/migratekit-exporter.service",
        "./usr/share/man/man1/migratekit-doctor.1.gz",
        "./usr/share/zsh/vendor-completions/_migratekit",
        "./usr/share/doc/migratekit/changelog.gz",
    }
    assert others <= set(modes)
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "-R", str(package), str(root)], check=True)
    where = [path for path in root.rglob("*") if path.is_file() and str(tmp_path.parent) in _text(path)]
    assert where == [], "the folder that it was built in is in the package"
    for script in ("postinst", "prerm", "postrm"):
        subprocess.run(["sh", "-n", str(root / "DEBIAN" / script)], check=True)
    control = (root / "DEBIAN" / "control").read_text()
    assert f"Version: {DEBIAN_VERSION}\n" in control
    assert "python3-libnbd" in control


def _text(path: Path) -> str:
    return "" if path.is_symlink() else path.read_bytes().decode(errors="replace")


def test_every_unit_starts_a_command_that_exists() -> None:
    for name, text in deb.units().items():
        for line in re.findall(r"^ExecStart=(.*)$", text, re.M):
            program, *words = line.split()
            assert program == "/usr/bin/migratekit", name
            assert problem(Shown(name, 0, tuple(words), whole=True)) == "", name


def test_the_package_depends_on_what_the_program_imports() -> None:
    pinned = wheels.lock(wheels.run_time())
    names = {"sqlalchemy", "pydantic", "typer", "fastapi", "httpx", "pyvmomi", "cs", "paramiko", "blake3"}
    assert names <= wheels.run_time()
    assert pinned.count("--hash=sha256:") > len(wheels.run_time())
    assert "pytest" not in wheels.run_time()
