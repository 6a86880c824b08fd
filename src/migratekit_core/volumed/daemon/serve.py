"""Puts the daemon together, and takes it apart in order."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from sqlmodel import col, select

from migratekit_core.adapters.cloudstack.patience import AT_ONCE
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError
from migratekit_core.config.load import require
from migratekit_core.config.schema import Config, Daemon
from migratekit_core.db.engine import Databases, open_databases, session
from migratekit_core.db.models.volumes import NbdExport
from migratekit_core.db.schema import require_schema
from migratekit_core.joblog import Tracker
from migratekit_core.volumed.daemon import bridge
from migratekit_core.volumed.daemon.api import Services, build
from migratekit_core.volumed.daemon.exports import unit
from migratekit_core.volumed.daemon.exports.choose import exporter_of, retire_others
from migratekit_core.volumed.daemon.exports.exporter import Exporter
from migratekit_core.volumed.daemon.listen import bind
from migratekit_core.volumed.daemon.metrics import Metrics
from migratekit_core.volumed.daemon.operations import Operations
from migratekit_core.volumed.daemon.points import from_environment
from migratekit_core.volumed.daemon.reconcile.compare import KINDS
from migratekit_core.volumed.daemon.reconcile.look import Sides
from migratekit_core.volumed.daemon.reconcile.reconciler import Reconciler
from migratekit_core.volumed.daemon.server import run
from migratekit_core.volumed.daemon.storage import Storage
from migratekit_core.volumed.daemon.token import TokenFile
from migratekit_core.volumed.daemon.wavegauge import WaveGauges
from migratekit_core.volumed.devices import Places


def serve(config: Config, places: Places | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT. `places` is where Linux shows its disks; None: `daemon.device_dir`, and
    /sys/block.

    Raises UsageError for a configuration without [daemon] or [ossea] or an address that is not this machine's own,
    AuthError for a token file that others may read, BusyError where a daemon runs already, PreconditionError where the
    address is taken, SchemaMismatchError where a database is not this version's.
    """
    require(config, "daemon", "ossea")
    assert config.daemon is not None and config.ossea is not None, "require has seen to it"
    settings = config.daemon
    places = places or Places(settings.device_dir)
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _only_one(settings.state_dir):
        bridge.start(settings.log_level)
        token = TokenFile(settings.token_file)
        token.load()
        # Reads its secrets: before the exporter starts, which a daemon that ends leaves running.
        storage = Storage(config.ossea)
        databases = open_databases(config.database)
        require_schema(databases, ("oma", "volumes"))
        # Before anything is begun: where somebody else listens, nothing is to be done twice.
        bound = bind(settings)
        points = from_environment()
        tracker = Tracker(
            databases.oma,
            lambda kind, step, status: points.reach(f"{kind.removeprefix('volume-')}/{step}/{status}"),
            bridge.entry,
        )
        tracker.mark_interrupted()
        exporter = exporter_of(settings)
        if not exporter.supervised():
            retire_others(settings)
        _forget_exports_of_another_boot(settings, databases)
        exporter.start()
        _tidy_exports(exporter, databases)
        metrics = Metrics(version("migratekit"), KINDS, WaveGauges(databases.oma))
        operations = Operations(settings, places, databases, storage, exporter, tracker, points, metrics)
        operations.recover()
        # Requests for what there is, and the comparison, are made again by themselves: neither waits for CloudStack.
        impatient = Storage(config.ossea, AT_ONCE)
        sides = Sides(settings, places, impatient, exporter, databases.volumes, databases.oma)
        reconciler = Reconciler(sides, operations, tracker, metrics)
        stopping = threading.Event()
        loops = {"exporter-watch": exporter.watch, "reconcile": reconciler.run}
        threads = [
            threading.Thread(target=loop, args=(stopping,), name=name, daemon=True) for name, loop in loops.items()
        ]
        for thread in threads:
            thread.start()
        services = Services(
            settings,
            operations,
            impatient,
            databases.volumes,
            databases.oma,
            token,
            version("migratekit"),
            reconciler,
            metrics,
        )
        try:
            run(build(services), bound, operations.wake)
        finally:
            stopping.set()
            operations.close()
            for thread in threads:
                thread.join()
            # Its server stays: copies go on through it, and the next daemon takes it over.
            databases.dispose()
            if settings.socket is not None:
                settings.socket.unlink(missing_ok=True)


@contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    """Hold the daemon's lock: two of them would each believe to be the only writer."""
    with (state_dir / "daemon.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BusyError(
                "a volume daemon runs already",
                f"pid {file.read().strip() or 'unknown'}",
                "stop it first",
                code=ErrorCode.ALREADY_RUNNING,
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _forget_exports_of_another_boot(settings: Daemon, databases: Databases) -> None:
    """Let no export survive a boot of this machine (`unit.forget_another_boot`): neither its link nor its row."""
    unit.forget_another_boot(settings.state_dir)
    boot = unit.BOOT_ID.read_text().strip()
    known = settings.state_dir / "boot_id"
    if known.exists() and known.read_text() == boot:
        return
    with session(databases.volumes) as db:
        for row in db.exec(select(NbdExport)).all():
            db.delete(row)
    known.write_text(boot)


def _tidy_exports(exporter: Exporter, databases: Databases) -> None:
    """Take back exports that no row knows: a crash between the folder and the database left them."""
    with session(databases.volumes) as db:
        known = set(db.exec(select(col(NbdExport.export_name))).all())
    for name in exporter.names():
        if name not in known:
            exporter.remove(name)
            exporter.forget(name)
