"""What a command works with: the tunnel brought up, the databases opened, the joblog, a client of the volume daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from migratekit_core.config.load import require
from migratekit_core.config.schema import Config, Ossea, VCenter
from migratekit_core.db.engine import Databases, open_databases
from migratekit_core.errors import UsageError
from migratekit_core.joblog import Job, Tracker
from migratekit_core.observer import Observer, Silent
from migratekit_core.source.reader import nbd_uri
from migratekit_core.tunnel import tls
from migratekit_core.volumes.client import Endpoint, VolumeClient


@dataclass(frozen=True)
class Runtime:
    """An open configuration."""

    config: Config
    databases: Databases
    tracker: Tracker
    observer: Observer

    @property
    def vcenter(self) -> VCenter:
        """Return the [vcenter] table. Raises UsageError where there is none."""
        require(self.config, "vcenter")
        assert self.config.vcenter is not None, "require has seen to it"
        return self.config.vcenter

    @property
    def ossea(self) -> Ossea:
        """Return the [ossea] table. Raises UsageError where there is none."""
        require(self.config, "ossea")
        assert self.config.ossea is not None, "require has seen to it"
        return self.config.ossea

    def volumes(self, job: Job | None = None) -> VolumeClient:
        """Return a client of the volume daemon, whose work is recorded as part of `job`.

        Raises UsageError where no token is configured.
        """
        settings = self.config.volumes
        if settings.token is None:
            raise UsageError(
                "volumes.token is not set",
                "the volume daemon asks for it",
                'set token = { file = "…" } in [volumes]',
            )
        endpoint = Endpoint(self._socket("volumes"), settings.host, settings.port)
        token = settings.token.read("volumes.token")
        return VolumeClient(endpoint, token, job.correlation_id if job else "", job.id if job else "")

    def nbd_uri(self, export: str) -> str:
        """Return the URI of an export of the OMA, as it is reached from here."""
        socket = self._socket("nbd")
        if socket is not None:
            return nbd_uri(socket, export)
        return f"nbd://{self.config.volumes.nbd_host}:{self.config.volumes.nbd_port}/{quote(export)}"

    def _socket(self, service: str) -> Path | None:
        return tls.socket_path(self.config.tunnel, service) if self.config.tunnel.kind == "tls" else None


@contextmanager
def open_runtime(config: Config, observer: Observer | None = None) -> Iterator[Runtime]:
    """Bring the tunnel up where there is one, and open the databases; the tunnel stays up for the next command."""
    observer = observer or Silent()
    socket = None
    if config.tunnel.kind == "tls":
        tls.up(config.tunnel)
        socket = tls.socket_path(config.tunnel, "db")
    databases = open_databases(config.database, socket)
    try:
        yield Runtime(config, databases, Tracker(databases.oma, observer.step), observer)
    finally:
        databases.dispose()
