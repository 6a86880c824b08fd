"""What the routes work with."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from migratekit_core.config.schema import Daemon
from migratekit_core.volumed.daemon.metrics import Metrics
from migratekit_core.volumed.daemon.operations import Operations
from migratekit_core.volumed.daemon.reconcile.reconciler import Reconciler
from migratekit_core.volumed.daemon.storage import Storage
from migratekit_core.volumed.daemon.token import TokenFile


@dataclass(frozen=True)
class Services:
    """The parts of the daemon that requests are answered from."""

    settings: Daemon
    operations: Operations
    storage: Storage
    volumes: Engine
    oma: Engine
    token: TokenFile
    version: str
    reconciler: Reconciler
    metrics: Metrics
