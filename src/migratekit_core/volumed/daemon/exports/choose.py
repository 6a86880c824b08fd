"""Which exporter the configuration names."""

from __future__ import annotations

from migratekit_core.config.schema import Daemon
from migratekit_core.volumed.daemon.exports.exporter import Exporter
from migratekit_core.volumed.daemon.exports.nbd_server import NbdServerExporter
from migratekit_core.volumed.daemon.exports.nbdkit import NbdkitExporter


def exporter_of(settings: Daemon) -> Exporter:
    """Return the exporter of `daemon.exporter`; it is not started."""
    return NbdServerExporter(settings) if settings.exporter == "nbd-server" else NbdkitExporter(settings)
