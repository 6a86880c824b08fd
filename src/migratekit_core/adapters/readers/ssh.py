"""Reads `/vmfs/volumes/…-flat.vmdk` from the ESXi host that a machine runs on, with nbdkit's ssh plugin (SFTP).

The same disks as over https, and for the same reason (`flat`). The host runs the machine, so it may read the base file
whose lock it holds.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from migratekit_core.adapters.readers.folder import private_folder
from migratekit_core.adapters.readers.layout import flat_file
from migratekit_core.adapters.readers.model import Ask, Plugin, Reader
from migratekit_core.adapters.readers.reader import (
    first_connection,
    log_of,
    nbd_uri,
    nbdkit,
    secret_pipe,
    serve,
)
from migratekit_core.common.childprocess import last_line
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    Fact,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
)
from migratekit_core.common.foreign import Row, classify
from migratekit_core.config.source import Source, Ssh

if TYPE_CHECKING:
    from migratekit_core.adapters.vsphere.inventory import VirtualMachine

VOLUMES = "/vmfs/volumes"
"""Where every ESXi host has its datastores, by their names."""
TIMEOUT_SECONDS = 20
"""Until a host that does not answer counts as unreachable."""

SAYS = (
    Row(
        ErrorCode.SOURCE_UNTRUSTED,
        r"host key for server|host key is unknown|known_hosts|known hosts error",
        (
            "nbdkit: ssh[1]: error: host key for server 'esx1' doesn't match: it is possible that an attacker has "
            "changed it",
            "nbdkit: ssh[1]: error: host key is unknown: if you trust the host, add it to known_hosts",
        ),
    ),
    Row(
        ErrorCode.SOURCE_LOGIN_REFUSED,
        r"authentication",
        ("nbdkit: ssh[1]: error: all possible authentication methods failed",),
    ),
    Row(
        ErrorCode.SOURCE_UNREACHABLE,
        r"failed to connect|connection refused|timeout|no route|failed to resolve|hostname",
        (
            "nbdkit: ssh[1]: error: failed to connect to libssh session: esx1: Connection refused",
            "nbdkit: ssh[1]: error: failed to connect to libssh session: esx1: Timeout connecting to esx1",
            "nbdkit: ssh[1]: error: failed to connect to libssh session: esx1: Failed to resolve hostname esx1",
        ),
    ),
)
"""What nbdkit's ssh plugin and libssh say."""


def require(settings: Ssh, vm: VirtualMachine) -> None:
    """Raise PreconditionError where the host or a file is missing, AuthError where others can read the private key."""
    if not vm.host_name:
        raise PreconditionError(
            f"{vm.name} cannot be read over ssh",
            "vCenter does not say which ESXi host it is on",
            "grant System.Read on the hosts, or choose another reader (source.reader)",
            code=ErrorCode.READER_UNFIT,
            facts={"reader": "ssh", "vm": vm.name},
        )
    for name, path in (("known_hosts", settings.known_hosts), ("identity", settings.identity)):
        if path is not None and not path.is_file():
            raise PreconditionError(
                f"source.ssh.{name} {path} cannot be read",
                "there is no such file",
                "make it: docs/readers.md#ssh",
                code=ErrorCode.FILE_UNREADABLE,
                facts={"path": str(path)},
            )
    if settings.identity is not None and settings.identity.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise AuthError(
            "source.ssh.identity is not private",
            f"{settings.identity} can be read by others",
            f"run: chmod 600 {settings.identity}",
            code=ErrorCode.FILE_NOT_PRIVATE,
            facts={"path": str(settings.identity)},
        )


def address(settings: Ssh, vm: VirtualMachine) -> str:
    """Return where the ESXi host of a machine is reached."""
    return settings.hosts.get(vm.host_name, vm.host_name)


@contextmanager
def open_disk(ask: Ask) -> Iterator[str]:
    """Serve the disk as long as the block runs, and yield its NBD URI.

    Raises AuthError for a host key that is not the known one and for a refused login, UnreachableError for a host that
    does not answer, OperationFailedError for a file that cannot be read or is not as long as the disk.
    """
    settings, vm, disk, subject = _settings(ask.source), ask.snapshot.vm, ask.disk, ask.subject
    host = address(settings, vm)
    path = f"{VOLUMES}/{disk.datastore}/{flat_file(disk)}"
    with private_folder("ssh") as folder, ExitStack() as held:
        socket = folder / "disk.sock"
        command = [
            *nbdkit(socket),
            "ssh",
            f"host={host}",
            f"port={settings.port}",
            f"user={settings.user}",
            f"path={path}",
            # Nobody's ssh_config: a ProxyCommand or StrictHostKeyChecking in it would change what is written here.
            "config=",
            f"known-hosts={_literal(str(settings.known_hosts.absolute()))}",
            f"timeout={TIMEOUT_SECONDS}",
        ]
        if settings.identity is not None:
            command.append(f"identity={_literal(str(settings.identity.absolute()))}")
        descriptors = []
        if settings.password is not None:
            descriptors.append(held.enter_context(secret_pipe(settings.password.read("source.ssh.password"))))
            command.append(f"password=-{descriptors[0]}")
        with serve(command, socket, subject, pass_fds=descriptors):
            uri = nbd_uri(socket)
            size, trouble = first_connection(uri)
            if size < 0:
                raise _explained(subject, settings, host, path, log_of(socket) or trouble)
            if size != disk.capacity_bytes:
                raise OperationFailedError(
                    f"{subject} cannot be read over ssh",
                    f"{path} has {size} bytes, the disk {disk.capacity_bytes}",
                    "look at that file on the host; is it the disk of this machine?",
                    code=ErrorCode.SIZE_MISMATCH,
                    facts={"size": size, "wanted": disk.capacity_bytes},
                )
            yield uri


def _literal(path: str) -> str:
    """Return a path as libssh, which expands %-sequences, takes it as it is."""
    return path.replace("%", "%%")


def _explained(subject: str, settings: Ssh, host: str, path: str, said: str) -> MigrateKitError:
    words = last_line(said).removeprefix("nbdkit: ")
    where = f"ESXi host {host}:{settings.port}"
    code = classify(SAYS, said)
    facts: dict[str, Fact] = {"host": host, "port": settings.port}
    if code is ErrorCode.SOURCE_UNTRUSTED:
        return AuthError(
            f"{subject}: {where} cannot be trusted",
            f"its host key is not the one in {settings.known_hosts} ({words})",
            "compare the key at the host's console; only if the host was reinstalled, put the new one into that file",
            code=ErrorCode.SOURCE_UNTRUSTED,
            facts=facts,
        )
    if code is ErrorCode.SOURCE_LOGIN_REFUSED:
        return AuthError(
            f"{subject}: {where} refused the login of {settings.user}",
            words,
            "check source.ssh.identity (its public key in /etc/ssh/keys-root/authorized_keys of the host) or .password",
            code=ErrorCode.SOURCE_LOGIN_REFUSED,
            facts=facts,
        )
    if code is ErrorCode.SOURCE_UNREACHABLE:
        return UnreachableError(
            f"{subject}: {where} does not answer",
            words,
            "start the SSH service of the host, open its firewall for this machine; or set source.ssh.hosts",
            code=ErrorCode.SOURCE_UNREACHABLE,
            facts=facts,
        )
    return OperationFailedError(
        f"{subject} cannot be read over ssh",
        f"{path}: {words}",
        "look for that file on the ESXi host",
        code=ErrorCode.UNKNOWN,
        facts={"path": path},
    )


def _settings(source: Source) -> Ssh:
    assert source.ssh is not None, "the schema asks for it"
    return source.ssh


READER = Reader(
    "ssh",
    how="over ssh",
    reads=frozenset(),
    open=open_disk,
    require=lambda source, vm: require(_settings(source), vm),
    plugins=(Plugin("ssh"),),
    only_where_named=True,
)
