"""Which exporter the configuration names."""

from __future__ import annotations

from migratekit_core.config.schema import Daemon
from migratekit_core.volumed.daemon.exports.exporter import Exporter
from migratekit_core.volumed.daemon.exports.nbd_server import NbdServerExporter
from migratekit_core.volumed.daemon.exports.nbdkit import NbdkitExporter

KINDS: dict[str, type[Exporter]] = {"nbdkit": NbdkitExporter, "nbd-server": NbdServerExporter}


def exporter_of(settings: Daemon, *, supervised: bool = True) -> Exporter:
    """Return the exporter of `daemon.exporter`; it is not started. With `supervised` its own process (exports.unit)
    starts it, where that runs."""
    return KINDS[settings.exporter](settings, supervised=supervised)


def retire_others(settings: Daemon) -> None:
    """End a server that former settings started and that would keep the port: of another kind, or on another port."""
    for name, kind in KINDS.items():
        other = kind(settings, supervised=False)
        if name != settings.exporter or not other.fits():
            other.stop()
