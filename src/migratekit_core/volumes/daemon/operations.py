"""Every change is an operation: its row first, then the work, then its outcome. One writer per volume."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from sqlmodel import col, select

from migratekit_core.config.schema import Daemon
from migratekit_core.db.engine import Databases, session
from migratekit_core.errors import BusyError, MigrateKitError, OperationFailedError, PreconditionError, UsageError
from migratekit_core.joblog import Tracker
from migratekit_core.joblog.tracker import describe
from migratekit_core.models.base import utcnow
from migratekit_core.models.volumes import IdempotencyKey, VolumeOperation
from migratekit_core.redact import redact
from migratekit_core.volumes.daemon.actions import ACTIONS, Context
from migratekit_core.volumes.daemon.exports.nbdkit import NbdkitExporter
from migratekit_core.volumes.daemon.storage import Storage

WORKERS = 16
PENDING, RUNNING, COMPLETED, FAILED = "pending", "running", "completed", "failed"
OPEN = (PENDING, RUNNING)
ORIGIN = "origin"
"""Key under which an operation's request remembers where it came from."""


@dataclass(frozen=True)
class Origin:
    """Where a request came from: what it belongs to, and the job that sent it ("" for none)."""

    correlation_id: str
    parent_job_id: str


class Operations:
    """Takes operations, runs them in threads, and finishes after a restart what was under way."""

    def __init__(self, settings: Daemon, databases: Databases, storage: Storage, exporter: NbdkitExporter) -> None:
        self._settings = settings
        self._databases = databases
        self._storage = storage
        self._exporter = exporter
        self._tracker = Tracker(databases.oma)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="operation")
        self._changed = threading.Condition()
        """Guards the decision who may write to a volume, and tells those who wait that an operation ended."""

    def submit(
        self, kind: str, request: dict[str, Any], volume_id: str | None, key: str | None, origin: Origin
    ) -> VolumeOperation:
        """Write an operation down and start it; the same `key` gives the same operation, and runs a failed one again.

        Raises BusyError while another operation works on the volume, UsageError for a key that was another request's.
        """
        digest = hashlib.sha256(json.dumps([kind, request, volume_id], sort_keys=True).encode()).hexdigest()
        with self._changed, session(self._databases.volumes) as db:
            known = db.get(IdempotencyKey, key) if key else None
            earlier = db.get(VolumeOperation, known.operation_id) if known is not None else None
            if known is not None and known.request_digest != digest:
                raise UsageError("idempotency key was used for another request", f"key {key}", "use a new key")
            if earlier is not None and earlier.status != FAILED:
                return earlier
            if volume_id is not None:
                self._refuse_second_writer(volume_id)
            if earlier is not None:
                operation = earlier
                operation.status, operation.error, operation.completed_at = PENDING, None, None
            else:
                operation = VolumeOperation(
                    id=str(uuid.uuid4()),
                    type=kind,
                    status=PENDING,
                    volume_id=volume_id,
                    vm_id=request.get("vm_id"),
                    request={**request, ORIGIN: asdict(origin)},
                )
                db.add(operation)
                if key:
                    db.flush()
                    db.add(IdempotencyKey(key=key, operation_id=operation.id, request_digest=digest))
        self._pool.submit(self._run, operation.id)
        return operation

    def get(self, operation_id: str) -> VolumeOperation | None:
        """Return an operation."""
        with session(self._databases.volumes) as db:
            return db.get(VolumeOperation, operation_id)

    def list(self, limit: int) -> list[VolumeOperation]:
        """Return operations, the newest first."""
        with session(self._databases.volumes) as db:
            query = select(VolumeOperation).order_by(col(VolumeOperation.created_at).desc()).limit(limit)
            return list(db.exec(query).all())

    def wait(self, operation_id: str, seconds: float) -> VolumeOperation | None:
        """Return an operation when it has ended, or after `seconds`."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                operation = self.get(operation_id)
                left = deadline - time.monotonic()
                if operation is None or operation.status not in OPEN or left <= 0:
                    return operation
                self._changed.wait(min(left, 1.0))

    def recover(self) -> int:
        """Run again what a former daemon left unfinished; every action looks before it acts. Return how many."""
        with session(self._databases.volumes) as db:
            query = select(VolumeOperation).where(col(VolumeOperation.status).in_(OPEN))
            left = db.exec(query.order_by(col(VolumeOperation.created_at))).all()
        for operation in left:
            self._pool.submit(self._run, operation.id)
        return len(left)

    def close(self) -> None:
        """Finish what runs, start nothing more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _refuse_second_writer(self, volume_id: str) -> None:
        with session(self._databases.volumes) as db:
            query = select(VolumeOperation).where(
                VolumeOperation.volume_id == volume_id, col(VolumeOperation.status).in_(OPEN)
            )
            holder = db.exec(query).first()
        if holder is not None:
            raise BusyError(
                f"volume {volume_id} is being worked on",
                f"operation {holder.id} ({holder.type}), since {holder.created_at:%Y-%m-%d %H:%M:%S} UTC",
                "wait for it to end",
            )

    def _run(self, operation_id: str) -> None:
        error: MigrateKitError | None = None
        response: dict[str, Any] | None = None
        try:
            response = self._act(operation_id)
        except MigrateKitError as caught:
            error = caught
        except Exception as caught:
            # Whatever it was, an operation ends: one that stays open would lock its volume for good.
            error = OperationFailedError("the operation ended unexpectedly", redact(describe(caught)), "report this")
        with self._changed, session(self._databases.volumes) as db:
            operation = db.get(VolumeOperation, operation_id)
            assert operation is not None, "operations are not deleted"
            operation.status = COMPLETED if error is None else FAILED
            operation.completed_at = utcnow()
            operation.response = response
            if response is not None and operation.volume_id is None:
                operation.volume_id = response.get("volume_id")
            if error is not None:
                operation.error = json.dumps(as_problem(error))
        with self._changed:
            self._changed.notify_all()

    def _act(self, operation_id: str) -> dict[str, Any]:
        with session(self._databases.volumes) as db:
            operation = db.get(VolumeOperation, operation_id)
            if operation is None:
                raise PreconditionError(f"no operation {operation_id}", "its row is gone", "report this")
            operation.status = RUNNING
        owner = operation.volume_id or str(operation.request.get("name", operation.id))
        origin = Origin(**operation.request[ORIGIN])
        with self._tracker.job(
            f"volume-{operation.type}",
            owner=owner,
            parent_id=origin.parent_job_id or None,
            correlation_id=origin.correlation_id,
        ) as job:
            context = Context(
                self._settings, self._storage, self._exporter, self._databases.volumes, self._databases.oma, job
            )
            return ACTIONS[operation.type](context, operation)


def as_problem(error: MigrateKitError) -> dict[str, Any]:
    """Return an error as the fields that a client makes the same error of."""
    return {
        "what": redact(error.what),
        "why": redact(error.why),
        "todo": redact(error.todo),
        "exit_code": error.exit_code,
    }
