"""What the stand-in library does not know: is this the vCenter, may the account log in, which file is the disk?

Reads eight lines: server, port, user, password, thumbprint, machine, snapshot (managed object ids), the disk's path.
Prints `OK SECTORS FILE` (`COPY SECTORS FILE` where the file is to be removed once it is open), or `ERROR CODE WORDS`
with the library's error code and what it would log.
"""

from __future__ import annotations

import hashlib
import shutil
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

FAIL, FILE_NOT_FOUND, ACCESS_RIGHTS, CANNOT_CONNECT, PERMISSIONS = 1, 4, 13, 18000, 3014


def main() -> str:
    """Return the answer."""
    server, port, user, password, thumbprint, machine, snapshot, path = sys.stdin.read().split("\n")[:8]
    try:
        found = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((server, int(port)), timeout=20))
    except OSError as error:
        return f"ERROR {CANNOT_CONNECT} VixDiskLibVim: Login failure. Callback error {CANNOT_CONNECT}: {error}"
    if hashlib.sha1(found).digest().hex(":").upper() != thumbprint:
        # The real library says no more than this, either.
        return f"ERROR {FAIL} "
    context = ssl._create_unverified_context()
    try:
        service = SmartConnect(host=server, port=int(port), user=user, pwd=password, sslContext=context)
    except vim.fault.InvalidLogin as fault:
        return f"ERROR {PERMISSIONS} VixDiskLibVim: Login failure. Callback error {PERMISSIONS}: {fault.msg}"
    try:
        return disk(service, f"https://{server}:{port}", machine, snapshot, path)
    finally:
        Disconnect(service)


def disk(service: Any, lab: str, machine: str, snapshot: str, path: str) -> str:
    """Return the answer for a disk of a snapshot, or of a machine that is off."""
    vm = vim.VirtualMachine(machine, service._stub)
    try:
        owner = vm
        if snapshot:
            owner = next((each for each in snapshots(vm) if each._moId == snapshot), None)
            if owner is None:
                return f"ERROR {FILE_NOT_FOUND} VixDiskLibVim: snapshot {snapshot} is not one of {machine}"
        elif vm.runtime.powerState != "poweredOff":
            return f"ERROR {ACCESS_RIGHTS} VixDiskLibVim: the disk of a running machine is locked"
        devices = owner.config.hardware.device
    except vmodl.fault.ManagedObjectNotFound:
        return f"ERROR {FILE_NOT_FOUND} VixDiskLibVim: no virtual machine {machine}"
    disks = [each for each in devices if isinstance(each, vim.vm.device.VirtualDisk)]
    number = next((at for at, each in enumerate(disks) if each.backing.fileName == path), None)
    if number is None:
        return f"ERROR {FILE_NOT_FOUND} VixDiskLibVim: {path} is no disk of it"
    sectors = disks[number].capacityInBytes // 512
    if disks[number].backing.parent is not None:
        # The content of a chain is in the simulator alone.
        url = f"{lab}/lab/vms/{machine}/disks/{number}?{urlencode({'layer': path.rpartition('/')[2]})}"
        with (
            tempfile.NamedTemporaryFile(delete=False) as file,
            urlopen(url, context=ssl._create_unverified_context(), timeout=60) as content,
        ):
            shutil.copyfileobj(content, file)
        return f"COPY {sectors} {file.name}"
    store, _, name = path[1:].partition("] ")
    flat = Path(sys.argv[1], store, name.removesuffix(".vmdk") + "-flat.vmdk")
    return f"OK {sectors} {flat}"


def snapshots(vm: Any) -> Iterator[Any]:
    """Yield all snapshots of a machine."""
    trees = list(vm.snapshot.rootSnapshotList) if vm.snapshot else []
    while trees:
        tree = trees.pop()
        yield tree.snapshot
        trees += tree.childSnapshotList


if __name__ == "__main__":
    print(main())
