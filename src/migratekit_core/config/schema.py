"""What the configuration may say. Unknown keys are errors; a setting that would bypass the tunnel is one, too."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from migratekit_core.config.base import Duration, FilePath, Port, Rate, Table, is_loopback, protected_url, proxy_url
from migratekit_core.config.fleet import Fleet
from migratekit_core.config.secret import SecretSource
from migratekit_core.config.source import Source


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
    patience: Annotated[float, Field(ge=0)] = 900.0
    """Seconds for which MigrateKit waits for a vCenter that is away while it takes something back: a snapshot, a
    shutdown of the source. Other calls wait for at most 150 s of them."""


class Ossea(Table):
    """The CloudStack cloud that the machines go to. Names or ids are both accepted."""

    api_url: Annotated[str, AfterValidator(protected_url)]
    """Ends in /client/api; https, unless it is on this very machine."""
    api_key: SecretSource
    secret_key: SecretSource
    ca_file: FilePath | None = None
    proxy: Annotated[str, AfterValidator(proxy_url)] | None = None
    """HTTP proxy on the way to the API; those of the environment are not used, for no connection."""
    domain: str = "ROOT"
    zone: str
    service_offering: str | None = None
    """Left out: the smallest offering that has as many CPUs and as much memory as the machine."""
    cpu_speed: Annotated[int, Field(gt=0)] = 1000
    """MHz of each CPU, for custom offerings that leave the speed open."""
    disk_offering: str
    template: str | None = None
    """The template that new machines are deployed of: its root disk gives way to the replica's."""
    oma_vm: str
    """The virtual machine that the volume daemon runs on, as CloudStack knows it."""
    max_disks: Annotated[int, Field(gt=0)] | None = None
    """Data disks that CloudStack attaches to the OMA. Left out: read where the account may, else learned from a
    refusal, and until then KVM's default (32). A UEFI virtual machine takes fewer while it runs."""
    timeout: Annotated[float, Field(gt=0)] = 30.0
    patience: Annotated[float, Field(ge=0)] = 150.0
    """Seconds for which a call that finds no connection is repeated: a restarting management server refused them for 70
    to 107 s (recorded)."""


class Networks(Table):
    """Which CloudStack network stands for which vSphere network."""

    map: dict[str, str | Literal[False]] = {}
    """By name or inventory path of the source; false: cards in it are left out. What is here wins over what
    `migratekit networks` has stored for the same name."""
    test: str | None = None
    """Isolated network of rehearsals (test-failover)."""
    test_map: dict[str, str] = {}
    """Isolated networks for machines with cards in several networks, by the source's name or path; without an entry:
    `test`."""


def _host_key(text: str) -> str:
    kind, _, rest = text.strip().partition(" ")
    blob = rest.split(" ")[0]
    try:
        raw = base64.b64decode(blob, validate=True)
    except ValueError:
        raw = b""
    # RFC 4253, 6.6: a public key begins with its type's name.
    if not raw.startswith(len(kind).to_bytes(4, "big") + kind.encode()):
        raise ValueError(
            "is no host key: write the line of /etc/ssh/ssh_host_ed25519_key.pub, such as ssh-ed25519 AAAA…"
        )
    return f"{kind} {blob}"


class SshLogin(Table):
    """How the OMA is reached by SSH: as the tunnel (`tunnel.kind = "ssh"`), and for `doctor --remote`."""

    user: str = "migratekit-tunnel"
    host: str = ""
    """Default: tunnel.host."""
    port: Port | None = None
    """Default: tunnel.port where SSH is the tunnel, else 22."""
    host_key: Annotated[str, AfterValidator(_host_key)]
    """The OMA's public host key; no other is ever accepted."""
    key_file: FilePath | None = None
    """This host's private key, mode 0600; left out: the agent of $SSH_AUTH_SOCK is asked."""
    passphrase: SecretSource | None = None


def _loopback_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not is_loopback(host) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not a loopback address with a port; behind the tunnel nothing is encrypted")
    return text


LoopbackAddress = Annotated[str, AfterValidator(_loopback_address)]


class Services(Table):
    """Where the services are on the OMA; always its loopback."""

    volumes: LoopbackAddress = "127.0.0.1:8090"
    db: LoopbackAddress = "127.0.0.1:3306"
    nbd: LoopbackAddress = "127.0.0.1:10809"

    @property
    def addresses(self) -> dict[str, str]:
        """Return each service's address by its server name."""
        return {"volumes": self.volumes, "db": self.db, "nbd": self.nbd}


class TunnelServer(Services):
    """The tunnel's other end, on the OMA: what `tunnel server install` sets up."""

    listen: str = "*:443"
    """Address and port; the only thing that faces the network."""
    cert_file: FilePath
    """The OMA's certificate and its key in one PEM file, mode 0600."""
    ca_file: FilePath
    crl_file: FilePath | None = None
    """The CA's list of revoked certificates."""
    max_connections: Annotated[int, Field(ge=1, le=30000)] = 8192
    """Connections at the same time, those that have not shown a certificate yet included."""
    max_per_source: Annotated[int, Field(ge=1)] = 2048
    """Connections of one address."""
    max_per_certificate: Annotated[int, Field(ge=1)] = 2048
    """Connections of one certificate."""
    stats_socket: FilePath = Path("/run/migratekit-tunnel/admin.sock")
    """HAProxy's socket for administration (0600), by which connections of certificates that do not hold are ended."""


TUNNEL_NEEDS: dict[str, tuple[str, ...]] = {
    "tls": ("host", "ca_file", "cert_file"),
    "ssh": ("host", "ssh"),
    "none": (),
}
"""What each kind of tunnel cannot do without; one that needs nothing leads nowhere. What a kind does:
adapters.tunnel.kinds."""


class Tunnel(Table):
    """The way to the OMA. `none` is for a CLI that runs on the OMA itself."""

    kind: Literal["tls", "ssh", "none"] = "none"
    host: str = ""
    port: Port = 443
    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    """This host's certificate and its key in one PEM file, mode 0600."""
    crl_file: FilePath | None = None
    """The CA's list of revoked certificates."""
    runtime_dir: FilePath | None = None
    """Where the local ends (unix sockets, 0600) live; default: $XDG_RUNTIME_DIR/migratekit or /run/migratekit."""
    ssh: SshLogin | None = None
    services: Services = Services()
    """Where the services are on the OMA, as its SSH server reaches them; with `tls` HAProxy there knows it."""
    server: TunnelServer | None = None

    @property
    def leads_away(self) -> bool:
        """Return whether the OMA is another host."""
        return bool(TUNNEL_NEEDS[self.kind])

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in TUNNEL_NEEDS[self.kind] if not getattr(self, name)]
        if missing:
            raise ValueError(f'kind = "{self.kind}" also needs: {", ".join(missing)}')
        unused = [name for name in ("host", "ca_file", "cert_file", "crl_file") if getattr(self, name)]
        if not self.leads_away and unused and not (unused == ["host"] and self.ssh):
            raise ValueError(
                f'{unused[0]} is set, but kind is "{self.kind}", so nothing would go through the tunnel; set kind'
            )
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
    patience: Duration = 180.0
    """Seconds that a run waits for a database that is away, from when it first does: for a restart, or a link that is
    cut for a minute and noticed late."""
    encryption_key: SecretSource | None = None
    """Key that the secrets of ossea_configs are encrypted with (urlsafe base64 of 32 bytes)."""


class Volumes(Table):
    """The volume daemon, as its clients reach it. Through a tunnel only the token matters."""

    token: SecretSource | None = None
    host: str = "127.0.0.1"
    port: Port = 8090
    socket: FilePath | None = None
    """The daemon's unix socket, where it listens on one (daemon.socket)."""
    nbd_host: str = "127.0.0.1"
    nbd_port: Port = 10809
    retention: Annotated[float, Field(ge=0)] = 7.0
    """Days since its last sync within which a replica is deleted only with --yes-delete besides --yes."""


class Daemon(Table):
    """The volume daemon itself, on the OMA."""

    listen: str = "127.0.0.1"
    port: Port = 8090
    socket: FilePath | None = None
    """A unix socket (0600) to listen on instead of the port."""
    token_file: FilePath
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """`debug` also logs requests that only read."""
    device_dir: FilePath = Path("/dev/disk/by-id")
    """Where udev's names of disks by their serial are."""
    device_timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds until an attached volume has to appear as a device."""
    settle_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds to look for what a call to CloudStack did whose answer never came."""
    reconcile_interval: Annotated[float, Field(gt=0, le=86400)] = 60.0
    """Seconds between two comparisons of CloudStack, Linux, the exporter and the rows."""
    state_dir: FilePath = Path("/var/lib/migratekit")
    exporter: Literal["nbdkit", "nbd-server"] = "nbdkit"
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

    connections: Annotated[int, Field(ge=1, le=64)] | None = None
    """NBD connections of one disk; left out: as many as the link's latency asks for."""
    request_size: Annotated[int, Field(ge=64 * 1024, le=32 * 1024 * 1024)] = 1024 * 1024
    """Bytes of one NBD request."""
    window: Annotated[int, Field(ge=1024 * 1024)] | None = None
    """Bytes in flight for one disk; left out: as many as the link's latency asks for."""
    bandwidth: Rate = None
    """Bytes per second that all disks of a sync together may take; left out: no limit."""
    disk_bandwidth: Rate = None
    """The same for each disk."""


def _boot_check(text: str) -> str:
    if text in ("state", "ping"):
        return text
    kind, _, rest = text.partition(":")
    port = rest.partition("/")[0]
    if kind != "tcp" or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is none of: state, ping, tcp:PORT, tcp:PORT/GREETING")
    return text


BootCheck = Annotated[str, AfterValidator(_boot_check)]


class Failover(Table):
    """How a machine is cut over."""

    shutdown_timeout: Annotated[float, Field(gt=0)] = 300.0
    """Seconds that the guest may take to shut down."""
    power_off: bool = False
    """Power the source off where its guest does not shut down; without it the failover stops there."""
    boot_timeout: Annotated[float, Field(gt=0)] = 300.0
    """Seconds until the new machine has to be up, by the boot check."""
    sync_interval: Annotated[float, Field(gt=0)] = 300.0
    """Seconds between two syncs of a failover that waits (--at, --window, --hold)."""
    verify: bool = False
    """Compare every disk with its volume by digests before each cut-over: it reads both sides as a whole."""
    boot_check: BootCheck = "state"
    """What must answer after a failover: `state` (CloudStack says Running), `ping`, `tcp:22`, `tcp:22/SSH-`."""
    test_boot_check: BootCheck = "state"
    """The same after a rehearsal, whose network is seldom reachable from here."""
    convert: Literal["auto", "always", "never"] = "auto"
    """Whether guests are converted (virt-v2v-in-place); `auto`: where rules demand it."""
    inspect_guest: bool = True
    """Look into Linux guests for virtio drivers before each failover, where libguestfs is installed."""
    convert_timeout: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds that a conversion may take."""
    virtio_win: FilePath | None = None
    """virtio-win.iso, or a folder with its content; without it the usual places are looked at."""
    max_sync_age: Annotated[float, Field(gt=0)] = 86400.0
    """Seconds that the last sync may be old: an old replica means a long last sync, while the machine is off."""
    keep_mac: bool = True
    """Give the new machine's cards the MAC addresses of the source's."""
    keep_ip: Literal["auto", "require", "never"] = "auto"
    """Give its cards the source's IPv4 addresses: where the network has them; or refuse where it has not; or never."""
    disk_controller: Literal["auto", "virtio", "scsi", "sata", "ide"] = "auto"
    nic_model: Literal["auto", "virtio", "e1000", "rtl8139", "vmxnet3"] = "auto"
    """Both: `auto` is virtio where the guest has the drivers, else what every guest has."""


class Joblog(Table):
    """What is kept of the jobs."""

    keep: Duration = 90 * 86400.0
    """Seconds that `jobs prune` keeps of what ended, where it is not told."""


class Otel(Table):
    """Where jobs go as OpenTelemetry traces; OTEL_* variables say the same where this does not."""

    enabled: bool = True
    endpoint: Annotated[str, AfterValidator(protected_url)] | None = None
    """Of an OTLP/HTTP collector, such as https://collector:4318; /v1/traces is added where there is no path."""
    headers: dict[str, SecretSource] = {}
    """Of each request, such as `authorization`."""
    ca_file: FilePath | None = None
    service_name: str = "migratekit"
    timeout: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Seconds that a command waits for the collector when a job has ended."""


class Schedule(Table):
    """Which machines `replicate --all-due` keeps in step, and how closely."""

    rpo: dict[str, Duration] = {}
    """Machine (name, inventory path or instanceUuid): how old its replica may become, such as `15m`."""
    every: Duration = 300.0
    """How often cron or the timer runs `replicate --all-due`."""
    jitter: Duration = 30.0
    """Most that a run waits before it begins, by chance: several hosts do not ask vCenter in the same second."""
    parallel: Annotated[int, Field(ge=1, le=32)] = 2
    """Machines at a time."""


class Oma(Table):
    """One of several OMAs, whole: `load` has put what its table says over the tables of the configuration itself."""

    tunnel: Tunnel = Tunnel()
    database: Database = Database()
    volumes: Volumes = Volumes()
    ossea: Ossea | None = None
    networks: Networks = Networks()

    @model_validator(mode="after")
    def _nothing_beside_the_tunnel(self) -> Self:
        _behind_the_tunnel(self.tunnel, self.database, self.volumes)
        return self


def _behind_the_tunnel(tunnel: Tunnel, database: Database, volumes: Volumes) -> None:
    """Raise ValueError where something would leave this machine without the tunnel."""
    named = {
        "database.host": database.host if database.kind == "mariadb" else "localhost",
        "volumes.host": volumes.host,
        "volumes.nbd_host": volumes.nbd_host,
    }
    for setting, host in named.items():
        if not is_loopback(host):
            raise ValueError(
                f"{setting} = {host!r} would leave this machine without the tunnel; "
                'set tunnel.kind = "tls" and tunnel.host instead'
            )
    if tunnel.leads_away and database.kind == "mariadb" and database.socket is not None:
        raise ValueError('database.socket would bypass the tunnel; remove it, or set tunnel.kind = "none"')
    if tunnel.leads_away and volumes.socket is not None:
        raise ValueError('volumes.socket would bypass the tunnel; remove it, or set tunnel.kind = "none"')


Profile = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
"""Name of a vCenter or an OMA: letters, digits, - and _; at most 32."""


class Config(Table):
    """The whole configuration of one profile."""

    vcenter: VCenter | None = None
    ossea: Ossea | None = None
    networks: Networks = Networks()
    tunnel: Tunnel = Tunnel()
    database: Database = Database()
    volumes: Volumes = Volumes()
    daemon: Daemon | None = None
    source: Source = Source()
    replication: Replication = Replication()
    failover: Failover = Failover()
    joblog: Joblog = Joblog()
    otel: Otel = Otel()
    schedule: Schedule = Schedule()
    fleet: Fleet = Fleet()
    vcenters: dict[Profile, VCenter] = {}
    """Further vCenters by name, for --vcenter and for waves; each is complete in itself."""
    omas: dict[Profile, Oma] = {}
    """Further OMAs by name, for --oma and for waves: tables [omas.NAME.tunnel], .volumes, .database, .ossea, .networks;
    what one does not say is as in the table of that name itself."""

    @model_validator(mode="after")
    def _nothing_beside_the_tunnel(self) -> Self:
        _behind_the_tunnel(self.tunnel, self.database, self.volumes)
        return self
