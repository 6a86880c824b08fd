"""What the configuration may say. Unknown keys are errors; a setting that would bypass the tunnel is one, too."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from migratekit_core.config.secret import SecretSource

Port = Annotated[int, Field(ge=1, le=65535)]


def _expanded(path: Path) -> Path:
    return Path(os.path.expandvars(path)).expanduser()


FilePath = Annotated[Path, AfterValidator(_expanded)]


def is_loopback(host: str) -> bool:
    """Return whether `host` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _protected_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ValueError(f"{parts.scheme}://{parts.hostname or ''} is not https")
    if parts.username or parts.password:
        raise ValueError("a URL with a user or password would end up in logs; keys have settings of their own")
    return url


class Table(BaseModel):
    """A table of the TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VCenter(Table):
    """The vCenter or ESXi host that the machines leave."""

    host: str
    port: Port = 443
    user: str
    password: SecretSource
    ca_file: FilePath | None = None
    """CA that signed the server's certificate; without it the system's are used."""
    timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds until an unanswered call counts as unreachable."""


class Ossea(Table):
    """The CloudStack cloud that the machines go to. Names or ids are both accepted."""

    api_url: Annotated[str, AfterValidator(_protected_url)]
    """Ends in /client/api; https, unless it is on this very machine."""
    api_key: SecretSource
    secret_key: SecretSource
    ca_file: FilePath | None = None
    domain: str = "ROOT"
    zone: str
    service_offering: str
    disk_offering: str
    template: str | None = None
    """Template for clouds without deployVirtualMachine's volumeid: its root disk is swapped for ours."""
    oma_vm: str
    """The virtual machine that the volume daemon runs on, as CloudStack knows it."""
    timeout: Annotated[float, Field(gt=0)] = 30.0


class Networks(Table):
    """Which CloudStack network stands for which vSphere network."""

    map: dict[str, str] = {}
    test: str | None = None
    """Isolated network of rehearsals (test-failover)."""


class Tunnel(Table):
    """The way to the OMA. `none` is for a CLI that runs on the OMA itself."""

    kind: Literal["tls", "none"] = "none"
    host: str = ""
    port: Port = 443
    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    """This host's certificate and its key in one PEM file, mode 0600."""
    runtime_dir: FilePath | None = None
    """Where the local ends (unix sockets, 0600) live; default: $XDG_RUNTIME_DIR/migratekit or /run/migratekit."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "tls":
            missing = [name for name in ("host", "ca_file", "cert_file") if not getattr(self, name)]
            if missing:
                raise ValueError(f'kind = "tls" also needs: {", ".join(missing)}')
        return self


class Database(Table):
    """Where jobs and replicas are recorded. SQLite is the embedded default, MariaDB is production."""

    kind: Literal["sqlite", "mariadb"] = "sqlite"
    directory: FilePath | None = None
    """sqlite: folder of the database files; default: $XDG_STATE_HOME/migratekit."""
    host: str = "127.0.0.1"
    port: Port = 3306
    socket: FilePath | None = None
    user: str = "migratekit"
    password: SecretSource | None = None
    oma: str = "migratekit_oma"
    volumes: str = "migratekit_volumes"
    encryption_key: SecretSource | None = None
    """Key that the secrets of ossea_configs are encrypted with (urlsafe base64 of 32 bytes)."""


class Volumes(Table):
    """The volume daemon, as its clients reach it. Through a tunnel only the token matters."""

    token: SecretSource | None = None
    host: str = "127.0.0.1"
    port: Port = 8090
    nbd_host: str = "127.0.0.1"
    nbd_port: Port = 10809


class Daemon(Table):
    """The volume daemon itself, on the OMA."""

    listen: str = "127.0.0.1"
    port: Port = 8090
    token_file: FilePath
    device_dir: FilePath = Path("/dev/disk/by-id")
    """Where the kernel's names by virtio serial are."""
    device_timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds until an attached volume has to appear as a device."""
    state_dir: FilePath = Path("/var/lib/migratekit")
    exporter: Literal["nbdkit"] = "nbdkit"
    nbd_listen: str = "127.0.0.1"
    nbd_port: Port = 10809

    @model_validator(mode="after")
    def _loopback_only(self) -> Self:
        for name in ("listen", "nbd_listen"):
            host = getattr(self, name)
            if not is_loopback(host):
                raise ValueError(f"{name} = {host!r} is not a loopback address; only the tunnel may face the network")
        return self


class Replication(Table):
    """How disks are copied."""

    source: Literal["https"] = "https"
    connections: Annotated[int, Field(ge=1, le=64)] | None = None
    """NBD connections of one disk; left out: as many as the link's latency asks for."""
    request_size: Annotated[int, Field(ge=64 * 1024, le=32 * 1024 * 1024)] = 1024 * 1024
    """Bytes of one NBD request."""
    window: Annotated[int, Field(ge=1024 * 1024)] | None = None
    """Bytes in flight for one disk; left out: as many as the link's latency asks for."""


class Failover(Table):
    """How a machine is cut over."""

    shutdown_timeout: Annotated[float, Field(gt=0)] = 300.0
    """Seconds that the guest may take to shut down."""
    power_off: bool = False
    """Power the source off where its guest does not shut down; without it the failover stops there."""
    boot_timeout: Annotated[float, Field(gt=0)] = 300.0
    """Seconds until the new machine has to be Running."""


class Config(Table):
    """The whole configuration of one profile."""

    vcenter: VCenter | None = None
    ossea: Ossea | None = None
    networks: Networks = Networks()
    tunnel: Tunnel = Tunnel()
    database: Database = Database()
    volumes: Volumes = Volumes()
    daemon: Daemon | None = None
    replication: Replication = Replication()
    failover: Failover = Failover()

    @model_validator(mode="after")
    def _nothing_beside_the_tunnel(self) -> Self:
        named = {
            "database.host": self.database.host if self.database.kind == "mariadb" else "localhost",
            "volumes.host": self.volumes.host,
            "volumes.nbd_host": self.volumes.nbd_host,
        }
        for setting, host in named.items():
            if not is_loopback(host):
                raise ValueError(
                    f"{setting} = {host!r} would leave this machine without the tunnel; "
                    'set tunnel.kind = "tls" and tunnel.host instead'
                )
        if self.tunnel.kind == "tls" and self.database.kind == "mariadb" and self.database.socket is not None:
            raise ValueError('database.socket would bypass the tunnel; remove it, or set tunnel.kind = "none"')
        return self
