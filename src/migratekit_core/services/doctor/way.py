"""How `doctor` gets to the OMA: the way that every command goes, with the reason where it is barred."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from migratekit_core.adapters.tunnel import kinds, local
from migratekit_core.adapters.tunnel.probe import probe
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError, UsageError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.config.folders import runtime_dir, sqlite_dir
from migratekit_core.config.schema import Config, Volumes
from migratekit_core.config.secret import SecretSource
from migratekit_core.db.engine import Databases, database_error, open_databases
from migratekit_core.volumed.client import Endpoint, VolumeClient


def open_way(config: Config) -> None:
    """Bring the tunnel up and have the OMA answer through it. Raises what stands in the way."""
    local.up(config.tunnel)
    problem = probe(config.tunnel).problem
    # Behind HAProxy a volume daemon that is down looks the same; that one has a line of its own.
    if problem is not None and problem.code is not ErrorCode.CONNECTION_CLOSED:
        raise problem


def local_end(config: Config, service: str) -> Path | None:
    """Return the socket that leads to a service of the OMA; None where there is no tunnel."""
    return kinds.of(config.tunnel).socket(config.tunnel, service)


def runtime_folder(config: Config) -> Path | None:
    """Return the folder of the tunnel's sockets; None where there is no tunnel."""
    return runtime_dir(config.tunnel) if config.tunnel.leads_away else None


def open_both(config: Config) -> Databases:
    """Open both databases and connect to each. Raises PreconditionError, AuthError, UnreachableError."""
    if config.database.kind == "sqlite":
        folder = sqlite_dir(config.database)
        # Opening would make them.
        if not (folder / "oma.sqlite").exists():
            raise PreconditionError(
                f"there is no database in {folder} yet",
                "",
                hint("make it: ", migratekit("db", "upgrade")),
                code=ErrorCode.SCHEMA_MISSING,
                facts={"path": str(folder)},
            )
    opened = open_databases(config.database, local_end(config, "db"))
    for engine in (opened.oma, opened.volumes):
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except DBAPIError as error:
            opened.dispose()
            raise database_error(error, engine) from None
    return opened


def volume_client(config: Config) -> VolumeClient:
    """Return a client of the volume daemon: as commands reach it, or on the OMA as the daemon itself is set.

    Raises UsageError where no token is configured.
    """
    settings, own = config.volumes, config.daemon
    if settings.token is None and own is not None:
        token = SecretSource(file=own.token_file).read("daemon.token_file")
        return VolumeClient(Endpoint(own.socket, own.listen, own.port), token)
    if settings.token is None:
        raise UsageError(
            "volumes.token is not set",
            "the volume daemon asks for it",
            'set token = { file = "…" } in [volumes]',
            code=ErrorCode.CONFIG_MISSING,
            facts={"setting": "volumes.token"},
        )
    endpoint = Endpoint(local_end(config, "volumes") or settings.socket, settings.host, settings.port)
    return VolumeClient(endpoint, settings.token.read("volumes.token"))


def as_client(config: Config) -> Config:
    """Return a configuration by which this host's volume daemon is reached as a client does; on the OMA [volumes] may
    say nothing, and [daemon] all of it."""
    own = config.daemon
    if config.volumes.token is not None or own is None:
        return config
    volumes = Volumes(
        token=SecretSource(file=own.token_file),
        host=own.listen,
        port=own.port,
        socket=own.socket,
        nbd_host=own.nbd_listen,
        nbd_port=own.nbd_port,
    )
    return config.model_copy(update={"volumes": volumes})


def exporter(config: Config) -> tuple[str, int] | Path:
    """Return where the exporter is reached: a socket of the tunnel, or host and port."""
    path = local_end(config, "nbd")
    if path is not None:
        return path
    if config.daemon is not None:
        return config.daemon.nbd_listen, config.daemon.nbd_port
    return config.volumes.nbd_host, config.volumes.nbd_port
