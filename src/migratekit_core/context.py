"""What a command works with: the tunnel brought up, the databases opened, the joblog, a client of the volume daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from migratekit_core.adapters.readers.reader import nbd_uri
from migratekit_core.adapters.tunnel import Gate, kinds, local
from migratekit_core.adapters.tunnel.probe import blamed, look_now_and_then
from migratekit_core.common import failpoints as points
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OmaUnreachableError, UsageError
from migratekit_core.common.progress import Observer, Silent
from migratekit_core.config.load import require
from migratekit_core.config.schema import Config, Ossea, VCenter
from migratekit_core.db.engine import Databases, open_databases
from migratekit_core.engine.bandwidth import Bandwidth
from migratekit_core.joblog import Job, Tracker, traces
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.later import later
from migratekit_core.joblog.traces import Traces
from migratekit_core.volumed.client import Endpoint, VolumeClient

if TYPE_CHECKING:
    from migratekit_core.adapters.cloudstack.client import Cloud


@dataclass(frozen=True)
class Runtime:
    """An open configuration."""

    config: Config
    databases: Databases
    tracker: Tracker
    observer: Observer
    bandwidth: Bandwidth | None = None
    """What all syncs of this command share, where somebody changes it while they run; None: as configured."""

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

    def cloud(self, *, at_once: bool = False) -> Cloud:
        """Return CloudStack's API; who watches the command is told what it waits for. Raises UsageError as `ossea`.

        `at_once`: for a plan, which changes nothing and is asked for again by hand: it does not wait for a restart.
        """
        from migratekit_core.adapters.cloudstack.client import Cloud
        from migratekit_core.adapters.cloudstack.patience import AT_ONCE

        return Cloud(self.ossea, AT_ONCE if at_once else None, note=self.observer.note)

    @contextmanager
    def undoing(self, job: Job) -> Iterator[Job]:
        """Have the calls to vCenter within the block wait for `vcenter.patience`: they take back what must not be left.

        That they wait is said at once, on the screen and in the joblog. The block gets its job as `later` gives it:
        nothing within waits for the joblog.
        """
        from migratekit_core.adapters.vsphere.patience import CallMode, in_mode

        def note(message: str) -> None:
            self.observer.note(message)
            undo.log(EventKind.UNDO_WAITS, level="warning", text=message)

        with later(job) as undo, in_mode(CallMode(undoing=True, note=note)):
            yield undo

    def traces(self) -> Traces:
        """Return where jobs go as traces. Raises UsageError where that is not configured."""
        found = traces.configured(self.config.otel)
        if found is None:
            raise UsageError(
                "no collector is configured",
                "neither otel.endpoint nor OTEL_EXPORTER_OTLP_ENDPOINT is set",
                "see docs/jobs.md, on traces",
                code=ErrorCode.CONFIG_MISSING,
                facts={"setting": "otel.endpoint"},
            )
        return found

    def volumes(self, job: Job | None = None, patience: float = 0.0) -> VolumeClient:
        """Return a client of the volume daemon, whose work is recorded as part of `job`.

        `patience`: how many seconds it waits for a volume that another operation works on. Raises UsageError
        where no token is configured.
        """
        settings = self.config.volumes
        if settings.token is None:
            raise UsageError(
                "volumes.token is not set",
                "the volume daemon asks for it",
                'set token = { file = "…" } in [volumes]',
                code=ErrorCode.CONFIG_MISSING,
                facts={"setting": "volumes.token"},
            )
        endpoint = Endpoint(self._socket("volumes") or settings.socket, settings.host, settings.port)
        token = settings.token.read("volumes.token")
        ids = (job.correlation_id, job.id) if job else ("", "")
        return VolumeClient(endpoint, token, *ids, patience, self.observer.note)

    def nbd_uri(self, export: str) -> str:
        """Return the URI of an export of the OMA, as it is reached from here."""
        socket = self._socket("nbd")
        if socket is not None:
            return nbd_uri(socket, export)
        return f"nbd://{self.config.volumes.nbd_host}:{self.config.volumes.nbd_port}/{quote(export)}"

    def gate(self, export: str) -> Gate | None:
        """Return how the engine reaches an export without a hop on this host; None where it goes by the URI."""
        return kinds.of(self.config.tunnel).gate(self.config.tunnel, export)

    def _socket(self, service: str) -> Path | None:
        return kinds.of(self.config.tunnel).socket(self.config.tunnel, service)


@contextmanager
def open_runtime(
    config: Config, observer: Observer | None = None, bandwidth: Bandwidth | None = None
) -> Iterator[Runtime]:
    """Bring the tunnel up where there is one, and open the databases; the tunnel stays up for the next command."""
    observer = observer or Silent()
    wanted = traces.configured(config.otel)
    socket = local.way_to(config.tunnel, "db")
    look_now_and_then(config.tunnel)
    databases = open_databases(config.database, socket, observer.note)

    def step(job: str, name: str, status: str) -> None:
        observer.step(job, name, status)
        points.reach(f"{job}/{name}/{status}")

    ended = traces.on_end(wanted, databases.oma, observer.note) if wanted else None
    try:
        yield Runtime(config, databases, Tracker(databases.oma, step, ended=ended), observer, bandwidth)
    except OmaUnreachableError as error:
        raise blamed(config.tunnel, error) from error
    finally:
        databases.dispose()
