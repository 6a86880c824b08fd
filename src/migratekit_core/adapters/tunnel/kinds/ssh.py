"""The `ssh` kind: a process of ours forwards the unix sockets through the OMA's SSH server (`tunnel.ssh`).

paramiko is imported where it is used: most commands find the tunnel up.
"""

from __future__ import annotations

from pathlib import Path

from migratekit_core.adapters.tunnel.kinds.kind import Kind, LocalEnd, Seen
from migratekit_core.common.errors import MigrateKitError
from migratekit_core.config.schema import Tunnel


def settings(tunnel: Tunnel) -> str:
    """Return what the forwarding process is started with."""
    from migratekit_core.adapters.tunnel.ssh import login

    return login.settings(tunnel)


def write(path: Path, text: str) -> None:
    """Write the settings down, after a look at the key. Raises PreconditionError or AuthError."""
    from migratekit_core.adapters.tunnel.ssh import login

    login.write_settings(path, text)


def launch(tunnel: Tunnel, config: Path, log: int) -> int | None:
    """Start the forwarding process in the background; return its id."""
    from migratekit_core.adapters.tunnel.ssh import login

    return login.launch(tunnel, config, log)


def probe(tunnel: Tunnel, service: str) -> Seen:
    """Log in and leave: what a service says comes through that login."""
    from migratekit_core.adapters.tunnel.ssh import login

    try:
        transport = login.connect(login.login_of(tunnel), login.passphrase_of(tunnel))
    except MigrateKitError as error:
        return Seen(error)
    protocol = f"{transport.remote_version}"
    transport.close()
    return Seen(None, protocol)


KIND = Kind(
    "ssh",
    way="through SSH",
    proof="this host's key",
    probe=probe,
    local_end=LocalEnd(settings, write, launch),
    speaks_ssh=True,
)
