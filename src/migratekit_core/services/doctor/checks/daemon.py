"""The volume daemon and its exporter, on the OMA."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from migratekit_core.adapters.cloudstack.limits import DATA_DISKS
from migratekit_core.common.errors import UnreachableError
from migratekit_core.common.hints import from_fields
from migratekit_core.config.schema import Config
from migratekit_core.services.doctor.model import Answer, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site
from migratekit_core.services.doctor.way import exporter as way
from migratekit_core.services.replication.queue import of_schedule

GREETING = b"NBDMAGIC"
ANSWER_SECONDS = 10.0


def _used(config: Config) -> bool:
    return config.volumes.token is not None or config.tunnel.leads_away or config.daemon is not None


@check("daemon.answers", "volume daemon", _used)
def answers(site: Site) -> Iterator[Answer]:
    """Ask the daemon for its health, and for its volumes with the token."""
    client = site.daemon()
    health = site.once("daemon-health", client.health)
    theirs, ours = str(health.get("version")), version("migratekit")
    if theirs != ours:
        todo = "install the same version on both hosts, the OMA first, and restart the daemon"
        yield warning("volume daemon", f"it is version {theirs}, this is {ours}", todo)
    else:
        yield ok("volume daemon", f"{health.get('status')}, version {theirs}")
    client.operations(limit=1)
    yield ok("volume daemon's token", "accepted")


@check("daemon.oma", "OMA's disks", _used)
def oma(site: Site) -> Iterator[Answer]:
    """Ask the daemon what CloudStack says of the machine that it runs on."""
    found = site.needs(site.oma)
    if not found:
        return  # a daemon of an earlier version
    if found["problem"] is not None:
        problem = found["problem"]
        yield failed("OMA's disks", f"{problem['what']}: {problem['why']}", from_fields(problem), problem["exit_code"])
        return
    limit = found["max_disks"]
    most = f"of {limit}" if limit else f"; how many it takes is not known, {DATA_DISKS} are assumed"
    yield ok("OMA's disks", f"{found['data_disks']} attached {most}".replace(" ;", ";"))
    if found["vm_snapshots"] is None:
        todo = "allow it in the role of the daemon's account; docs/permissions.md"
        yield warning("OMA's VM snapshots", "not known: the daemon's role may not list VM snapshots", todo)
    if found["backup_offering"]:
        todo = "remove the OMA from it, or see that backup.enable.attach.detach.of.volumes is true"
        yield warning(
            "OMA's backup offering", f"it has {found['backup_offering']}: attaching and detaching may be refused", todo
        )


@check("daemon.queue", "CloudStack's queue of the OMA", lambda config: _used(config) and bool(config.schedule.rpo))
def attaches(site: Site) -> Iterator[Answer]:
    """Compare what the schedule's syncs attach and detach in an hour with how long CloudStack takes for one."""
    places = site.needs(site.oma).get("max_disks") or DATA_DISKS
    found = of_schedule(site.needs(site.databases).oma, site.config.schedule.rpo, places)
    if found.fits:
        yield ok("CloudStack's queue of the OMA", str(found))
    else:
        yield warning("CloudStack's queue of the OMA", str(found), "lengthen the RPOs, or set up another OMA")


@check("daemon.exporter", "exporter", _used)
def exporter(site: Site) -> Iterator[Answer]:
    """Have the exporter greet as an NBD server."""
    site.needs(site.tunnel)
    reached = way(site.config)
    where = str(reached) if isinstance(reached, Path) else f"{reached[0]}:{reached[1]}"
    try:
        with socket.socket(socket.AF_UNIX if isinstance(reached, Path) else socket.AF_INET) as client:
            client.settimeout(ANSWER_SECONDS)
            client.connect(str(reached) if isinstance(reached, Path) else reached)
            greeted = client.recv(len(GREETING)) == GREETING
            reason = "" if greeted else "the connection was closed without a greeting"
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
    if reason:
        todo = "on the OMA: systemctl restart migratekit-volumed, then look at nbdkit.log in daemon.state_dir"
        yield failed("exporter", f"no NBD server answers at {where}: {reason}", todo, UnreachableError.exit_code)
    else:
        yield ok("exporter", f"greets at {where}")
