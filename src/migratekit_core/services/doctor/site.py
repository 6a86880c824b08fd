"""What several checks look at: each thing is asked for once, by whoever comes first, and the others wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

from migratekit_core.common.errors import MigrateKitError
from migratekit_core.config.schema import Config
from migratekit_core.services.doctor.model import SkippedError

if TYPE_CHECKING:
    from migratekit_core.db.engine import Databases
    from migratekit_core.services.assessment.target import Target
    from migratekit_core.services.doctor.vcenter import Look
    from migratekit_core.volumed.client import VolumeClient

T = TypeVar("T")


class Site:
    """This host's view of everything. A failure is remembered as well, and raised for everyone who asks."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._held: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returns, or raise what it raises; it is called once for a name."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if name not in self._held:
                try:
                    self._held[name] = make()
                except MigrateKitError as error:
                    self._held[name] = error
        if isinstance(self._held[name], MigrateKitError):
            raise self._held[name]
        return cast(T, self._held[name])

    def needs(self, use: Callable[[], T]) -> T:
        """Return what another check is about, or raise SkippedError where that check fails."""
        try:
            return use()
        except MigrateKitError as error:
            raise SkippedError(f"not looked at: {error.what}", error) from None

    def tunnel(self) -> None:
        """Have the tunnel up and the OMA answering; nothing where there is no tunnel."""
        from migratekit_core.services.doctor.way import open_way

        self.once("tunnel", lambda: open_way(self.config))

    def databases(self) -> Databases:
        """Return both databases, of which at least the OMA's answers."""
        self.needs(self.tunnel)
        return self.once("databases", self._open_databases)

    def daemon(self) -> VolumeClient:
        """Return a client of the volume daemon. Raises UsageError where no token is configured."""
        self.needs(self.tunnel)
        from migratekit_core.services.doctor.way import volume_client

        return self.once("client", lambda: volume_client(self.config))

    def oma(self) -> dict[str, Any]:
        """Return what CloudStack says of the OMA, as the volume daemon asks it; empty from an earlier daemon.

        A daemon that does not answer is told at once: only its health is asked for without patience.
        """
        client = self.daemon()
        self.once("daemon-health", client.health)
        return self.once("oma", client.oma)

    def vcenter(self) -> Look:
        """Return what one login at vCenter found."""
        from migratekit_core.services.doctor.vcenter import look

        return self.once("vcenter", lambda: look(self.config))

    def target(self) -> Target:
        """Return what the cloud has, as the account sees it."""
        from migratekit_core.services.assessment.target import read_target

        return self.once("target", lambda: read_target(self.config))

    def close(self) -> None:
        """Close connections."""
        for held in list(self._held.values()):
            with suppress(Exception):
                if hasattr(held, "dispose"):
                    held.dispose()
                elif hasattr(held, "close"):
                    held.close()

    def _open_databases(self) -> Databases:
        from migratekit_core.services.doctor.way import open_both

        return open_both(self.config)
