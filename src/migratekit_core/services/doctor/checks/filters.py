"""Whether the OMA's own Linux leaves alone what is in replicas: LVM, md, multipath, btrfs and udisks, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import hint
from migratekit_core.config.schema import Config, Daemon
from migratekit_core.services.doctor.model import Answer, SkippedError, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site
from migratekit_core.volumed.devices import fits
from migratekit_core.volumed.filters import look
from migratekit_core.volumed.filters.files import RULES
from migratekit_core.volumed.filters.own import Own
from migratekit_core.volumed.filters.places import Linux

UDEV = Daemon.model_fields["device_dir"].default
"""Where udev's links are; a daemon that looks elsewhere for its devices has none of this machine's."""


def _oma(config: Config) -> bool:
    return config.daemon is not None and config.daemon.device_dir == UDEV


def _filter_check(name: str, what: str, look_at: Callable[[Linux], str]) -> None:
    @check(f"filters.{name}", what, _oma)
    def filter_of(site: Site) -> Iterator[Answer]:
        yield ok(what, look_at(Linux()))


_filter_check("lvm", "replicas and LVM", look.lvm)
_filter_check("md", "replicas and md", look.md)
_filter_check("multipath", "replicas and multipath", look.multipath)
_filter_check("btrfs", "replicas and btrfs", look.btrfs)
_filter_check("udisks", "replicas and udisks", look.udisks)


@check("filters.disks", "disks left alone", _oma)
def disks(site: Site) -> Iterator[Answer]:
    """Compare the disks that are there with those that the filters know, and look whether a replica is in use."""
    linux = Linux()
    _installed(linux)
    yield ok("disks left alone", look.disks(linux))
    image = look.stale_initramfs(linux)
    if image is not None:
        yield warning("filters at boot", f"{image} is older than they are", look.INSTALL)


@check("filters.own", "the OMA's own disks", _oma)
def replicas(site: Site) -> Iterator[Answer]:
    """Ask the daemon whether a disk that the filters take for the OMA's own is a replica."""
    what = "the OMA's own disks"
    own, client = _installed(Linux()), site.daemon()
    # One that does not answer is told at once: only its health is asked for without patience.
    site.needs(lambda: site.once("daemon-health", client.health))
    for volume in site.needs(client.volumes):
        for disk in own.disks:
            if disk.serial and fits(disk.serial, str(volume["id"])):
                todo = hint(f"detach it in CloudStack, delete {RULES}, then ", look.INSTALL)
                yield failed(what, f"{disk.name} is the replica {volume['name']}", todo)
                return
    yield ok(what, "none of them is a replica")


def _installed(linux: Linux) -> Own:
    try:
        return look.installed(linux)
    except PreconditionError as error:
        raise SkippedError(f"not looked at: {error.what}", error) from None
