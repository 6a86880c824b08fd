"""Installs the Debian package on a machine that has nothing (debootstrap), uses it there, and shows a transcript.

The bare machine is made once and kept in .cache/package; each run works on a copy of it. It needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.package import deb
from tests.package.wheels import ROOT, VERSION

CACHE = ROOT / ".cache" / "package"
SUITE = "bookworm"
SECONDS = 900
USE = (
    "dpkg -s migratekit | sed -n '1,4p;/^Depends/p'",
    "migratekit --version",
    "ls -ld /etc/migratekit /etc/migratekit/config.toml",
    "id migratekit",
    "ls /lib/systemd/system | grep migratekit",
    "zcat /usr/share/man/man1/migratekit-doctor.1.gz | sed -n '1,3p'",
    "(umask 077; printf x > /etc/migratekit/vcenter.secret)",
    "migratekit config init --role single --vcenter-host vc.example.com --vcenter-user me --oma-vm oma01 "
    "--api-url https://cloud.example.com/client/api --zone z1 --database sqlite --generate",
    "ls -l /etc/migratekit",
    "migratekit config show --changed",
    "migratekit db upgrade",
    "migratekit jobs list",
    "migratekit doctor --topic host --topic disk --topic database",
    "! python3 -c 'import migratekit_core' 2>/dev/null && echo 'the system itself sees none of its packages'",
    "/usr/lib/migratekit/bin/python3 -c 'import nbd, migratekit_core.engine.worker; print(nbd.__file__)'",
    "bash -c 'source /usr/share/bash-completion/completions/migratekit; COMP_WORDS=(migratekit jo); COMP_CWORD=1; "
    '_migratekit_completion migratekit; echo "${COMPREPLY[@]}"\'',
)
DAEMON = r"""
(umask 077; printf x | tee /etc/migratekit/ossea-api.secret > /etc/migratekit/ossea-secret.secret)
# What systemd does for the unit, which says itself who has to own what the daemon reads.
install -d -m 0700 -o migratekit -g migratekit /run/migratekit /var/lib/migratekit
chown -R migratekit: /etc/migratekit
export HOME=/var/lib/migratekit
as="setpriv --reuid=migratekit --regid=migratekit --init-groups --no-new-privs --bounding-set=-all"
start=$(sed -n 's/^ExecStart=//p' /lib/systemd/system/migratekit-volumed.service)
$as migratekit db upgrade
echo "as migratekit: $start"
$as $start &
until (: < /dev/tcp/127.0.0.1/8090) 2>/dev/null; do kill -0 $!; sleep 0.2; done
$as migratekit doctor --topic daemon
kill $!
wait $!
echo "ended by SIGTERM, exit $?"
"""
"""The daemon as its unit starts it: as its own user, without a capability; there is no CloudStack here."""
AGAIN = (
    "migratekit --version",
    "migratekit config show --changed | sed -n '1,3p'",
    "ls -l /etc/migratekit/config.toml",
)


ALONE = ("unshare", "--net", "--pid", "--mount", "--fork", "--kill-child",
         "sh", "-c", 'ip link set lo up && mount -t proc proc "$2/proc" && exec "$@"', "sh")  # fmt: skip
"""Where nobody else has the ports, and all that was started ends with the first of it: a daemon or an exporter that
outlived a failure would keep the root busy. What follows is `chroot ROOT …`."""
TOOLS = {"debootstrap": "debootstrap", "systemd-analyze": "systemd", "unshare": "util-linux", "ip": "iproute2"}
"""What this machine itself needs, and the packages that have it."""


def main(folder: Path) -> int:
    """Build the package into a folder, install and use it, upgrade and remove it."""
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        sys.exit(f"package: something is missing here; run: apt-get install {' '.join(missing)}")
    package = deb.build(folder, compression="gzip")
    print(f"built {package.name}, {package.stat().st_size / 1e6:.1f} MB", flush=True)
    with machine() as root:
        shutil.copy(package, root / "root" / package.name)
        _say(root, f"apt-get install -y -q --no-install-recommends /root/{package.name} 2>&1 | tail -n 4")
        for command in USE:
            _say(root, command)
        _say(root, DAEMON.strip(), alone=True)
        # The same package once more is an upgrade: what an operator wrote stays.
        _say(root, f"dpkg -i /root/{package.name} 2>&1 | tail -n 2")
        for command in AGAIN:
            _say(root, command)
        _verify_units(root)
        _say(root, "apt-get purge -y -q migratekit 2>&1 | tail -n 3")
        _say(root, "test ! -e /usr/lib/migratekit && test ! -e /usr/bin/migratekit && ls /etc/migratekit")
    print(f"package: migratekit {VERSION} installed, used, upgraded and removed")
    return 0


@contextmanager
def machine() -> Iterator[Path]:
    """Yield the root of a bare Debian 12, of this run alone."""
    base = _base()
    (CACHE / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mk-root-", dir=CACHE) as folder:
        root = Path(folder)
        subprocess.run(["tar", "-xf", str(base), "-C", str(root)], check=True, timeout=SECONDS)
        # Packages that were fetched once are kept for the next run.
        archives = root / "var/cache/apt/archives"
        mounts = [(CACHE / "archives", archives, ["--bind"]), (Path("proc"), root / "proc", ["-t", "proc"])]
        done = []
        try:
            for source, target, options in mounts:
                subprocess.run(["mount", *options, str(source), str(target)], check=True)
                done.append(target)
            yield root
        finally:
            for target in reversed(done):
                subprocess.run(["umount", str(target)], check=True)


def _base() -> Path:
    path = CACHE / f"{SUITE}.tar"
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mk-base-", dir=CACHE) as folder:
        root = Path(folder) / "root"
        print(f"making a bare {SUITE} with debootstrap", flush=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=bash-completion", SUITE, str(root), _mirror()],
            check=True, stdout=subprocess.DEVNULL, timeout=SECONDS,
        )  # fmt: skip
        _apt_as_here(root)
        beside = path.with_suffix(".new")
        subprocess.run(["tar", "-cf", str(beside), "-C", str(root), "."], check=True, timeout=SECONDS)
        beside.rename(path)
    return path


def _mirror() -> str:
    """Return the archive that this machine itself installs from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in said.splitlines():
        uri, _, codename = line.partition(" ")
        if codename == SUITE:
            return uri
    sys.exit(f"package: this machine's apt knows no archive of {SUITE}")


def _apt_as_here(root: Path) -> None:
    """Have the bare machine reach the archive as this one does: proxies and certificates, where there are any."""
    for path in ("etc/resolv.conf", *(f"etc/apt/apt.conf.d/{p.name}" for p in Path("/etc/apt/apt.conf.d").glob("*"))):
        text = Path("/", path).read_text()
        if path == "etc/resolv.conf" or any(word in text for word in ("Proxy", "CaInfo", "Retries")):
            (root / path).write_text(text)
    subprocess.run(["chroot", str(root), "apt-get", "update", "-q"], check=True, capture_output=True, timeout=SECONDS)


def _say(root: Path, command: str, *, alone: bool = False) -> None:
    """Run a command in the machine and show both; anything but success ends the run. `alone`: see ALONE."""
    print(f"\n# {command}", flush=True)
    environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive",
                   "LC_ALL=C.UTF-8", "NO_COLOR=1"]  # fmt: skip
    proxies = [f"{name}={value}" for name, value in _proxies().items()]
    subprocess.run(
        [*(ALONE if alone else ()), "chroot", str(root), *environment, *proxies,
         "bash", "-eo", "pipefail", "-c", command],
        check=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}


def _verify_units(root: Path) -> None:
    names = sorted(deb.units())
    print(f"\n# systemd-analyze verify {' '.join(names)}", flush=True)
    done = subprocess.run(
        ["systemd-analyze", f"--root={root}", "--man=no", "--recursive-errors=no", "verify", *names],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if "migratekit" in line]
    if done.returncode != 0 or complaints:
        sys.exit(f"package: {done.stderr}")
