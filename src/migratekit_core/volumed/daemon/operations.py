"""Every change is an operation: its row first, then the work, then its outcome. One writer per volume."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.adapters.cloudstack import tracking
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    BusyError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
    UsageError,
    to_fields,
)
from migratekit_core.common.failpoints import Points
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.common.redact import redact
from migratekit_core.config.schema import Daemon
from migratekit_core.db.engine import Databases, session, write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.volumes import IdempotencyKey, VolumeOperation
from migratekit_core.joblog import Tracker
from migratekit_core.joblog.later import LaterTracker
from migratekit_core.joblog.tracker import describe
from migratekit_core.volumed.daemon import guard
from migratekit_core.volumed.daemon.actions import ACTIONS
from migratekit_core.volumed.daemon.context import ORIGIN, Context
from migratekit_core.volumed.daemon.exports.exporter import Exporter
from migratekit_core.volumed.daemon.metrics import Metrics
from migratekit_core.volumed.daemon.storage import Storage
from migratekit_core.volumed.daemon.unwritten import RELEASES, Unwritten, no_room
from migratekit_core.volumed.devices import Places

WORKERS = 16
STORE_SECONDS = 1.0
"""Between two attempts to write an outcome down."""
PENDING, RUNNING, COMPLETED, FAILED = "pending", "running", "completed", "failed"
OPEN = (PENDING, RUNNING)
MADE = {"create": "volume_id", "clone": "volume_id", "snapshot": "snapshot_id"}
"""What kinds of operations make, as their response names it."""


@dataclass(frozen=True)
class Origin:
    """Where a request came from: what it belongs to, and the job that sent it ("" for none)."""

    correlation_id: str
    parent_job_id: str


class Operations:
    """Takes operations, runs them in threads, and finishes after a restart what was under way."""

    def __init__(
        self,
        settings: Daemon,
        places: Places,
        databases: Databases,
        storage: Storage,
        exporter: Exporter,
        tracker: Tracker,
        points: Points,
        metrics: Metrics,
    ) -> None:
        self._metrics = metrics
        self._settings = settings
        self._places = places
        self._databases = databases
        self._storage = storage
        self._exporter = exporter
        self._tracker = tracker
        self._points = points
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="operation")
        self._changed = threading.Lock()
        """Guards the decision who may write to a volume."""
        self._unwritten = Unwritten(databases.volumes, self._changed, self._closing)
        self._watchers: dict[str, list[Callable[[], None]]] = {}
        self._watching = threading.Lock()

    def submit(
        self, kind: str, request: dict[str, Any], volume_id: str | None, key: str | None, origin: Origin
    ) -> VolumeOperation:
        """Write an operation down and start it; the same `key` gives the same operation.

        One that failed is run again, and so is one whose volume or snapshot was deleted since: an answer that names
        what is gone would have the client rely on it. One of RELEASES is taken also where there is no room for its row.

        Raises BusyError while another operation works on the volume, UsageError for a key that was another request's.
        """
        digest = hashlib.sha256(json.dumps([kind, request, volume_id], sort_keys=True).encode()).hexdigest()
        # Asked before anything is locked: CloudStack takes its time.
        gone = self._outlived(key) if key else None
        with self._changed:
            try:
                operation, begun = self._written(kind, request, volume_id, key, origin, digest, gone)
            except MigrateKitError as error:
                if kind not in RELEASES or not no_room(error):
                    raise
                operation, begun = self._unwritten.hold(_new(kind, request, volume_id, origin), key, digest), True
        if begun:
            self._pool.submit(self._run, operation.id, kind)
        return operation

    def _written(
        self,
        kind: str,
        request: dict[str, Any],
        volume_id: str | None,
        key: str | None,
        origin: Origin,
        digest: str,
        gone: tuple[str, datetime | None] | None,
    ) -> tuple[VolumeOperation, bool]:
        """Write an operation down; return it, and whether it is to be run."""
        with session(self._databases.volumes) as db:
            known, earlier = self._unwritten.known(key) or _known(db, key)
            if known is not None and known.request_digest != digest:
                raise UsageError(
                    "idempotency key was used for another request",
                    f"key {key}",
                    "use a new key",
                    code=ErrorCode.REQUEST_INVALID,
                    facts={"key": key},
                )
            if earlier is not None and earlier.status != FAILED and (earlier.id, earlier.completed_at) != gone:
                return earlier, False
            if volume_id is not None:
                self._refuse_second_writer(volume_id, kind)
            if earlier is not None:
                operation = earlier
                operation.status, operation.error, operation.completed_at = PENDING, None, None
                operation.response, operation.volume_id = None, volume_id
            else:
                operation = _new(kind, request, volume_id, origin)
                db.add(operation)
                if key:
                    db.flush()
                    db.add(IdempotencyKey(key=key, operation_id=operation.id, request_digest=digest))
        return operation, True

    def _within(self, kind: str, volume_id: str, request: dict[str, Any], origin: Origin) -> None:
        """Run an operation that another one needs, in the same thread: all threads may be waiting for such ones.

        Raises BusyError while another operation works on the volume, and the operation's own error.
        """
        with self._changed, session(self._databases.volumes) as db:
            self._refuse_second_writer(volume_id, kind)
            operation = _new(kind, request, volume_id, origin)
            db.add(operation)
        error = self._run(operation.id, kind)
        if error is not None:
            raise error

    def _outlived(self, key: str) -> tuple[str, datetime | None] | None:
        """Return id and end of a key's operation where what it made is gone."""
        with session(self._databases.volumes) as db:
            _, earlier = _known(db, key)
        if earlier is None or earlier.status != COMPLETED or earlier.response is None:
            return None
        made = earlier.response.get(MADE.get(earlier.type, ""))
        look = self._storage.snapshot_by_id if earlier.type == "snapshot" else self._storage.get
        return (earlier.id, earlier.completed_at) if made is not None and look(made) is None else None

    def get(self, operation_id: str) -> VolumeOperation | None:
        """Return an operation."""
        held = self._unwritten.get(operation_id)
        if held is not None:
            return held
        with session(self._databases.volumes) as db:
            return db.get(VolumeOperation, operation_id)

    def list(self, limit: int) -> list[VolumeOperation]:
        """Return operations, the newest first."""
        with session(self._databases.volumes) as db:
            query = select(VolumeOperation).order_by(col(VolumeOperation.created_at).desc()).limit(limit)
            rows = list(db.exec(query).all())
        held = self._unwritten.all()
        ids = {one.id for one in held}
        return [*held, *(row for row in rows if row.id not in ids)][:limit]

    def touched(self, since: datetime) -> set[str]:
        """Return the volumes that an operation works on, or has changed since a time (UTC)."""
        held = {one.volume_id for one in self._unwritten.all() if one.volume_id is not None}
        return touched(self._databases.volumes, since) | held

    @contextmanager
    def watched(self, operation_id: str, call: Callable[[], None]) -> Iterator[None]:
        """Have `call` called, from any thread, when an operation ends within the block."""
        with self._watching:
            self._watchers.setdefault(operation_id, []).append(call)
        try:
            yield
        finally:
            with self._watching:
                self._watchers[operation_id].remove(call)
                if not self._watchers[operation_id]:
                    del self._watchers[operation_id]

    def wake(self, operation_id: str | None = None) -> None:
        """Call those who wait for an operation, or for any: the daemon ends, and they are answered as it is."""
        with self._watching:
            lists = list(self._watchers.values()) if operation_id is None else [self._watchers.get(operation_id, [])]
            for call in [call for calls in lists for call in calls]:
                call()

    def recover(self) -> int:
        """Run again what a former daemon left unfinished; every action looks before it acts. Return how many."""
        with session(self._databases.volumes) as db:
            query = select(VolumeOperation).where(col(VolumeOperation.status).in_(OPEN))
            left = db.exec(query.order_by(col(VolumeOperation.created_at))).all()
        for operation in left:
            self._pool.submit(self._run, operation.id, operation.type)
        return len(left)

    def close(self) -> None:
        """Finish what runs, start nothing more."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        with self._changed, suppress(MigrateKitError):
            self._unwritten.write()

    def _refuse_second_writer(self, volume_id: str, kind: str) -> None:
        with session(self._databases.volumes) as db:
            query = select(VolumeOperation).where(
                VolumeOperation.volume_id == volume_id, col(VolumeOperation.status).in_(OPEN)
            )
            rows = list(db.exec(query).all())
        held = [one for one in self._unwritten.all() if one.volume_id == volume_id]
        # What has ended, and is not written yet, keeps nobody from taking back what was given.
        over = {one.id for one in held if one.status not in OPEN and kind in RELEASES}
        holder = next((one for one in [*held, *rows] if one.status in OPEN and one.id not in over), None)
        if holder is not None:
            job = holder.request.get(ORIGIN, {}).get("parent_job_id")
            whom = f"job {job}" if job else "an operator"
            since = f"{holder.created_at:%Y-%m-%d %H:%M:%S}"
            raise BusyError(
                f"volume {volume_id} is being worked on",
                f"operation {holder.id} ({holder.type}), since {since} UTC, for {whom}",
                hint("wait for it to end (", migratekit("jobs", "show", job[:8]), ")") if job else "wait for it to end",
                code=ErrorCode.VOLUME_BUSY,
                facts={"volume_id": volume_id, "operation_id": holder.id},
            )

    def _run(self, operation_id: str, kind: str) -> MigrateKitError | None:
        """Run an operation to its end, and return what it failed with."""
        error: MigrateKitError | None = None
        response: dict[str, Any] | None = None
        began = time.monotonic()
        try:
            with self._metrics.running(kind):
                response = self._act(operation_id, kind)
        except MigrateKitError as caught:
            error = caught
        except Exception as caught:
            # Whatever it was, an operation ends: one that stays open would lock its volume for good.
            error = OperationFailedError(
                "the operation ended unexpectedly", redact(describe(caught)), "report this", code=ErrorCode.UNEXPECTED
            )
        self._store(operation_id, response, error)
        self._metrics.ended(kind, FAILED if error else COMPLETED, time.monotonic() - began)
        self.wake(operation_id)
        return error

    def _store(self, operation_id: str, response: dict[str, Any] | None, error: MigrateKitError | None) -> None:
        """Write an operation's outcome down, however long the database is away: until then its volume is locked. Where
        its disk is full, the outcome is kept, and whoever waits for it gets it."""

        def outcome(operation: VolumeOperation) -> None:
            operation.status = COMPLETED if error is None else FAILED
            operation.completed_at = utcnow()
            operation.response = response
            if response is not None and operation.volume_id is None:
                operation.volume_id = response.get("volume_id")
            if error is not None:
                operation.error = json.dumps(to_fields(error))

        while True:
            try:
                with self._changed:
                    self._put(operation_id, outcome)
                return
            except UnreachableError:
                # What is left unwritten when the daemon ends, the next one does again.
                if self._closing.wait(STORE_SECONDS):
                    return

    def _put(self, operation_id: str, change: Callable[[VolumeOperation], None]) -> None:
        """Change an operation where it is: in its row, or in memory where that has no room."""
        held = self._unwritten.get(operation_id)
        if held is None:
            try:
                with session(self._databases.volumes) as db:
                    change(_found(db, operation_id))
                return
            except MigrateKitError as error:
                if not no_room(error):
                    raise
            with session(self._databases.volumes) as db:
                held = self._unwritten.hold(_found(db, operation_id))
        change(held)

    def _begin(self, operation_id: str, kind: str) -> VolumeOperation:
        """Write down that an operation runs, and return it."""
        with self._changed:
            held = self._unwritten.get(operation_id)
            if held is not None:
                held.status = RUNNING
                return held
        try:
            return write(self._databases.volumes, lambda db: _begun(db, operation_id))
        except MigrateKitError as error:
            if kind not in RELEASES or not no_room(error):
                raise
        with self._changed, session(self._databases.volumes) as db:
            held = self._unwritten.hold(_found(db, operation_id))
            held.status = RUNNING
            return held

    def _act(self, operation_id: str, kind: str) -> dict[str, Any]:
        self._points.reach(f"{kind}/operation/pending")
        operation = self._begin(operation_id, kind)
        self._points.reach(f"{operation.type}/operation/running")
        owner = operation.volume_id or str(operation.request.get("name", operation.id))
        origin = Origin(**operation.request[ORIGIN])
        joblog = LaterTracker(self._tracker) if kind in RELEASES else self._tracker
        with (
            self._caught_up(joblog),
            joblog.job(
                f"volume-{operation.type}",
                owner=owner,
                parent_id=origin.parent_job_id or None,
                correlation_id=origin.correlation_id,
            ) as job,
        ):
            context = Context(
                self._settings,
                self._places,
                self._storage,
                self._exporter,
                self._databases.volumes,
                self._databases.oma,
                job,
                self._points,
                guard.Admitted(),
                lambda kind, volume_id, request: self._within(
                    kind, volume_id, request, replace(origin, parent_job_id=job.id)
                ),
            )
            # What a former daemon had CloudStack do is waited for, before anything is looked at or done again.
            tracking.settle(self._databases.oma, self._storage.cloud, operation.id)
            admitted = guard.admit(context.guarded, operation)
            response = ACTIONS[operation.type](replace(context, admitted=admitted), operation)
        self._points.reach(f"{operation.type}/operation/done")
        return response

    @contextmanager
    def _caught_up(self, joblog: Tracker) -> Iterator[None]:
        """Write what the block has kept of its joblog, now or as soon as there is room."""
        try:
            yield
        finally:
            if isinstance(joblog, LaterTracker):
                try:
                    joblog.catch_up(patiently=False)
                except MigrateKitError:
                    with self._changed:
                        self._unwritten.keep(joblog)


def _new(kind: str, request: dict[str, Any], volume_id: str | None, origin: Origin) -> VolumeOperation:
    """Return the row of a new operation."""
    return VolumeOperation(
        id=str(uuid.uuid4()),
        type=kind,
        status=PENDING,
        volume_id=volume_id,
        vm_id=request.get("vm_id"),
        request={**request, ORIGIN: asdict(origin)},
    )


def touched(engine: Engine, since: datetime) -> set[str]:
    """Return the volumes that an operation works on, or has changed since a time (UTC)."""
    with session(engine) as db:
        # Two queries, each by an index: one with OR would read the whole past, every minute.
        now = select(VolumeOperation.volume_id).where(col(VolumeOperation.status).in_(OPEN))
        recent = select(VolumeOperation.volume_id).where(
            col(VolumeOperation.completed_at) >= since, VolumeOperation.type != "reconcile"
        )
        found = [*db.exec(now).all(), *db.exec(recent).all()]
        return {volume_id for volume_id in found if volume_id is not None}


def _known(db: Session, key: str | None) -> tuple[IdempotencyKey | None, VolumeOperation | None]:
    """Return a key that was sent before, and its operation."""
    known = db.get(IdempotencyKey, key) if key else None
    return known, db.get(VolumeOperation, known.operation_id) if known is not None else None


def _found(db: Session, operation_id: str) -> VolumeOperation:
    operation = db.get(VolumeOperation, operation_id)
    if operation is None:
        raise PreconditionError(
            f"no operation {operation_id}",
            "its row is gone",
            "report this",
            code=ErrorCode.GONE,
            facts={"operation_id": operation_id},
        )
    return operation


def _begun(db: Session, operation_id: str) -> VolumeOperation:
    operation = _found(db, operation_id)
    operation.status = RUNNING
    return operation
