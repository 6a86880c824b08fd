"""Reads `…-flat.vmdk` from vSphere's datastore browser with nbdkit's curl plugin: no VDDK, only port 443."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from migratekit_core.adapters.readers.folder import private_folder
from migratekit_core.adapters.readers.layout import flat_file
from migratekit_core.adapters.readers.model import Ask, Plugin, Reader
from migratekit_core.adapters.readers.reader import nbd_uri, nbdkit, secret_pipe, serve
from migratekit_core.adapters.vsphere.privilege import Privilege
from migratekit_core.config.schema import VCenter

if TYPE_CHECKING:
    from migratekit_core.adapters.vsphere.inventory import Disk

TIMEOUT_SECONDS = 120
"""Of one request: a datastore that takes longer is gone, and the engine tries again."""


def flat_url(vcenter: VCenter, datacenter: str, disk: Disk) -> str:
    """Return the URL of the disk's flat file in the datastore browser."""
    query = urlencode({"dcPath": datacenter, "dsName": disk.datastore})
    return f"https://{vcenter.host}:{vcenter.port}/folder/{quote(flat_file(disk))}?{query}"


@contextmanager
def open_disk(ask: Ask) -> Iterator[str]:
    """Serve the disk as long as the block runs, and yield its NBD URI.

    The password goes to nbdkit through a pipe: neither the process list nor a file ever shows it.
    """
    vcenter = ask.vcenter
    secret = vcenter.password.read("vcenter.password")
    with private_folder("https") as folder, secret_pipe(secret) as password:
        socket = folder / "disk.sock"
        command = [
            *nbdkit(socket),
            "curl",
            f"url={flat_url(vcenter, ask.snapshot.vm.datacenter, ask.disk)}",
            f"user={vcenter.user}",
            f"password=-{password}",
            "protocols=https",
            f"timeout={TIMEOUT_SECONDS}",
        ]
        if vcenter.ca_file:
            # Nobody else is trusted: curl would read the directory of public authorities as well, for each connection.
            command += [f"cainfo={vcenter.ca_file}", f"capath={folder}"]
        with serve(command, socket, ask.subject, pass_fds=[password]):
            yield nbd_uri(socket)


def _privileges(on: str) -> tuple[Privilege, ...]:
    call = "reading /folder/…-flat.vmdk"
    return (
        Privilege("Datastore.Browse", on, call, "Datastore > Browse datastore"),
        Privilege("Datastore.FileManagement", on, call, "Datastore > Low level file operations"),
    )


READER = Reader(
    "https",
    how="over https",
    reads=frozenset(),
    open=open_disk,
    plugins=(Plugin("curl"),),
    privileges=(*_privileges("datastore"), *_privileges("datacenter")),
)
