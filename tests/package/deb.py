"""The Debian package: the program with its own copy of all Python packages, for Debian 12's python3.

Everything that is not in Debian lies in a virtual environment below /usr/lib/migratekit; libnbd's binding, which is in
Debian and nowhere else, is seen from there through the system's packages.
"""

from __future__ import annotations

import compileall
import gzip
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.package import completion, manual, wheels
from tests.package.wheels import DEBIAN_VERSION, ROOT, VERSION

DEBIAN = Path(__file__).parent / "debian"
HOME = "usr/lib/migratekit"
UNITS = [
    ROOT / "src" / "migratekit_core" / "volumed" / f"migratekit-{name}.service" for name in ("volumed", "exporter")
]
COMMAND, CONFIG = "/usr/bin/migratekit", "/etc/migratekit/config.toml"
INTERPRETER = "/usr/bin/python3"
LAUNCHER = f"""\
#!/{HOME}/bin/python3 -I
import sys

from migratekit_cli.main import main

sys.exit(main())
"""


def build(folder: Path, *, dependencies: bool = True, compression: str = "xz") -> Path:
    """Build the package into `folder` and return it; without dependencies it is only good to look at, but quick."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mk-deb-") as scratch:
        root = Path(scratch) / "root"
        _program(root, Path(scratch), dependencies)
        _units(root)
        _documents(root)
        completion.write(root)
        _configuration(root)
        _control(root)
        path = folder / f"migratekit_{DEBIAN_VERSION}_{_architecture()}.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", str(root), str(path)],
            check=True, capture_output=True, timeout=600, env={**os.environ, "SOURCE_DATE_EPOCH": str(_when())},
        )  # fmt: skip
    return path


def _program(root: Path, scratch: Path, dependencies: bool) -> None:
    home = root / HOME
    # --without-pip: nobody installs into it; what it holds is what was tested.
    subprocess.run(
        [INTERPRETER, "-m", "venv", "--system-site-packages", "--without-pip", "--symlinks", str(home)], check=True
    )
    install = [sys.executable, "-m", "pip", "--python", str(home / "bin/python3"), "install", "-q", "--no-compile",
               "--disable-pip-version-check", "--no-deps", "--ignore-installed",
               "--root-user-action=ignore"]  # fmt: skip
    if dependencies:
        pinned = scratch / "run-time.txt"
        pinned.write_text(wheels.lock(wheels.run_time()))
        subprocess.run([*install, "--require-hashes", "-r", str(pinned)], check=True, timeout=900)
    (wheel,) = wheels.build(scratch / "wheel", "wheel")
    subprocess.run([*install, str(wheel)], check=True, timeout=120)
    for path in (home / "bin").iterdir():
        if not path.name.startswith("python"):
            path.unlink()
    launcher = home / "bin/migratekit"
    # -I: neither the user's environment nor the folder it is started in decides what is imported.
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    link = root / COMMAND.lstrip("/")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(f"../lib/migratekit/bin/{link.name}")
    settings = home / "pyvenv.cfg"
    lines = [line for line in settings.read_text().splitlines() if not line.startswith("command")]
    settings.write_text("\n".join(lines) + "\n")
    for path in home.rglob("direct_url.json"):  # says where the wheel lay when this was built
        path.unlink()
    compileall.compile_dir(
        home,
        quiet=2,
        stripdir=str(root),
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def units() -> dict[str, str]:
    """Return the systemd units by name: the daemon's, and those that run commands by the clock."""
    found = {unit.name: unit.read_text().replace("@MIGRATEKIT@", COMMAND).replace("@CONFIG@", CONFIG) for unit in UNITS}
    for folder in (DEBIAN, ROOT / "packaging"):
        for path in sorted([*folder.rglob("*.service"), *folder.rglob("*.timer")]):
            found[path.name] = path.read_text().replace("/usr/local/bin/migratekit", COMMAND)
    return found


def _units(root: Path) -> None:
    folder = root / "lib/systemd/system"
    folder.mkdir(parents=True)
    for name, text in units().items():
        (folder / name).write_text(text)


def _documents(root: Path) -> None:
    _zipped(root / "usr/share/doc/migratekit/changelog.gz", (ROOT / "docs/changelog.md").read_bytes())
    shutil.copy(DEBIAN / "copyright", root / "usr/share/doc/migratekit/copyright")
    manuals = root / "usr/share/man/man1"
    for page in manual.write(manuals, VERSION, _when()):
        _zipped(page.with_name(f"{page.name}.gz"), page.read_bytes())
        page.unlink()


def _configuration(root: Path) -> None:
    file = root / CONFIG.lstrip("/")
    file.parent.mkdir(parents=True, mode=0o700)
    shutil.copy(DEBIAN / "config.toml", file)
    file.chmod(0o600)


def _control(root: Path) -> None:
    folder = root / "DEBIAN"
    folder.mkdir()
    size = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file()) // 1024
    text = (DEBIAN / "control").read_text().format(version=DEBIAN_VERSION, architecture=_architecture(), size=size)
    (folder / "control").write_text(text)
    (folder / "conffiles").write_text(f"{CONFIG}\n")
    for name in ("postinst", "prerm", "postrm"):
        shutil.copy(DEBIAN / name, folder / name)
        (folder / name).chmod(0o755)
    sums = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(root)}\n"
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink() and "DEBIAN" not in path.parts and "/etc/" not in str(path)
    ]
    (folder / "md5sums").write_text("".join(sums))


def _zipped(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 9, mtime=0))


def _architecture() -> str:
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


def _when() -> int:
    """Return the moment of the last commit, so that the same source gives the same package."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return int(os.environ["SOURCE_DATE_EPOCH"])
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else int(time.time())
