"""Reads `…-flat.vmdk` from vSphere's datastore browser over HTTPS, with nbdkit's curl plugin: no VDDK, only port 443.

While a snapshot is open every write of the guest goes to a delta file, so the base file is frozen: what is read there
is the disk as it was at the snapshot. That holds only where the file *is* the disk, which is checked first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlencode

from migratekit_core import programs
from migratekit_core.config.schema import VCenter
from migratekit_core.errors import PreconditionError
from migratekit_core.source.reader import nbd_uri, private_folder, serve
from migratekit_core.vsphere.inventory import Disk

TIMEOUT_SECONDS = 120
"""Of one request: a datastore that takes longer is gone, and the engine tries again."""


def check(disk: Disk, vm_name: str) -> None:
    """Raise PreconditionError where the disk's base file is not the disk itself.

    `disk` is the one of the snapshot's own configuration, which names the file that the snapshot froze.
    """
    reason = ""
    if disk.has_parent:
        reason = "it already had a snapshot (or is a linked clone): its content is spread over several files"
    elif not disk.backing.startswith("FlatVer"):
        reason = f"its backing is {disk.backing}, not a flat file"
    elif "independent" in disk.mode:
        reason = f"its mode is {disk.mode}: snapshots leave it out, so it is never frozen"
    elif not disk.path.endswith(".vmdk") or not disk.datastore:
        reason = f"its file {disk.path!r} is no VMDK on a datastore"
    if reason:
        raise PreconditionError(
            f"{disk.label} of {vm_name} cannot be read over https",
            reason,
            "remove the cause; docs/readers.md says what else there is",
        )


def flat_url(vcenter: VCenter, datacenter: str, disk: Disk) -> str:
    """Return the URL of the disk's flat file in the datastore browser."""
    file = disk.path.partition("]")[2].strip()
    flat = file.removesuffix(".vmdk") + "-flat.vmdk"
    query = urlencode({"dcPath": datacenter, "dsName": disk.datastore})
    return f"https://{vcenter.host}:{vcenter.port}/folder/{quote(flat)}?{query}"


@contextmanager
def open_disk(vcenter: VCenter, datacenter: str, disk: Disk, vm_name: str) -> Iterator[str]:
    """Serve the disk as long as the block runs, and yield its NBD URI.

    The password goes to nbdkit through a pipe: neither the process list nor a file ever shows it.
    """
    check(disk, vm_name)
    with private_folder("https") as folder:
        socket = folder / "disk.sock"
        password, writer = os.pipe()
        try:
            os.write(writer, vcenter.password.read("vcenter.password").encode() + b"\n")
        finally:
            os.close(writer)
        command = [
            programs.find("nbdkit", "nbdkit"),
            "--foreground",
            "--exit-with-parent",
            "--readonly",
            "--unix",
            str(socket),
            "curl",
            f"url={flat_url(vcenter, datacenter, disk)}",
            f"user={vcenter.user}",
            f"password=-{password}",
            "protocols=https",
            f"timeout={TIMEOUT_SECONDS}",
        ]
        if vcenter.ca_file:
            command.append(f"cainfo={vcenter.ca_file}")
        try:
            with serve(command, socket, f"{disk.label} of {vm_name}", pass_fds=[password]):
                yield nbd_uri(socket)
        finally:
            os.close(password)
