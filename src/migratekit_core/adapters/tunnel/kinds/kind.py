"""What a kind of tunnel is: everything in which one differs from another."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from migratekit_core.adapters.tunnel import Gate
from migratekit_core.common.errors import MigrateKitError
from migratekit_core.common.hints import Hint
from migratekit_core.config.folders import socket_path
from migratekit_core.config.schema import Tunnel

DIAL_SECONDS = 20.0


@dataclass(frozen=True)
class Seen:
    """What the OMA said."""

    problem: MigrateKitError | None
    protocol: str = ""
    """Version and cipher of the tunnel's encryption; empty where there was no handshake."""
    certificate_ends: datetime | None = None
    """When the OMA's certificate stops being valid; None for a tunnel without certificates."""


@dataclass(frozen=True)
class LocalEnd:
    """The process on this host whose unix sockets lead to the OMA's services."""

    settings: Callable[[Tunnel], str]
    """Return what the process is started with; one that runs with the same text is left as it is."""
    write: Callable[[Path, str], None]
    """Check that text and write it down. Raises PreconditionError or AuthError for settings that cannot be used."""
    launch: Callable[[Tunnel, Path, int], int | None]
    """Start the process: settings, its file, the descriptor for its words. Return its id; None where it ended."""


@dataclass(frozen=True)
class Program:
    """A program of this host that the kind is made of."""

    name: str
    package: str
    version_option: str


@dataclass(frozen=True)
class CertificateFile:
    """A file that this host's end works with, and that stops being valid."""

    setting: str
    """Its name in the [tunnel] table."""
    what: str
    path: Path
    todo: Hint | str
    """What to do when it ends."""
    revoked: bool = False
    """Whether it is a list of revoked certificates."""


def _no_files(tunnel: Tunnel) -> tuple[CertificateFile, ...]:
    return ()


def _no_gate(tunnel: Tunnel, export: str) -> Gate | None:
    return None


def by_the_socket(tunnel: Tunnel, service: str) -> socket.socket:
    """Return a connection to a service through the local end. Raises OSError."""
    plain = socket.socket(socket.AF_UNIX)
    plain.settimeout(DIAL_SECONDS)
    plain.connect(str(socket_path(tunnel, service)))
    return plain


@dataclass(frozen=True)
class Kind:
    """A kind of tunnel. One file makes one, and one line of the registry knows it (`kinds`)."""

    name: str
    """Its value of `tunnel.kind`."""
    way: str
    """How data goes, in a sentence: `over TLS`."""
    proof: str
    """What the OMA knows this host by: `this host's certificate`."""
    probe: Callable[[Tunnel, str], Seen]
    """Ask the OMA, by a connection beside the local end, whether a service answers; never raises our errors."""
    local_end: LocalEnd | None
    """None: this host is the OMA, there is nothing between (config.schema knows it as `leads_away`)."""
    gate: Callable[[Tunnel, str], Gate | None] = _no_gate
    """Return how the engine reaches an export without a hop on this host; None: by the local end."""
    dial: Callable[[Tunnel, str], socket.socket] = by_the_socket
    """Return a connection to a service by the way that a copy takes, for measuring. Raises OSError."""
    certificates: Callable[[Tunnel], tuple[CertificateFile, ...]] = _no_files
    """Return the files whose end is to be warned of; where there are any, the OMA shows a certificate as well."""
    programs: tuple[Program, ...] = ()
    """What `doctor` looks for."""
    speaks_ssh: bool = False
    """Whether an SSH server answers at tunnel.port."""

    def socket(self, tunnel: Tunnel, service: str) -> Path | None:
        """Return the unix socket that leads to a service of the OMA; None where it is on this host."""
        return socket_path(tunnel, service) if self.local_end else None
