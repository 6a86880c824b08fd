"""What has to be installed on this host."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from migratekit_core.adapters.readers.model import Plugin
from migratekit_core.adapters.readers.readers import READERS, usable
from migratekit_core.adapters.tunnel import kinds
from migratekit_core.adapters.tunnel.kinds.kind import Kind, Program
from migratekit_core.common import programs, proxies
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.config.schema import Config
from migratekit_core.services.doctor.model import Answer, SkippedError, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site
from migratekit_core.volumed.devices import Places, scan

OLDEST_PYTHON = (3, 11)
OLDEST_NBDKIT = (1, 30)
"""Debian 12 has 1.32."""
FILE = Plugin("file")
"""What nbdkit's exporter is made of."""


@check("host.versions", "versions")
def versions(site: Site) -> Iterator[Answer]:
    """Name what runs, for whoever reads the report elsewhere."""
    found = f"migratekit {version('migratekit')}, Python {platform.python_version()}, {_system()}"
    if sys.version_info < OLDEST_PYTHON:
        yield failed("versions", found, "use Python 3.11 or newer: Debian 12's own")
    else:
        yield ok("versions", found)


@check("host.proxies", "proxies", lambda config: bool(proxies.named(os.environ)))
def proxy_variables(site: Site) -> Iterator[Answer]:
    """Name the proxy variables that are set: who set them may expect that they count."""
    names = ", ".join(proxies.named(os.environ))
    yield ok("proxies", f"{names}: set, and used for no connection (CloudStack's: ossea.proxy)")


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


@check("host.libnbd", "libnbd")
def libnbd(site: Site) -> Iterator[Answer]:
    """Load libnbd's binding, which the copy engine is built on."""
    try:
        import nbd
    except ImportError as error:
        yield failed("libnbd", f"its Python binding cannot be loaded: {error}", "run: apt-get install python3-libnbd")
        return
    yield ok("libnbd", f"{nbd.NBD().get_version()}, with its Python binding")


def _tunnel_check(kind: Kind, program: Program) -> None:
    """Make a check of a program that a kind of tunnel is made of: it is asked for its version."""

    @check(f"host.{program.name}", program.name, lambda config: kinds.of(config.tunnel) is kind)
    def version_of(site: Site) -> Iterator[Answer]:
        found = programs.find(program.name, program.package)
        yield ok(program.name, _first_line(found, program.version_option))


for each in kinds.KINDS.values():
    for one in each.programs:
        _tunnel_check(each, one)


@check("host.nbdkit", "nbdkit")
def nbdkit(site: Site) -> Iterator[Answer]:
    """Ask nbdkit, which reads disks and serves exports, for its version."""
    said = _first_line(programs.find("nbdkit", "nbdkit"), "--version")
    number = re.search(r"(\d+)\.(\d+)", said)
    if number and tuple(int(part) for part in number.groups()) < OLDEST_NBDKIT:
        yield warning("nbdkit", f"{said} is older than what was tested", "use Debian 12's, or a newer one")
    else:
        yield ok("nbdkit", said)


@check("host.plugins", "nbdkit's plugins")
def plugins(site: Site) -> Iterator[Answer]:
    """Ask nbdkit for each plugin that a reader or the exporter is made of."""
    try:
        program = programs.find("nbdkit", "nbdkit")
    except PreconditionError as error:
        raise SkippedError(f"not looked at: {error.what}") from None
    needed = _needed(site.config)
    for plugin in dict.fromkeys([*(each for reader in READERS.values() for each in reader.plugins), FILE]):
        yield _plugin(program, plugin, site.config, needed.get(plugin.name, ""))


def _plugin(program: str, plugin: Plugin, config: Config, why: str) -> Answer:
    """Return whether nbdkit has a plugin; `why` it is needed, "" where it is not."""
    what = f"nbdkit plugin {plugin.name}"
    try:
        found = plugin.proven(config.source)
    except PreconditionError as error:
        return failed(what, f"{error.what}: {error.why}", error.todo)
    if found:
        return ok(what, found)
    if programs.printed(program, plugin.name, "--dump-plugin") is not None:
        return ok(what, "there" + plugin.beside())
    if why:
        return failed(what, f"not installed; {why}", plugin.todo)
    return ok(what, "not installed; no setting asks for it")


def _needed(config: Config) -> dict[str, str]:
    """Return why a plugin of nbdkit is needed, by its name."""
    needed = {}
    if config.vcenter is not None:
        for reader in usable(config.source):
            for plugin in reader.plugins:
                needed[plugin.name] = f"source.reader = {config.source.reader!r} reads with it"
    if config.daemon is not None and config.daemon.exporter == "nbdkit":
        needed[FILE.name] = "the exporter serves volumes with it"
    return needed


@check("host.exporter", "exporter", lambda config: config.daemon is not None and config.daemon.exporter == "nbd-server")
def exporter(site: Site) -> Iterator[Answer]:
    """Find nbd-server, where it is to serve the volumes."""
    yield ok("exporter", programs.find("nbd-server", "nbd-server"))


@check("host.devices", "block devices", lambda config: config.daemon is not None)
def devices(site: Site) -> Iterator[Answer]:
    """Look whether the OMA's disks can be found and opened by this user."""
    assert site.config.daemon is not None, "applies only then"
    folder = site.config.daemon.device_dir
    disks: dict[str, set[Path]] = {}
    for one in scan(Places(folder)):
        disks.setdefault(one.serial, set()).add(one.path)
    twice = [sorted(map(str, paths)) for paths in disks.values() if len(paths) > 1]
    locked = [path for paths in disks.values() for path in sorted(paths) if not os.access(path, os.R_OK | os.W_OK)]
    if locked:
        todo = "run the daemon as its unit does, in the group disk, or doctor as that user"
        yield failed("block devices", f"{locked[0]} cannot be opened by this user", todo, 5)
    elif twice:
        todo = "give each disk a serial of its own in CloudStack: a volume whose serial two disks have is not used"
        yield warning("block devices", f"one serial, several disks: {', '.join(twice[0])}", todo)
    elif not folder.is_dir() and not disks:
        yield warning("block devices", f"{folder} does not exist", "it appears with the first virtio disk; is udev up?")
    else:
        yield ok("block devices", f"{folder}: {len(disks)} disks with a serial")


def _first_line(program: str, option: str) -> str:
    said = programs.printed(program, option)
    if said is None:
        raise PreconditionError(
            f"{program} does not run",
            f"{program} {option} failed",
            "reinstall its package",
            code=ErrorCode.NOT_INSTALLED,
            facts={"program": program},
        )
    return said.splitlines()[0].strip() if said.strip() else program
